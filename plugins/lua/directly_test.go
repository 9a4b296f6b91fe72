package lua

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// outcome is all that a handler did to a call.
type outcome struct {
	Result hooks.Result
	Steps  []observe.Step
	Facts  [3]any
	Header string
	Sender string
	Rcpts  string
}

// outcomeOf asks a generation at a stage.
func outcomeOf(t testing.TB, g *hooks.Generation, s hooks.Stage) outcome {
	c, rec := testCall(t, s)
	c.Session.Facts.Set("p.known", "fact")
	c.Message.Facts.Set("other.list", []any{"one", int64(2)})
	var o outcome
	if s == hooks.Deliver {
		o.Result, _ = g.RunPlugin(c, "p")
	} else {
		o.Result = g.Run(c)
	}
	for _, step := range rec.steps {
		step.Time, step.Micros = time.Time{}, 0
		o.Steps = append(o.Steps, step)
	}
	o.Facts = [3]any{c.Session.Facts.All(), c.Message.Facts.All(), c.Rcpt.Facts.All()}
	if h, err := c.Message.Header(); h != nil && err == nil {
		for _, f := range h.Fields("") {
			o.Header += string(f.Raw)
		}
	}
	o.Sender = c.Message.Sender.Text
	for _, r := range c.Message.Rcpts {
		o.Rcpts += fmt.Sprintf("%s %s,", r.Address.Text, r.Class)
	}
	return o
}

// both loads a plugin as it is and as one that only runs in instances.
func both(t testing.TB, src string, settings map[string]any) (p *Plugin, g, slow *hooks.Generation, err error) {
	p, err = loadPlugin(t, src, settings)
	if err != nil {
		return nil, nil, nil, err
	}
	t.Cleanup(p.Close)
	other, err := loadPlugin(t, src, settings)
	if err != nil {
		return nil, nil, nil, err
	}
	t.Cleanup(other.Close)
	clear(other.direct)
	return p, generationOf(t, p), generationOf(t, other), nil
}

