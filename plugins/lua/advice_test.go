package lua

import (
	"slices"
	"testing"
)

// advise says what Advise says of a plugin of one file, as "line: text".
func advise(t *testing.T, files map[string]string) []string {
	t.Helper()
	f := Files{Main: "x.lua", Texts: map[string][]byte{}, Path: func(file string) string { return file }}
	for name, text := range files {
		f.Texts[name] = []byte(text)
	}
	list, err := Advise(f)
	if err != nil {
		t.Fatalf("%v\n%v", err, files)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Error())
	}
	return out
}

func TestAdvice(t *testing.T) {
	const head = `plugin { id = "x", version = "1.0.0", description = "d"`
	const hook = "\nfunction on.rcpt(r) end"
	for _, tt := range []struct {
		code string
		want []string
	}{
		{head + "}" + hook, nil},
		{`plugin { id = "x" }`, []string{
			"x.lua:1: it has no function on.STAGE, so it is never asked",
			`x.lua:1: it has no version; write version = "1.0.0"`,
			"x.lua:1: it has no description, which listings show"}},

		{head + `, needs = { dns = true, kv = "own", relay = true, route = {"mx"}, read = "body", edit = {"headers", "sender", "rcpts"}, facts = {"y.z", "w.*"} } }` + hook, []string{
			"x.lua:1: needs = { dns = true }: nothing uses it",
			`x.lua:1: needs = { kv = "own" }: nothing uses it`,
			"x.lua:1: needs = { relay = true }: nothing accepts a recipient",
			"x.lua:1: needs = { route = ... }: nothing routes",
			"x.lua:1: needs = { read = ... }: nothing reads the message",
			`x.lua:1: needs = { edit = {"headers"} }: nothing changes them`,
			`x.lua:1: needs = { edit = {"sender"} }: nothing changes them`,
			`x.lua:1: needs = { edit = {"rcpts"} }: nothing changes them`,
			`x.lua:1: needs = { facts = {"y.z"} }: nothing sets it`,
			`x.lua:1: needs = { facts = {"w.*"} }: nothing sets it`}},
		{head + `, needs = { dns = true, kv = "own", relay = true, route = {"mx"}, read = "body", edit = {"headers", "sender", "rcpts"}, facts = {"y.z", "w.*"} }, hook = { rcpt = { on_error = "next" } } }
function on.rcpt(r) local d = dns r:rename("a@b") r.facts["y.z"] = kv.get("k") r.facts["w.a"] = 1 return accept "relay" end
function on.data(m) m:set_sender("") m:add_header("X", m.content:read(0, 1)) end
function on.route(r) return route { mx = "a" } end`, nil},
		{head + `,
  facts = {
    result = { type = "string", doc = "d" },
    unset = { type = "int", doc = "d" },
    ["zone.*"] = { type = "int" } } }
function on.data(m)
  m.my.result = "a"
  m.my.reslt = "a"
  m.facts["x.zone.a"] = 1
  if m.my.resut or m.facts["x.result"] then return end
end`, []string{
			`x.lua:4: facts: nothing sets the fact "x.unset"`,
			`x.lua:5: the fact zone.* has no doc, so nobody knows what it tells`,
			`x.lua:8: the fact "x.reslt" is not declared under facts, so to set it is an error; did you mean "x.result"?`,
			`x.lua:10: the fact "x.resut" is not declared under facts, so it is always nil; did you mean "x.result"?`}},
		{head + `, facts = { a = { type = "int", doc = "d" } } }
function on.data(m) local which = "a" m.my[which] = 1 end`, nil},
		{head + `, needs = { route = {"mx"}, secrets = {"s"} } }
function on.route(r) return route { mx = "a", auth = { user = "u", secret = "s" } } end`, nil},
		{head + `, needs = { route = {"mx"}, secrets = {"s"} } }
function on.route(r) return route { mx = "a" } end`, []string{"x.lua:1: needs = { secrets = ... }: nothing uses it"}},
		{head + `, needs = { read = "body" } }
function on.data(m) if m:header("X") then return hold "x" end end`, []string{`x.lua:1: needs = { read = "body" }: only the header is read; write read = "headers"`}},
		{head + `, needs = { edit = {"headers"} } }
function on.data(m) local name = m.sender.text m[name](m, "X") end`, nil}, // it may be any method

		{head + `, config = { a = { type = "int", doc = "d" },
  b = { type = "int" } } }
function on.rcpt(r) local c = config.bb end`, []string{
			"x.lua:1: nothing reads the setting a",
			"x.lua:2: the setting b has no doc, so nobody knows what it is for",
			"x.lua:2: nothing reads the setting b",
			`x.lua:3: config.bb is always nil: the header has no such setting; did you mean "b"?`}},
		{head + `, config = { a = { type = "int", doc = "d" } } }
for k, v in pairs(config) do log.info(k) end` + hook, nil},

		{head + `, needs = { kv = "own" } }
function on.rcpt(r) kv.get("k") end`, []string{`x.lua:1: kv may fail, and no hook says what then: mail is deferred, since that is the default of on_error; write it, or "next"`}},
		{head + `, needs = { kv = "own" }, hook = { rcpt = { on_error = "defer" } } }
function on.rcpt(r) kv.get("k") end`, nil},
		{head + `, needs = { kv = "own" } }
function on.rcpt(r) pcall(kv.get, "k") end`, nil},

		{head + `, hook = { rcpt = { reads = {"b.c?", "d.e?"} } } }
function on.rcpt(r)
  local m = r.message
  return m.facts["a.b"] or m.facts["b.c"] or r.facts["x.y"] or m.my.z and nil
end`, []string{`x.lua:4: the fact "a.b" is not in reads of any hook, so the plugin that sets it may be asked later; write reads = {"a.b?"}`}},
		{head + `, hook = {
  rcpt = { sets = {"x.a", "x.b"} } } }
function on.rcpt(r)
  r.my.a = 1
  r.message.facts["x.c"] = 2
end`, []string{
			`x.lua:2: hook.rcpt.sets: nothing sets the fact "x.b"`,
			`x.lua:5: the fact "x.c" is not in sets of any hook, and others are: nobody who reads it is asked after this plugin`}},
		{head + `, hook = { rcpt = { sets = {"x.a"} } } }
function on.rcpt(r) local my = r.my for _, k in ipairs { "a" } do my[k] = 1 end end`, nil},
		{head + `, hook = { rcpt = { sets = {"x.a"} } } }
function on.rcpt(r) for _, k in ipairs { "a" } do r.my[k] = 1 end end`, nil},
	} {
		if got := advise(t, map[string]string{"x.lua": tt.code}); !slices.Equal(got, tt.want) {
			t.Errorf("%s\nadvice\n%q\nwant\n%q", tt.code, got, tt.want)
		}
	}
	got := advise(t, map[string]string{"x.lua": head + `, config = { a = { type = "int", doc = "d" } } } local l = require "lib/l"` + hook, "lib/l.lua": "local a = config.a return {}", "lib/m.lua": "syntax error"})
	if want := []string{"lib/m.lua:1: no file requires this one; take it away"}; !slices.Equal(got, want) {
		t.Errorf("of several files: %q, want %q", got, want)
	}
}
