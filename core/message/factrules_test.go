package message

import (
	"strings"
	"testing"
)

func TestFactRules(t *testing.T) {
	rules := FactRules{
		{Name: "any", Type: FactString}, {Name: "bool", Type: FactBool}, {Name: "bytes", Type: FactBytes}, {Name: "float", Type: FactFloat},
		{Name: "int", Type: FactInt, Values: []any{int64(1), int64(-2)}}, {Name: "list", Type: FactList, Of: OfSession}, {Name: "map", Type: FactMap},
		{Name: "result", Type: FactString, Values: []any{"pass", "fail"}, Of: OfMessage}, {Name: "zone.*", Type: FactInt},
		{Name: "zone.flag.*", Type: FactBool}, {Name: "zone.text", Type: FactString},
	}
	for _, c := range []struct {
		name string
		v    any
		of   FactOwner
		err  string // "": it may be set
	}{
		{"p.any", "x", OfRcpt, ""},
		{"p.any", nil, OfSession, ""},
		{"p.any", int64(1), OfRcpt, "the value is 1; under facts the plugin declares the type string"},
		{"p.any", []byte("x"), OfRcpt, "the value is bytes; "},
		{"p.any", map[string]any{}, OfRcpt, "the value is a map; "},
		{"p.bool", false, OfRcpt, ""},
		{"p.bool", "true", OfRcpt, `the value is "true"; under facts the plugin declares the type bool`},
		{"p.bytes", []byte{0}, OfRcpt, ""},
		{"p.bytes", "text", OfRcpt, ""},
		{"p.float", 1.5, OfRcpt, ""},
		{"p.float", int64(1), OfRcpt, ""},
		{"p.int", int64(-2), OfRcpt, ""},
		{"p.int", int64(2), OfRcpt, "the value is 2; under facts the plugin declares the values 1, -2"},
		{"p.int", 1.5, OfRcpt, "the value is 1.5; under facts the plugin declares the type int"},
		{"p.int", true, OfRcpt, "the value is true; "},
		{"p.list", []any{"x"}, OfSession, ""},
		{"p.list", map[string]any{}, OfSession, ""}, // as Lua has an empty table
		{"p.list", map[string]any{"a": true}, OfSession, "the type list"},
		{"p.list", []any{"x"}, OfRcpt, "it is set on the rcpt; under facts the plugin declares it of the session"},
		{"p.list", nil, OfRcpt, "it is set on the rcpt"},
		{"p.map", map[string]any{"a": true}, OfRcpt, ""},
		{"p.map", []any{}, OfRcpt, "the value is a list; "},
		{"p.result", "pass", OfMessage, ""},
		{"p.result", nil, OfMessage, ""},
		{"p.result", "Pass", OfMessage, `the value is "Pass"; under facts the plugin declares the values "pass", "fail"`},
		{"p.result", strings.Repeat("x", 1<<20), OfMessage, `xx"...; under facts`},
		{"p.zone.a", int64(1), OfRcpt, ""},
		{"p.zone.a.b", int64(1), OfRcpt, ""},
		{"p.zone.a", "x", OfRcpt, "the type int"},
		{"p.zone.text", "x", OfRcpt, ""},
		{"p.zone.flag.a", true, OfRcpt, ""},
		{"p.zone.flag.a", int64(1), OfRcpt, "the type bool"},
		{"p.zone", int64(1), OfRcpt, "the plugin does not declare it: under facts it has any, bool, bytes, float, int, list, map, result, zone.*, zone.flag.*, zone.text"},
		{"p.other", int64(1), OfRcpt, "the plugin does not declare it"},
		{"pp.other", int64(1), OfRcpt, ""}, // another plugin's, which needs.facts let it set
		{"other", struct{}{}, OfRcpt, "not struct {}"},
		{"p.any", struct{}{}, OfRcpt, "not struct {}"},
	} {
		err := rules.Check("p", c.name, c.of, c.v)
		if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || len(err.Error()) > 200) {
			t.Errorf("%s = %.60v of the %s: %v, want %q", c.name, c.v, c.of, err, c.err)
		}
	}
	if err := (FactRules)(nil).Check("p", "p.any", OfRcpt, int64(1)); err != nil {
		t.Errorf("nothing is declared, and %v", err)
	}
	if err := (FactRules{}).Check("p", "p.any", OfRcpt, int64(1)); err == nil || !strings.Contains(err.Error(), "it has none") {
		t.Errorf("none is declared, and %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = rules.Check("p", "p.result", OfMessage, rules[7].Values[0]) }); n > 0 {
		t.Errorf("a check allocates %g times", n)
	}
}