// TestDirectly shows that handlers do the same with and without an instance, and which of them need none.
func TestDirectly(t *testing.T) {
	const yes, no = true, false
	for _, c := range []struct {
		src    string
		direct bool
	}{
		{`function on.rcpt(r) end`, yes},
		{`function on.rcpt() return accept "local" end`, yes},
		{`function on.rcpt(r) if r.address.domain == "example.org" then return accept "local" end end`, yes},
		{`function on.rcpt(r) if r.address.domain ~= "example.org" then return accept "local" end return reject { code = 551, enhanced = "5.1.6", text = "moved" } end`, yes},
		{`function on.rcpt(r) if r.class then return reject "no" end return defer("a" .. r.message.sender.domain .. r.original.text) end`, yes},
		{`function on.rcpt(r) local s = r.message.session if s.helo == "client.example" and not s.user and s.role == "mx" then return reject(s.helo) end end`, yes},
		{`function on.rcpt(r) r.my.x = #r.address.text r.message.my.y = r.my.x r.message.session.my.z = { 1, "b" } end`, yes},
		{`function on.rcpt(r) r.my.x = { a = 1, b = { "c" } } return accept "relay" end`, yes},
		{`function on.rcpt(r) if r.message.session.my.known == "fact" then return reject(r.message.facts["other.list"][1]) end end`, yes},
		{`function on.rcpt(r) if r.message.facts["other.list"][2] == 2 and not r.message.facts["other.list"][3] then return reject "two" end end`, yes},
		{`local ours = { ["example.org"] = true } function on.rcpt(r) if ours[r.address.domain] then return accept "local" end end`, yes},
		{`local names = { "a", "example.org" } function on.rcpt(r) for i, n in ipairs(names) do if n == r.address.domain then r.my.i = i break end end return accept "local" end`, yes},
		{`local function pick(d, n) if d == "example.org" then return n + 1 end return n end function on.rcpt(r) r.my.n = pick(r.address.domain, 2) * 3 - 1 / 2 end`, yes},
		{`local function deep(n) if n == 0 then return 0 end return deep(n - 1) end function on.rcpt(r) r.my.n = deep(3) end`, no},
		{`function on.rcpt(r) local dot, n = r.address.domain:find(".", 1, true), 0 while dot do n = n + 1 dot = r.address.domain:find(".", dot + 1, true) end r.my.n = n end`, no}, // two at once
		{`function on.rcpt(r) local d = r.address.domain local dot = string.find(d, ".", 1, true) local n = 0 while dot do n = n + 1 dot = string.find(d, ".", dot + 1, true) end r.my.n = n r.my.s = string.sub(d, -3) end`, yes},
		{`function on.rcpt(r) while true do end end`, no},
		{`function on.rcpt(r) r.my.low = r.message.sender.text:lower() r.my.up = string.upper(r.address.text) r.my.len = ("abc"):len() end`, yes},
		{`function on.rcpt(r) if "a" < "b" and 2 >= 1 and not (1 > 2) and "b" <= "b" then return reject "order" end end`, yes},
		{`function on.rcpt(r) if 1 == "1" or nil == false then return reject "equal" end r.my.v = nil or 0 end`, yes},
		{`function on.rcpt(r) r.my.size = r.message.size + r.message.session.errors r.my.esmtp = r.message.session.esmtp end`, yes},
		{`function on.rcpt(r) r.my.params = r.message.params.SIZE r.my.g = r.message.session.groups[2] r.my.n = #r.message.session.groups end`, yes},
		{`function on.rcpt(r) r:rename("w@example.org") return accept "local" end`, yes},
		{`function on.rcpt(r) r:rename({ "w@example.org", "x@example.org" }) r.message:schedule { priority = 3, tenant = "t" } return accept "local" end`, yes},
		{`function on.rcpt(r) if addr.within("192.0.2.1", { "192.0.2.0/24" }) then return accept "local" end end`, yes},
		{`function on.rcpt(r) if re.match("^u@", r.address.text) then return accept "local" end end`, yes},
		{`function on.rcpt(r) local m = re.match("^(?P<box>.)@(.*)", r.address.text) if m and m.box == "u" then r.my.d = m[2] r.my.all = m[0] r.my.no = m.other end end`, yes},
		{`function on.rcpt(r) if re.match("^none", r.address.text) then return accept "local" end return reject(re.match("(.)", r.address.text)[1]) end`, yes},
		{`function on.rcpt(r) r.my.m = re.match("^u", r.address.text) end`, no},
		{`function on.rcpt(r) if re.match("(", r.address.text) then return accept "local" end end`, no},
		{`function on.rcpt(r) if not kv.get("a") and now() > 0 then return accept "local" end end`, yes},
		{`function on.rcpt(r) r.my.h = hash.sha256(r.address.text) end`, yes},
		{`function on.rcpt(r) kv.set("a", 1, 60) r.my.v = kv.get("a") end`, no},
		{`function on.rcpt(r) for k, v in pairs({ a = 1 }) do r.my[k] = v end end`, no},
		{`function on.rcpt(r) local f = function() return reject "closure" end return f() end`, no},
		{`function on.rcpt(r) return r.message.nothing.at.all end`, no},
		{`function on.rcpt(r) r.my.x = 1 local s = r.last.text end`, no},
		{`function on.rcpt(r) if r.last then return reject "was" end return accept "local" end`, yes},
		{`function on.rcpt(r) return "reject" end`, no},
		{`function on.rcpt(r) return reject { code = 250, text = "fine" } end`, no},
		{`function on.rcpt(r) return reject { txt = "typo" } end`, no},
		{`function on.rcpt(r) return reject "line\r\nbreak" end`, no},
		{`function on.rcpt(r) r.facts["other.x"] = 1 end`, no},
		{`function on.rcpt(r) r.my.x = r end`, no},
		{`function on.rcpt(r) return discard("for " .. r.address.mailbox) end`, yes},
		{`function on.rcpt(r) r = r.message return reject(r.sender.text) end`, no},
		{`function on.rcpt(r) local a do local a = "inner" r.my.a = a end if a then return reject "leak" end end`, yes},
		{`function on.rcpt(r) local n = 1 if n then n = 2 end r.my.n = n end`, yes},
		{`local reject = function(s) return discard(s) end function on.rcpt(r) return reject("shadow") end`, yes},
		{`function why(r) return "global" end function on.rcpt(r) r.my.w = why(r) end`, yes},
		{`function on.rcpt(r) r.my.big = ("x" .. r.address.text):upper() .. "" .. "y" end`, yes},
		{`function on.rcpt(r) if r.message.session == r.message.session then return reject "same" end end`, no},
		{`function on.rcpt(r) r.my.t = -(2) r.my.u = 7 % 3 end`, no},
		{`function on.rcpt(r) r.my.t = -(2) r.my.f = 0.5 end`, yes},
		{`function on.data(m) if m:header("X-A") == "1" and m:header("X-A", 2) == "2" and not m:header("X-B") then return reject "header" end end`, yes},
		{`function on.data(m) m:add_header("X-New", "v " .. m.id:sub(1, 0)) m:set_header("Subject", "two") m:remove_header("X-A", 1) end`, yes},
		{`function on.data(m) m:add_header("X-New", "a\nb") end`, no},
		{`function on.data(m) m:add_header("X-New", "kept out") m.nothing.x = 1 end`, no},
		{`function on.data(m) m:set_sender("") m:add_rcpt("n@example.org", "local") return hold "look" end`, yes},
		{`function on.data(m) if m.content.size > 10 then return discard "long" end end`, yes},
		{`function on.data(m) if m.content:read(0, 3) == "Sub" then return reject "read" end end`, no},
		{`local plan = { hosts = { "mail.example.org:25" } } function on.route(r) return route(plan) end`, yes},
		{`function on.route(r) return route { hosts = { "mail." .. r.address.domain .. ":25" } } end`, yes},
		{`function on.route(r) return route { hosts = { "mail." .. r.address.domain .. ":2525" } } end`, yes}, // refused after the handler
		{`function on.deliver(d) return accept() end`, yes},
		{`function on.deliver(d) return each(function(r) return reject "no" end) end`, no},
		{`function on.connect(s) if s.early and s.errors > 0 then return close "early" end s.my.k = s.port end`, yes},
		{`function on.auth(l) if l.name == "user" and l.password == "x" then return accept { user = l.name, groups = { "g" } } end end`, yes},
		{`function on.auth(l) return accept { user = true } end`, no},
		{`local x = config.missing function on.rcpt(r) if config.missing then return reject "x" end r.my.x = x end`, yes},
	} {
		p, g, slow, err := both(t, strings.ReplaceAll(c.src, " function on.", "\nfunction on."), nil) // each in a place of its own
		if err != nil {
			if c.direct {
				t.Errorf("%s\n%v", c.src, err)
			}
			continue
		}
		for s := range p.places {
			got, want := outcomeOf(t, g, s), outcomeOf(t, slow, s)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\ndirectly    %+v\nin instance %+v", c.src, got, want)
			}
			call, _ := testCall(t, s)
			call.Session.Facts.Set("p.known", "fact")
			call.Message.Facts.Set("other.list", []any{"one", int64(2)})
			asked := false
			probe, err := hooks.NewGeneration(1, []*hooks.Hook{{Plugin: p.Name, Stage: s, Needs: p.Manifest.Needs, OnError: hooks.Next, Timeout: time.Second,
				Handler: hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
					v, ok := (*hooks.Verdict)(nil), false
					if fn := p.direct[s]; fn != nil {
						v, ok = p.runner.Run(fn, c)
					}
					asked = ok
					return v, nil
				})}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s == hooks.Deliver {
				probe.RunPlugin(call, p.Name)
			} else {
				probe.Run(call)
			}
			if asked != c.direct {
				t.Errorf("%s\nruns directly: %v", c.src, asked)
			}
		}
	}
}

