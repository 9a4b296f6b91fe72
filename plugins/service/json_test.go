package service

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestJSONEncode(t *testing.T) {
	deep := any("x")
	for range maxJSONDepth + 1 {
		deep = list(deep)
	}
	check(t, handler(t, Options{}), []call{
		{name: "json.encode", want: "null"},
		{name: "json.encode", args: list(map[string]any{"b": list(), "a": map[string]any{}, "": nil}), want: `{"":null,"a":{},"b":[]}`},
		{name: "json.encode", args: list(list(int64(math.MaxInt64), 5.0, -0.5, 1e21, true)), want: `[9223372036854775807,5,-0.5,1e+21,true]`},
		{name: "json.encode", args: list("a\"\\\n\r\t\x00\x7f\u2028<é\xff"), want: "\"a\\\"\\\\\\n\\r\\t\\u0000\\u007f\\u2028<é\ufffd\""},
		{name: "json.encode", args: list([]byte("abc")), want: `"abc"`},
		{name: "json.encode", args: list(math.NaN()), err: "JSON has no number NaN"},
		{name: "json.encode", args: list(deep), err: "nested more than 32 deep"},
		{name: "json.encode", args: list(strings.Repeat("x", maxJSON)), err: "longer than 1048576 bytes"},
		{name: "json.encode", args: list(list(int(1))), err: "a int has no form in JSON"},
	})
}

func TestJSONDecode(t *testing.T) {
	check(t, handler(t, Options{}), []call{
		{name: "json.decode", args: list(` {"a":[1,-2.5,1e3,true,null,"é"],"b":{},"a2":9223372036854775807} `),
			want: map[string]any{"a": list(int64(1), -2.5, 1000.0, true, nil, "é"), "b": map[string]any{}, "a2": int64(math.MaxInt64)}},
		{name: "json.decode", args: list(`9223372036854775808`), want: 9223372036854775808.0},
		{name: "json.decode", args: list(`{"a":1,"a":2}`), want: map[string]any{"a": int64(2)}},
		{name: "json.decode", args: list(`null`), want: nil},
		{name: "json.decode", args: list(``), err: "the text ends too early"},
		{name: "json.decode", args: list(`[1`), err: "the text ends too early"},
		{name: "json.decode", args: list(`[1}`), err: "this is not JSON"},
		{name: "json.decode", args: list(`1 2`), err: "more text stands behind"},
		{name: "json.decode", args: list(`1e999`), err: "the number 1e999 is too large"},
		{name: "json.decode", args: list(strings.Repeat("[", 33)), err: "nested more than 32 deep"},
		{name: "json.decode", args: list(`"` + strings.Repeat("[", 33) + `\""`), want: strings.Repeat("[", 33) + `"`},
		{name: "json.decode", args: list(strings.Repeat(" ", maxJSON+1)), err: "longer than 1048576 bytes"},
		{name: "json.decode", args: list("[" + strings.Repeat("1,", maxJSONValues) + "1]"), err: "more than 50000 values"},
	})
}

// FuzzJSON holds the two directions against each other and against the library.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x\n",null,true]}`, `[[],{}]`, `1e400`, `-0`, `"\ud800"`, `[1,]`, `{"a":1}x`, `1.0`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := handler(t, Options{})
		v, err := c.decodeJSON(text)
		if err != nil {
			if json.Valid([]byte(text)) && len(text) < 1000 && !strings.Contains(err.Error(), "too large") && !strings.Contains(err.Error(), "deep") {
				t.Fatalf("%q is JSON: %v", text, err)
			}
			return
		}
		e := jsonEncoder{most: 10 * maxJSON}
		if err := e.value(v, 0); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(e.out) || !utf8.Valid(e.out) {
			t.Fatalf("%q became %q", text, e.out)
		}
		again, err := c.decodeJSON(string(e.out))
		if err != nil {
			t.Fatal(err)
		}
		var a, b any // whole floats come back as integers: compare what the library makes of both
		if json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal(e.out, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q: %v, %v", text, e.out, v, again)
		}
	})
}
