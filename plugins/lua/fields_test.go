package lua

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// Headers of one line: bare asks for nothing, granted for everything.
const (
	bare    = `plugin { id = "p", version = "1.0.0", api = 0 }` + "\n"
	granted = `plugin { id = "p", version = "1.0.0", api = 0, needs = { kv = "own", dns = true, read = "body", edit = {"headers", "sender", "rcpts"}, relay = true } }` + "\n"
)

func TestCheckUse(t *testing.T) {
	for _, c := range []struct{ name, code, want string }{ // the code begins at line 2
		{"field", `function on.rcpt(r) return r.adress end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"far field", `function on.rcpt(r) return r.weather end`, `2: rcpt has no field "weather"`},
		{"assigned handler", "on.rcpt = function(r)\n local _ = r.adress end", `3: rcpt has no field "adress"; did you mean "address"?`},
		{"assigned with others", `local x on.rcpt, x = function(r) return r.adress end, 1`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"handler in a block", `if config.x then function on.rcpt(r) return r.adress end end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"method as handler", `function on:rcpt() return self.adress end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"chain", "function on.rcpt(r)\n return r.message\n  .sender\n  .domian\nend", `5: address has no field "domian"; did you mean "domain"?`},
		{"string key", `function on.rcpt(r) return r["message"].sendr end`, `2: message has no field "sendr"; did you mean "sender"?`},
		{"number key", `function on.rcpt(r) return r[1] end`, `2: rcpt is not a list: its fields have names`},
		{"in an expression", `function on.mail(m) if not (m.sender.domian == "" and #m.id .. -m.size > "") then return end end`, `2: address has no field "domian"; did you mean "domain"?`},
		{"in arguments and tables", `function on.mail(m) log.info("x", {[m.idd] = 1, a = m.sizes}) end`,
			"2: message has no field \"idd\"; did you mean \"id\"?\n2: message has no field \"sizes\"; did you mean \"size\"?"},
		{"local", "function on.rcpt(r)\n local m, s = r.message, r.message.session\n local q = s\n return m.sendr, q.listner end",
			"5: message has no field \"sendr\"; did you mean \"sender\"?\n5: session has no field \"listner\"; did you mean \"listener\"?"},
		{"in a closure", `function on.rcpt(r) return pcall(function() return r.message.sendr end) end`, `2: message has no field "sendr"; did you mean "sender"?`},
		{"after a call of another function", `local function f(x) end function on.rcpt(r) f(r) return r.adress end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"ipairs", `function on.data(m) for _, r in ipairs(m.rcpts) do local _ = r.adress end end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"pairs of a local's list", `function on.deliver(d) local m = d.message for i, r in pairs(m.rcpts) do local _ = r.adress end end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"item of a list", `function on.data(m) local r = m.rcpts[#m.rcpts] return r.adress, m.rcpts[1].adress end`,
			"2: rcpt has no field \"adress\"; did you mean \"address\"?\n2: rcpt has no field \"adress\"; did you mean \"address\"?"},
		{"item of one list of two", `function on.data(m) local n = #m.rcpts + #m.rcpts[1].message.rcpts for _, r in ipairs(m.rcpts) do local _ = r.message.rcpts[n].adress end end`,
			`2: rcpt has no field "adress"; did you mean "address"?`},
		{"each", `function on.deliver(d) return each(function(r) return r.adress end) end`, `2: rcpt has no field "adress"; did you mean "address"?`},
		{"optional object", `function on.deferred(r) if r.last then return r.last.txt end end`, `2: last has no field "txt"; did you mean "text"?`},
		{"plan", `function on.deliver(d) return d.plan.host end`, `2: plan has no field "host"; did you mean "hosts"?`},
		{"login", `function on.auth(l) return l.pasword end`, `2: login has no field "pasword"; did you mean "password"?`},
		{"tick", `function on.tick(t) return t.now end`, `2: tick has no field "now"`},
		{"field of a base", `function on.mail(m) m.sendr.my.x = 1 end`, `2: message has no field "sendr"; did you mean "sender"?`},

		{"set", `function on.rcpt(r) r.class = "local" end`, `2: the field "class" of rcpt cannot be set`},
		{"set unknown", `function on.rcpt(r) r.address.foo = "local" end`, `2: address has no field "foo"`},
		{"set one of several", `function on.rcpt(r) local x x, r.class = 1, "local" end`, `2: the field "class" of rcpt cannot be set`},
		{"set facts", `function on.rcpt(r) r.my = {} end`, `2: the field "my" of rcpt cannot be set`},
		{"function in an object", `function on.rcpt(r) function r.f() end end`, `2: rcpt has no field "f"`},

		{"method", `function on.data(m) return m:hedder("Subject") end`, `2: message has no field "hedder"; did you mean "header"?`},
		{"method elsewhere", "function on.mail(m)\n m:set_header('A', 'b') end", "3: set_header works at data, not at mail"},
		{"method of the base elsewhere", `function on.deliver(d) d.message:add_header('A', 'b') end`, "2: add_header works at mail, rcpt, data, queue, not at deliver"},
		{"header too early", `function on.rcpt(r) return r.message:header "Subject" end`, "2: there is no header yet: it is there from data on, not at rcpt"},
		{"content too early", `function on.mail(m) return m.content:read(0, 1) end`, "2: read works at data, queue, route, deliver, delivered, deferred, bounced, not at mail"},
		{"rename in a loop", `function on.data(m) for _, r in ipairs(m.rcpts) do r:rename("x@example.org") end end`, "2: rename works at rcpt, not at data"},

		{"service function", `function on.rcpt(r) kv.gte("x") end`, `2: kv has no function "gte"; did you mean "get"?`},
		{"service function far away", `function on.rcpt(r) kv.put("x") end`, `2: kv has no function "put"; it has get, set, add, incr, delete`},
		{"service function in the main chunk", `local n = hash.sha1("x")`, `2: hash has no function "sha1"; it has sha256, hmac`},
		{"service function as a value", `local f = re.mach`, `2: re has no function "mach"; did you mean "match"?`},

		{"verdict", `function on.mail(m) return hold "x" end`, `2: mail takes reject, defer, close, discard, not "hold"`},
		{"verdict where there is none", `function on.delivered(r) if r.attempts > 1 then return reject "x" end end`, `2: delivered takes no verdict, not "reject"`},
		{"verdict of a parameter that is changed", `function on.delivered(r) r = nil return reject "x" end`, `2: delivered takes no verdict, not "reject"`},
		{"class", `function on.rcpt(r) return accept "lokal" end`, `2: accept at rcpt names a class, "local" or "relay", not "lokal"`},
		{"no class", `function on.rcpt(r) return accept() end`, `2: accept at rcpt names a class, "local" or "relay", not ""`},

		{"in order", "function on.rcpt(r)\n nothing(r)\n r.adress()\n nobody(r)\n r.message:hedder() return r.klass end",
			"3: unknown global \"nothing\"\n4: rcpt has no field \"adress\"; did you mean \"address\"?\n5: unknown global \"nobody\"\n" +
				"6: message has no field \"hedder\"; did you mean \"header\"?\n6: rcpt has no field \"klass\"; did you mean \"class\"?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantLoadError(t, granted+c.code, c.want)
		})
	}
}

func TestCheckUseOfNeeds(t *testing.T) {
	for _, c := range []struct{ needs, code, want string }{
		{"", `function on.rcpt(r) return kv.get("x") end`, `2: kv.get: it is not granted: ask with needs = { kv = "own" }`},
		{"", `local function f(x) local s = secret return s(x) end`, `2: secret: it is not granted: ask with needs = { secrets = {"dkim/*"} }`},
		{"", `local function f(x) return pcall(dns.get, x, "A") end`, `2: dns.get: it is not granted: ask with needs = { dns = true }`},
		{"", "function on.data(m) m:add_header('A', 'b')\n m:set_sender('') end",
			"2: add_header is not granted: ask with needs = { edit = {\"headers\"} }\n3: set_sender is not granted: ask with needs = { edit = {\"sender\"} }"},
		{`edit = {"headers"}`, `function on.rcpt(r) r.message:add_header('A', 'b') r:rename('x@example.org') end`, `2: rename is not granted: ask with needs = { edit = {"rcpts"} }`},
		{"", `function on.data(m) return m:header("Subject") end`, `2: reading the headers is not granted: ask with needs = { read = "headers" }`},
		{`read = "headers"`, `function on.data(m) return m:header("Subject"), m.content:read(0, 9) end`, `2: reading the body is not granted: ask with needs = { read = "body" }`},
		{"", `function on.rcpt(r) return accept "relay" end`, `2: accept "relay" is not granted: ask with needs = { relay = true }`},
		{`relay = true, kv = "own", dns = true, read = "body"`, `function on.rcpt(r) kv.get("x") dns.get("x", "A") return accept "relay" end
function on.data(m) return m:header("X"), m:headers(), m.content:chunks() end`, ""},
		{"", `function on.rcpt(r) return accept "local" end`, ""},
		{"", `function on.deliver(d) return accept "relay" end`, ""}, // its class means nothing there
		{"", `function on.mail(m) m:schedule{priority = 1} return m.content and m.content.size end`, ""},
	} {
		head := strings.TrimSuffix(strings.TrimSpace(bare), "}") + ", needs = { " + c.needs + " } }\n"
		if c.want == "" {
			if p, err := loadPlugin(t, head+c.code, nil); err != nil {
				t.Errorf("%s: %v", c.code, err)
			} else {
				p.Close()
			}
			continue
		}
		wantLoadError(t, head+c.code, c.want)
	}
}

// wantLoadError loads a plugin; want has a line for each error, without the file.
func wantLoadError(t *testing.T, src, want string) {
	t.Helper()
	p, err := loadPlugin(t, src, nil)
	if err == nil {
		p.Close()
		t.Errorf("it was loaded: %s", src)
		return
	}
	if got := strings.ReplaceAll(err.Error(), "plugins/p.lua:", ""); got != want {
		t.Errorf("%s\n got: %s\nwant: %s", src, got, want)
	}
}

// TestCheckUseIsSilent: what is not certain is no error at load, even if it is one in a call.
func TestCheckUseIsSilent(t *testing.T) {
	for _, code := range []string{
		// what is right
		`function on.rcpt(r) local m = r.message m.my.x, m.facts["p.y"], r.my.z = 1, 2, 3 return m.my.any, m.facts.other, r.facts["a.b"].c end`,
		`function on.mail(m) return m.params.SIZE, m.params.none, m.session.groups[1], m.session.history[1].stage, m.session.history.x, m.rcpts.n end`,
		`function on.rcpt(r) return r.address.domain:lower(), r.class.x, ("x").y, r.original.text.len end`,
		`function on.data(m) for _, h in ipairs(m:headers()) do local _ = h.value, h.anything end end`,
		`function on.rcpt(r) local s = {} s.x = r s.adress = 1 return s.adress end`,
		`function on.rcpt(r) local kv = {} local dns, now = kv, 1 kv.put = 1 return kv.put, dns.got, now end`,
		`function on.rcpt(r) return next({}) end`,
		`local each = function(f) return f({adress = 1}) end function on.deliver(d) each(function(r) return r.adress end) end`,
		`function on.deliver(d) return each(function(r) if r.attempts > 3 then return reject{} end return accept() end) end`,
		`function on.rcpt(r) local reject = tostring return reject(1) end`,
		// what was changed, shadowed or passed on
		`function on.rcpt(r) r = {} return r.adress end`,
		`function on.rcpt(r) local m = r.message m = {} return m.sendr end`,
		`function on.rcpt(r) local m = r.message local a = m.sender local function f() m = nil end return a.txt end`,
		`function on.rcpt(r) local m = r.message return m.sendr, (function() m = {} end)() end`,
		`function on.rcpt(r) for i = 1, 2 do local a = r.adres r = {adres = a} end end`,
		`function on.rcpt(r) local function r() end return r, (function(r) return r.adress end)({}) end`,
		`function on.rcpt(r) do local r = {} local _ = r.adress end for r in pairs({}) do local _ = r.adress end for r = 1, 2 do local _ = r.x end end`,
		`function on.rcpt(r) repeat local r = {} until r.adress == nil end`,
		`function on.rcpt(r, r) return r.adress end`,
		`function on.rcpt(...) local r = ... return r.adress end`,
		`function on:rcpt(r) return r.adress end`,
		`function on.rcpt(r) local last = r.last or {} return last.txt, (r.last or {}).txt end`,
		`function on.rcpt(r) local t = {r, m = r.message} return t[1].adress, t.m.sendr end`,
		`function on.data(m) local rs = m.rcpts rs[1] = {} for _, r in ipairs(rs) do local _ = r.adress end return rs[1].adress end`,
		`function on.data(m) for i, r in ipairs(m.rcpts) do m.rcpts[i] = {adress = r} end for _, r in ipairs(m.rcpts) do local _ = r.adress end end`,
		`local function f(m) table.insert(m.rcpts, 1, {}) end function on.data(m) f(m) return m.rcpts[1].adress end`,
		`function on.data(m) m.rcpts.x = 1 local r = m.rcpts[1] return r.adress end`,
		`function on.data(m) local function ipairs(t) return pairs({{}}) end for _, r in ipairs(m.rcpts) do local _ = r.adress end end`,
		`function on.data(m) for _, r in ipairs(m.rcpts) do r = {} local _ = r.adress end end`,
		`function on.data(m) for i in ipairs(m.rcpts) do local _ = i.adress end end`,
		`local function f(r) return r.adress end function on.rcpt(r) return f(r) end`,
		`local function f(r) return r.adress end on.rcpt = f`,
		`local function wrap(f) return function(r) return f({}) end end on.rcpt = wrap(function(r) return r.adress end)`,
		`function on.rcpt(r) return r.adress end local inner = on.rcpt on.rcpt = function(r) return inner({adress = r}) end`,
		`function on.rcpt(r) return r.adress, reject{}, accept() end local o = on`,
		`function on.rcpt(r) return r.adress end local k = "rcpt" local f = on[k]`,
		`local on = {} function on.rcpt(r) return r.adress end function on.delivered(r) return reject "x" end`,
		`local t = {} function t.rcpt(r) return r.adress end`,
		`local d, k = dns, kv function on.rcpt(r) return d.got("x"), k.put() end`,
		`function on.rcpt(r) return r[r.class], r[nil], r["mes" .. "sage"] end`,
		// verdicts that another function gives, or none
		`local function f() return hold "x" end function on.mail(m) return f() end`,
		`function on.mail(m) local f = function() return hold "x" end return false and hold "x" end`,
		`function on.delivered(r) local function reject() end return reject "x" end`,
		`function on.rcpt(r) return accept(r.my.class) end function on.auth(l) return accept{user = l.name} end`,
		`function on.delivered(r) return end function on.deferred(r) return defer{after = 5} end`,
		`function on.delivered(r) return reject "x" end function on.bounced(r) return on.delivered(r) end`,
	} {
		if p, err := loadPlugin(t, granted+code, nil); err != nil {
			t.Errorf("%s\n%v", code, err)
		} else {
			p.Close()
		}
	}
}

// TestCheckUseSaysWhatTheCallSays gives each mistake where the check sees it, and once more where only the call does.
func TestCheckUseSaysWhatTheCallSays(t *testing.T) {
	compare := func(t *testing.T, s hooks.Stage, seen, hidden, prefix string, must bool) {
		t.Helper()
		p, err := loadPlugin(t, seen, nil)
		if err == nil {
			p.Close()
			if must {
				t.Errorf("it was loaded: %s", seen)
			}
			return
		}
		c, rec := testCall(t, s)
		g := generationOf(t, mustLoad(t, hidden, nil))
		if s == hooks.Deliver {
			g.RunPlugin(c, "p")
		} else {
			g.Run(c)
		}
		detail := rec.steps[0].Detail
		if s.Info().Scope == hooks.ScopeRcpt {
			_, detail, _ = strings.Cut(detail, "> ")
		}
		if prefix != "" { // it is found after the handler returned, and said of where that begins
			_, detail, _ = strings.Cut(detail, ": ")
		}
		if want := prefix + detail; err.Error() != want {
			t.Errorf("%s\nat load:     %s\nin the call: %s", seen, err, want)
		}
	}
	mistake := func(t *testing.T, head string, s hooks.Stage, stmt, prefix string, must bool) {
		t.Helper()
		compare(t, s, fmt.Sprintf("%sfunction on.%s(x) %s end", head, s, stmt),
			fmt.Sprintf("%slocal function f(x) %s end\nfunction on.%s(x) return f(x) end", head, stmt, s), prefix, must)
	}

	mistake(t, bare, hooks.Rcpt, `local _ = x.adress`, "", true)
	mistake(t, bare, hooks.Rcpt, `local _ = x[1]`, "", true)
	mistake(t, bare, hooks.Rcpt, `x.class = 1`, "", true)
	mistake(t, bare, hooks.Rcpt, `x.klass = 1`, "", true)
	mistake(t, bare, hooks.Rcpt, `return accept "relay"`, "plugins/p.lua:2: ", true)

	for _, info := range hooks.Stages() {
		for _, k := range hooks.Verdicts() {
			if k.Kind != hooks.Next && k.Kind != hooks.Each { // each looks at its argument first
				mistake(t, granted, info.Stage, "return "+k.Name+"()", "", !info.Verdicts.Has(k.Kind))
			}
		}
	}

	args := map[string]string{"header": `"A"`, "headers": "", "add_header": `"A", "b"`, "set_header": `"A", "b"`, "remove_header": `"A"`, "set_sender": `""`,
		"add_rcpt": `"w@example.org", "local"`, "schedule": "{}", "rename": `"w@example.org"`, "read": "0, 1", "chunks": "", "rewrite": "function() end", "set_content": `{text = "x"}`, "text": ""}
	for _, o := range hooks.Objects() {
		for _, m := range o.Methods {
			a, ok := args[m.Name]
			if !ok {
				t.Fatalf("the test does not know arguments for %s", m.Name)
			}
			for _, info := range hooks.Stages() {
				path := ""
				switch info.Scope {
				case hooks.ScopeMessage:
					path = map[string]string{"message": "x", "rcpt": "x.rcpts[1]", "content": "x.content", "part": "x.parts[1]"}[o.Name]
				case hooks.ScopeRcpt:
					path = map[string]string{"message": "x.message", "rcpt": "x", "content": "x.message.content", "part": "x.message.parts[1]"}[o.Name]
				case hooks.ScopeDelivery:
					path = map[string]string{"message": "x.message", "rcpt": "x.rcpts[1]", "content": "x.message.content", "part": "x.message.parts[1]"}[o.Name]
				}
				works := slices.Contains(m.Stages, info.Stage)
				if path == "" || (o.Name == "content" || o.Name == "part") && !works { // content is nil then
					continue
				}
				stmt := fmt.Sprintf("local f = %s:%s(%s)", path, m.Name, a)
				if m.Name == "chunks" {
					stmt += " f()" // it reads when it is asked for the first piece
				}
				if works {
					mistake(t, bare, info.Stage, stmt, "", m.Needs != "")
				}
				mistake(t, granted, info.Stage, stmt, "", !works)
			}
		}
	}

	for _, s := range service.Services() {
		for _, f := range s.Funcs {
			if f.Needs == "" || f.Name == s.Name { // where the service is a function, its very name is seen everywhere
				continue
			}
			name, isTable := strings.CutPrefix(f.Name, s.Name+".")
			if !isTable { // to name it is to use it
				want := fmt.Sprintf("p.lua:2: %s: it is not granted: ask with needs = { inject = true }", f.Name)
				if _, _, err := Open(Files{Main: "p.lua", Path: func(f string) string { return f }, Texts: map[string][]byte{
					"p.lua": fmt.Appendf(nil, "%slocal s = %s", bare, f.Name),
				}}); err == nil || err.Error() != want {
					t.Errorf("error %v, want %s", err, want)
				}
				continue
			}
			compare(t, hooks.Rcpt, fmt.Sprintf("%sfunction on.rcpt(x) %s.%s() end", bare, s.Name, name),
				fmt.Sprintf("%sfunction on.rcpt(x) local s = %s s.%s() end", bare, s.Name, name), "", true)
		}
	}
}

// TestCheckUseOfModules: what is wrong with services in a module is told with the module's name.
func TestCheckUseOfModules(t *testing.T) {
	_, _, err := Open(Files{Main: "init.lua", Path: func(f string) string { return "p/" + f }, Texts: map[string][]byte{
		"init.lua": []byte(bare + `local x = require "lib/x"`), "lib/x.lua": []byte("local function f()\n return kv.get('a') end return f"),
	}})
	if want := `p/lib/x.lua:2: kv.get: it is not granted: ask with needs = { kv = "own" }`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func BenchmarkCheckUse(b *testing.B) {
	src := []byte(strings.Repeat("local function f(r)\n local m = r.message\n for _, r in ipairs(m.rcpts) do kv.get(r.address.text) end\nend\n", 150))
	for b.Loop() {
		c, err := Parse(Source{Name: "x.lua", Text: src})
		if err != nil {
			b.Fatal(err)
		}
		checkUse(c, &capability.Needs{KV: true})
	}
}