// TestFunctionsOfModulesAreNotMistaken has a function in a module in the same lines as one in the plugin's own file.
func TestFunctionsOfModulesAreNotMistaken(t *testing.T) {
	texts := map[string][]byte{
		"init.lua": []byte("plugin { id = \"p\", version = \"1.0.0\", api = 0 }\nlocal function f() return \"own\" end\n" +
			"local g = require \"lib/g\"\nfunction on.rcpt(r)\n  return reject((f()) .. (g()))\nend\n"),
		"lib/g.lua": []byte("\nlocal function f() return \"module\" end\nreturn f\n"),
	}
	man, img, err := Open(Files{Main: "init.lua", Texts: texts, Path: func(f string) string { return f }})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Load(PluginOptions{Name: "p", Image: img, Manifest: man, Host: service.NewHost(service.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if o := outcomeOf(t, generationOf(t, p), hooks.Rcpt); o.Result.End == nil || o.Result.End.Text != "ownmodule" {
		t.Errorf("%+v", o)
	}
}

// TestOddHandlersAreGivenUp shows that a handler that always needs an instance is no longer tried.
func TestOddHandlersAreGivenUp(t *testing.T) {
	p, g, _, err := both(t, `function on.rcpt(r) for k in pairs({ a = 1 }) do return reject(k) end end`, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if o := outcomeOf(t, g, hooks.Rcpt); o.Result.End == nil || o.Result.End.Text != "a" {
			t.Fatalf("%+v", o)
		}
	}
	c, _ := testCall(t, hooks.Rcpt)
	before := p.Stats().Created
	if _, ok := p.runner.Run(p.direct[hooks.Rcpt], c); ok || before == 0 {
		t.Error("it was tried, or had no instance")
	}
}

// TestDirectlyAtOnce is for the race detector.
func TestDirectlyAtOnce(t *testing.T) {
	_, g, _, err := both(t, `local list = { "b", { c = "example.org" } }
function on.rcpt(r) r.my.x = list if r.address.domain == list[2].c then return reject { text = list[1] } end end`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := outcomeOf(t, g, hooks.Rcpt)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if got := outcomeOf(t, g, hooks.Rcpt); !reflect.DeepEqual(got, want) {
					t.Errorf("%+v", got)
					return
				}
			}
		})
	}
	all.Wait()
}

