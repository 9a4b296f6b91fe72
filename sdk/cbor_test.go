package sdk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/message"
)

// cborProgram builds the test's program for a language, for this machine.
func cborProgram(t *testing.T, language string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "cbor")
	run := func(program string, args ...string) error {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("left out: ", err)
		}
		if said, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", program, err, said)
		}
		return nil
	}
	if language == "c" {
		args := []string{"-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", "c", "-o", exe, "testdata/cbor.c", "c/stagepost.c"}
		if err := run("cc", append([]string{"-fsanitize=address,undefined", "-fno-sanitize-recover"}, args...)...); err == nil {
			return exe
		}
		t.Log("without sanitizers")
		if err := run("cc", args...); err != nil {
			t.Fatal(err)
		}
		return exe
	}
	lib := filepath.Join(t.TempDir(), "libstagepost.rlib")
	if err := run("rustc", "--edition", "2021", "-D", "warnings", "--crate-type", "rlib", "--crate-name", "stagepost", "-o", lib, "rust/src/lib.rs"); err != nil {
		t.Fatal(err)
	}
	if err := run("rustc", "--edition", "2021", "-D", "warnings", "--extern", "stagepost="+lib, "-o", exe, "testdata/cbor.rs"); err != nil {
		t.Fatal(err)
	}
	return exe
}

func randomValue(r *rand.Rand, deep int) any {
	integers := []int64{0, 1, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, math.MaxInt64, -1, -24, -25, -256, -257, -65537, math.MinInt64}
	floats := []float64{0, math.Copysign(0, -1), 0.5, 1.5, -2.25, 65504, 5.960464477539063e-08, 0.00006103515625, 100000.25, 1e300, math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, 3.4028234663852886e38}
	switch n := r.IntN(9); {
	case n == 0:
		return nil
	case n == 1:
		return r.IntN(2) == 1
	case n == 2:
		return integers[r.IntN(len(integers))]
	case n == 3:
		return floats[r.IntN(len(floats))]
	case n == 4:
		return string(bytes.Repeat([]byte("aé"), r.IntN(200)))
	case n == 5:
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if r.IntN(2) == 0 {
			return string(b) // text that is not UTF-8
		}
		return b
	case deep == 0:
		return int64(r.IntN(100))
	case n == 6 || n == 7:
		list := make([]any, r.IntN(30))
		for i := range list {
			list[i] = randomValue(r, deep-1)
		}
		return list
	}
	m := map[string]any{}
	for range r.IntN(30) {
		m[fmt.Sprintf("k%d", r.IntN(1000))] = randomValue(r, deep-1)
	}
	return m
}

// same compares what went in with what came out. Text that is not UTF-8 may come as bytes, and nil need not stand in a map.
func same(a, b any) bool {
	switch a := a.(type) {
	case string:
		if raw, ok := b.([]byte); ok {
			return !utf8.ValidString(a) && string(raw) == a
		}
		return a == b
	case []byte:
		raw, ok := b.([]byte)
		return ok && bytes.Equal(a, raw)
	case float64:
		f, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(f) || a != a && f != f
	case []any:
		list, ok := b.([]any)
		return ok && slices.EqualFunc(a, list, same)
	case map[string]any:
		m, ok := b.(map[string]any)
		for k, v := range a {
			if !utf8.ValidString(k) { // Rust has names in UTF-8 only
				return ok
			}
			if !same(v, m[k]) {
				return false
			}
		}
		return ok && len(m) <= len(a)
	}
	return a == b
}

// TestCBOR: the SDKs understand each value that the server writes as the server does, and no bytes at all make them read what is not
// theirs, which the sanitizers of the C compiler watch.
func TestCBOR(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var items [][]byte
	add := func(v any) []byte {
		raw, err := message.EncodeValue(v)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, raw)
		return raw
	}
	for range 1000 {
		add(randomValue(r, 4))
	}
	for _, odd := range []string{"", "\x18", "\x5f\x41a\xff", "\x9f\xff", "\xbf\xff", "\xc0\x00", "\xf7", "\xf8\x20", "\xfc", "\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "\xba\xff\xff\xff\xff", "\x7a\xff\xff\xff\xff", "\xa1\x01\x02", "\x82\x01", "\x01\x01",
		"\xf9\x7e\x00", "\xf9\x80\x01", "\xfa\x7f\x80\x00\x01", string(bytes.Repeat([]byte{0x81}, 100)) + "\x00"} {
		items = append(items, []byte(odd))
	}
	for range 20_000 {
		raw := slices.Clone(items[r.IntN(1000)])
		for range 1 + r.IntN(3) {
			if len(raw) > 0 {
				raw[r.IntN(min(len(raw), 1+r.IntN(64)))] = byte(r.Uint32())
			}
		}
		items = append(items, raw[:r.IntN(len(raw)+1)])
	}
	var input bytes.Buffer
	for _, item := range items {
		binary.Write(&input, binary.NativeEndian, uint32(len(item)))
		input.Write(item)
	}
	for _, l := range Languages() {
		t.Run(l.Name, func(t *testing.T) {
			cmd := exec.Command(cborProgram(t, l.Name))
			cmd.Stdin = bytes.NewReader(input.Bytes())
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, said.Bytes())
			}
			taken := 0
			for i, item := range items {
				n := binary.NativeEndian.Uint32(out)
				out = out[4:]
				want, err := message.DecodeValue(slices.Clone(item))
				if n == math.MaxUint32 {
					if err == nil {
						t.Errorf("item %d, %x, is no value; the server takes it as %v", i, item, want)
					}
					continue
				}
				got, err2 := message.DecodeValue(slices.Clone(out[:n]))
				out = out[n:]
				if err == nil && (err2 != nil || !same(want, got)) {
					t.Errorf("item %d, %x: %v, %v; want %v", i, item, got, err2, want)
				}
				taken++
			}
			t.Logf("%d of %d items are values", taken, len(items))
		})
	}
}
