package message

import (
	"strings"
	"testing"
)

func TestFactsSetReplaceAndBounds(t *testing.T) {
	var f Facts
	if _, ok := f.Get("a.b"); ok || f.Len() != 0 || f.Bytes() != 0 {
		t.Fatal("the zero Facts is not empty")
	}
	set := func(name string, v any) {
		t.Helper()
		if err := f.Set(name, v); err != nil {
			t.Fatal(err)
		}
	}
	set("z.last", "text")
	set("a.nothing", nil)
	if v, ok := f.Get("a.nothing"); !ok || v != nil {
		t.Error("a nil fact is not told apart from none")
	}
	set("z.last", int64(7))
	if v, _ := f.Get("z.last"); v != int64(7) || f.Len() != 2 {
		t.Errorf("z.last is %v of %d facts", v, f.Len())
	}
	if all := f.All(); all[0].Name != "a.nothing" || all[1].Name != "z.last" {
		t.Errorf("All is not in order of name: %v", all)
	}
	want := len("z.last") + 8 + len("a.nothing") + 1
	if f.Bytes() != want {
		t.Errorf("facts count %d bytes, want %d", f.Bytes(), want)
	}

	if err := f.Set("z.last", strings.Repeat("x", MaxFactsBytes)); err == nil {
		t.Error("too long a value was taken")
	}
	if v, _ := f.Get("z.last"); v != int64(7) || f.Bytes() != want {
		t.Error("a refused value changed the facts")
	}
	for i := f.Len(); i < MaxFacts; i++ {
		set("n."+strings.Repeat("i", i), true)
	}
	if f.Set("one.more", true) == nil {
		t.Error("one fact too many was taken")
	}
	set("z.last", "but replacing one is no new one")
}

func TestFactTypes(t *testing.T) {
	deep := any("x")
	for range maxValueDepth + 1 {
		deep = []any{deep}
	}
	self := map[string]any{}
	self["self"] = self
	for _, c := range []struct {
		name string
		v    any
		ok   bool
	}{
		{"nil", nil, true},
		{"bool", true, true},
		{"int64", int64(1), true},
		{"float", 1.5, true},
		{"bytes", []byte{0}, true},
		{"list", []any{int64(1), "x", []any{}}, true},
		{"map", map[string]any{"k": []any{nil}}, true},
		{"int", 1, false},
		{"list of strings", []string{"x"}, false},
		{"struct inside", []any{struct{}{}}, false},
		{"too deep", deep, false},
		{"cycle", self, false},
	} {
		var f Facts
		if err := f.Set("p.k", c.v); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