// FuzzDirectly builds handlers from the words that bytes choose, and compares.
func FuzzDirectly(f *testing.F) {
	for _, seed := range []string{"", "0123456789", "\x05\x01\x02\x09\x11", "if then else", "\xff\xfe\xfd\x80\x7f\x10\x20\x30", "fact and text, number and loop; again"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 300 {
			return
		}
		w := writer{data: data}
		src := "local names = { \"a\", \"example.org\", 3 }\nlocal map = { [\"example.org\"] = \"x\", n = 2 }\n" +
			"local function help(a, b)\n  if a == b then return a end\n  return b\nend\nfunction on.rcpt(r)\n" + w.block(3) + "end\n"
		_, g, slow, err := both(t, src, nil)
		if err != nil {
			return // what the checks refuse is refused for both
		}
		if got, want := outcomeOf(t, g, hooks.Rcpt), outcomeOf(t, slow, hooks.Rcpt); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ndirectly    %+v\nin instance %+v", src, got, want)
		}
	})
}

// writer writes Lua by bytes.
type writer struct{ data []byte }

func (w *writer) next(n int) int {
	if len(w.data) == 0 {
		return 0
	}
	b := w.data[0]
	w.data = w.data[1:]
	return int(b) % n
}

func (w *writer) block(depth int) string {
	var b strings.Builder
	for range 1 + w.next(3) {
		b.WriteString(w.stmt(depth))
	}
	return b.String()
}

func (w *writer) stmt(depth int) string {
	if depth == 0 {
		return "r.my.z = " + w.expr(1) + "\n"
	}
	switch w.next(10) {
	case 0:
		return "local v = " + w.expr(2) + "\nr.my.v = v\n"
	case 1:
		return "if " + w.expr(2) + " then\n" + w.block(depth-1) + "else\n" + w.block(depth-1) + "end\n"
	case 2:
		return "do\n" + w.block(depth-1) + "end\n"
	case 3:
		return "for i, n in ipairs(names) do\n" + w.block(depth-1) + "if n == " + w.expr(1) + " then break end\nend\n"
	case 4:
		return "local c = 0\nwhile c < 3 do\nc = c + 1\n" + w.block(depth-1) + "end\n"
	case 5:
		return "if " + w.expr(1) + " then return reject(" + w.expr(1) + ") end\n"
	case 6:
		return "do return accept " + []string{`"local"`, `"relay"`, `"other"`, `()`}[w.next(4)] + " end\n"
	case 7:
		return "r.message:add_header(\"X-A\", " + w.expr(1) + ")\n"
	case 8:
		return "r.message.session.my.s = { " + w.expr(1) + ", k = " + w.expr(1) + " }\n"
	}
	return "r.my.w = " + w.expr(3) + "\n"
}

func (w *writer) expr(depth int) string {
	leaves := []string{`nil`, `true`, `false`, `1`, `2.5`, `"example.org"`, `"x"`, `r.address.domain`, `r.message.sender.text`, `r.class`, `r.message.session.helo`,
		`r.message.size`, `r.my.v`, `r.message.session.groups`, `names`, `map`, `r.last`, `r.message`, `config`, `names[2]`, `map.n`}
	if depth == 0 {
		return leaves[w.next(len(leaves))]
	}
	a := w.expr(depth - 1)
	kind := w.next(14)
	if (kind == 1 || kind == 2) && (a == "nil" || a == "true" || a == "false") {
		a = "r.class" // gopher-lua miscompiles conditions such as `true and nil`
	}
	switch kind {
	case 0:
		return "(" + a + " == " + w.expr(depth-1) + ")"
	case 1:
		return "(" + a + " and " + w.expr(depth-1) + ")"
	case 2:
		return "(" + a + " or " + w.expr(depth-1) + ")"
	case 3:
		return "not " + a
	case 4:
		return "#(" + a + ")"
	case 5:
		return "(" + a + " .. " + w.expr(depth-1) + ")"
	case 6:
		return "(" + a + " < " + w.expr(depth-1) + ")"
	case 7:
		return "(" + a + []string{" + ", " - ", " * ", " / "}[w.next(4)] + w.expr(depth-1) + ")"
	case 8:
		return "map[" + a + "]"
	case 9:
		return "names[" + a + "]"
	case 10:
		return "help(" + a + ", " + w.expr(depth-1) + ")"
	case 11:
		return "string.lower(" + a + ")"
	case 12:
		return "string.sub(" + a + ", " + w.expr(depth-1) + ")"
	}
	return a
}
