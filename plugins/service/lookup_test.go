package service

import (
	"errors"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lookup"
)

func table(tb testing.TB, text string) Lookup {
	tb.Helper()
	t, err := lookup.Parse("file", "x", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestLookup(t *testing.T) {
	h := NewHost(Options{})
	steps, left := 0, 1<<30
	c := h.Context("vip", &capability.Needs{Lookup: []string{"users", "net-*"}}, func(n, _ int) error {
		if steps += n; steps > left {
			return errors.New("over budget")
		}
		return nil
	})
	c.Begin(&hooks.Call{})
	check(t, c, []call{{name: "lookup", args: list("users", "a"), err: "there is no [lookup.users] in the configuration"}})
	h.UseLookups(map[string]Lookup{"users": table(t, "a one\nb"), "net-1": table(t, "x y"), "secret": table(t, "x y")})
	c.Settings = map[string]any{
		"map": map[string]any{"Big": "kept", "small": int64(5), "no": false}, "list": []any{"a", int64(1), "B"}, "table": "lookup:secret", "gone": "lookup:gone", "text": "a",
	}
	check(t, c, []call{
		{name: "lookup", args: list("users", "A"), want: "one"},
		{name: "lookup", args: list("users", "b"), want: true},
		{name: "lookup", args: list("users", "c"), want: nil},
		{name: "lookup", args: list("net-1", "x"), want: "y"},
		{name: "lookup", args: list("secret", "x"), err: `the lookup "secret" is not granted: ask with needs = { lookup = {"secret"} }`},
		{name: "lookup", args: list("config.map", "Big"), want: "kept"},
		{name: "lookup", args: list("config.map", "SMALL"), want: int64(5)},
		{name: "lookup", args: list("config.map", "no"), want: false},
		{name: "lookup", args: list("config.map", "none"), want: nil},
		{name: "lookup", args: list("config.list", "b"), want: true},
		{name: "lookup", args: list("config.list", "1"), want: nil},
		{name: "lookup", args: list("config.table", "x"), want: "y"}, // granted by the operator's writing it
		{name: "lookup", args: list("config.gone", "x"), err: "there is no [lookup.gone]"},
		{name: "lookup", args: list("config.text", "x"), err: `the plugin has no setting "text" that is a list or a table`},
		{name: "lookup", args: list("config.other", "x"), err: `the plugin has no setting "other"`},
		{name: "lookup", args: list("users"), err: "key is missing or nil; call it as lookup(name, key)"},
	})
	left = steps
	check(t, c, []call{
		{name: "lookup", args: list("users", "a"), err: "over budget"},
		{name: "lookup", args: list("config.list", "a"), err: "over budget"},
	})
	none := h.Context("none", &capability.Needs{}, nil)
	none.Begin(&hooks.Call{})
	check(t, none, []call{{name: "lookup", args: list("users", "a"), err: `the lookup "users" is not granted`}})
	none.Begin(nil)
	check(t, none, []call{{name: "lookup", args: list("users", "a"), err: "it does not work while the plugin loads"}})
	withheld := h.Context("withheld", &capability.Needs{Lookup: []string{"users"}, Asked: &capability.Needs{Lookup: []string{"users", "secret"}}}, nil)
	withheld.Begin(&hooks.Call{})
	check(t, withheld, []call{{name: "lookup", args: list("secret", "x"), err: "the operator's grant leaves it out"}})
}

func BenchmarkLookup(b *testing.B) {
	h := NewHost(Options{})
	h.UseLookups(map[string]Lookup{"users": table(b, strings.Repeat("# x\n", 10)+"user@example.org box\n")})
	c := h.Context("vip", &capability.Needs{Lookup: []string{"users"}}, nil)
	c.Begin(&hooks.Call{})
	f := find(b, "lookup")
	args := make([]any, 2)
	for b.Loop() {
		args[0], args[1] = "users", "user@example.org"
		if v, err := f.Do(c, args); v != "box" || err != nil {
			b.Fatal(v, err)
		}
	}
}
