package cbor

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	for _, v := range []any{nil, true, false, int64(0), int64(23), int64(24), int64(255), int64(256), int64(65536), int64(1) << 40, int64(-1), int64(-500), int64(math.MinInt64), 1.5, -0.1, "", "text",
		strings.Repeat("x", 300), []byte{1, 2}, []any{}, []any{int64(1), "a", nil}, map[string]any{}, map[string]any{"a": []any{map[string]any{"b": 1.25}}, "c": true}} {
		b, err := Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(b)
		if got := r.Value(); !reflect.DeepEqual(got, v) || r.Err() != nil || len(r.b) != 0 {
			t.Errorf("%#v became %#v, %v", v, got, r.Err())
		}
	}
}

// TestFloats: the examples of RFC 8949 appendix A.
func TestFloats(t *testing.T) {
	for in, want := range map[string]float64{
		"\xf9\x3c\x00": 1, "\xf9\x3e\x00": 1.5, "\xf9\x7b\xff": 65504, "\xf9\x00\x01": 5.960464477539063e-8, "\xf9\x04\x00": 0.00006103515625, "\xf9\xc4\x00": -4,
		"\xfa\x47\xc3\x50\x00": 100000, "\xfb\xc0\x10\x66\x66\x66\x66\x66\x66": -4.1, "\xf9\x7c\x00": math.Inf(1),
	} {
		r := NewReader([]byte(in))
		if got := r.Value(); got != want {
			t.Errorf("%x: %v, want %v", in, got, want)
		}
	}
}

func TestWrongTypes(t *testing.T) {
	b, _ := Append(nil, []any{"text", int64(5), map[string]any{"a": int64(1)}, true, "end"})
	r := NewReader(b)
	r.Array()
	if n := r.Int(); n != 0 {
		t.Error(n)
	}
	if s := r.Text(); s != "" {
		t.Error(s)
	}
	if r.Array() != 0 || r.Float() != 0 {
		t.Error("what is something else is not passed over")
	}
	if s := r.Text(); s != "end" || r.Err() != nil {
		t.Error(s, r.Err())
	}
	if _, err := Append(nil, struct{}{}); err == nil {
		t.Error("a struct is no value")
	}
}

func FuzzReader(f *testing.F) {
	for _, v := range []any{"text", []any{int64(1), 1.5, nil}, map[string]any{"a": true}} {
		b, _ := Append(nil, v)
		f.Add(b)
	}
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(b)
		v := r.Value()
		if r.Err() != nil {
			return
		}
		again, err := Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		back := NewReader(again)
		if got := back.Value(); back.Err() != nil || !same(got, v) {
			t.Errorf("%#v became %#v, %v", v, got, back.Err())
		}
	})
}

// same is DeepEqual, but NaN is itself.
func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, err1 := Append(nil, a)
	y, err2 := Append(nil, b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
