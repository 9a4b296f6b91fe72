package lua

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lookup"
	"github.com/stagepost/stagepost/plugins/service"
)

// loadPlugin loads a plugin of one file, whose header is given unless the source has one.
func loadPlugin(t testing.TB, src string, settings map[string]any) (*Plugin, error) {
	t.Helper()
	if !strings.HasPrefix(strings.TrimSpace(src), "plugin") {
		src = `plugin { id = "p", version = "1.0.0", api = 0, description = "test",
  needs = { kv = "own", read = "body", edit = {"headers", "sender", "rcpts", "body"}, relay = true, route = {"mx", "*:25"} } }
` + src
	}
	man, img, err := Open(Files{Main: "p.lua", Texts: map[string][]byte{"p.lua": []byte(src)}, Path: func(f string) string { return "plugins/" + f }})
	if err != nil {
		return nil, err
	}
	set, err := man.Configure(settings, func(key string) string { return "stagepost.toml:1" })
	if err != nil {
		return nil, err
	}
	kv, err := service.OpenStore(service.StoreOptions{})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { kv.Close() })
	host := service.NewHost(service.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), KV: kv})
	return Load(PluginOptions{Name: "p", Image: img, Manifest: man, Settings: set, Host: host})
}

func mustLoad(t testing.TB, src string, settings map[string]any) *Plugin {
	t.Helper()
	p, err := loadPlugin(t, src, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// generationOf puts the plugin's hooks in a generation.
func generationOf(t testing.TB, p *Plugin) *hooks.Generation {
	t.Helper()
	var all []*hooks.Hook
	for s, h := range p.Handlers() {
		all = append(all, &hooks.Hook{Plugin: p.Name, Stage: s, Handler: h, Needs: p.Manifest.Needs, OnError: hooks.Defer, Timeout: time.Second, Pos: p.Pos(s)})
	}
	g, err := hooks.NewGeneration(1, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type recorder struct{ steps []observe.Step }

func (r *recorder) Observe(s observe.Step) { r.steps = append(r.steps, s) }

type memory string

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m)).ReadAt(p, off)
}
func (m memory) Size() int64   { return int64(len(m)) }
func (m memory) Bytes() []byte { return []byte(m) }

func testCall(t testing.TB, s hooks.Stage) (*hooks.Call, *recorder) {
	rec := &recorder{}
	addr := func(s string) smtp.Address {
		a, err := smtp.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	sess := &message.Session{ID: "s1", Role: message.RoleMX, Listener: "mx", Helo: "client.example", Groups: []string{"a", "b"}, TLS: &message.TLS{Version: "TLSv1.3"}}
	env := &message.Envelope{Session: sess, Sender: addr("User@A.Example"), Params: []smtp.Param{{Key: "SIZE", Value: "10"}}}
	env.Rcpts = []*message.Rcpt{{Address: addr("u@example.org"), Original: addr("u@example.org")}, {Address: addr("v@example.net"), Original: addr("v@example.net")}}
	view := &hooks.MessageView{Envelope: env}
	if s >= hooks.Data {
		view.Content = memory("Subject: one\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody\r\n")
	}
	c := &hooks.Call{Stage: s, Session: sess, Message: view, Rcpt: &hooks.RcptView{Rcpt: env.Rcpts[0], Message: view}, Observer: rec}
	c.Delivery = &hooks.DeliveryView{Message: view, Plan: &message.Plan{Via: "p"}, Number: 2, Rcpts: []*hooks.RcptView{c.Rcpt, {Rcpt: env.Rcpts[1], Message: view, Index: 1}}}
	c.Login, c.Tick = &hooks.LoginView{Session: sess, Name: "user", Kind: "password", Secret: "x"}, &hooks.TickView{Time: time.Unix(1, 0)}
	return c, rec
}

// TestEveryFieldAndMethodIsBound reads each declared field of each object, and finds each declared method.
func TestEveryFieldAndMethodIsBound(t *testing.T) {
	var methods []string
	paths := map[string]string{ // where a handler of a stage finds the object
		"session": "connect x", "login": "auth x", "message": "data x", "rcpt": "rcpt x", "delivery": "deliver x", "address": "rcpt x.address",
		"plan": "deliver x.plan", "last": "deferred x.last", "content": "data x.content", "tick": "tick x", "part": "data x.parts[1]", "tls": "connect x.tls",
	}
	for _, o := range hooks.Objects() {
		stage, expr, ok := strings.Cut(paths[o.Name], " ")
		if !ok {
			t.Errorf("the test does not know where to find %s", o.Name)
			continue
		}
		var code strings.Builder
		fmt.Fprintf(&code, "function on.%s(x)\n local o = %s\n", stage, expr)
		for _, f := range o.Fields {
			fmt.Fprintf(&code, " local _ = o.%s\n", f.Name)
		}
		for _, m := range o.Methods {
			fmt.Fprintf(&code, " if type(o.%s) ~= 'function' then error('%s is not a function') end\n", m.Name, m.Name)
			methods = append(methods, o.Name+"."+m.Name)
		}
		code.WriteString("end\n")
		p := mustLoad(t, code.String(), nil)
		s, _ := hooks.StageByName(stage)
		c, rec := testCall(t, s)
		c.Rcpt.Last.Code = 451
		g := generationOf(t, p)
		if s == hooks.Deliver {
			g.RunPlugin(c, "p")
		} else {
			g.Run(c)
		}
		if len(rec.steps) != 1 || strings.HasPrefix(rec.steps[0].Verdict, "error") {
			t.Errorf("%s: %+v", o.Name, rec.steps)
		}
	}
	for name := range bound {
		if !slices.Contains(methods, name) {
			t.Errorf("the method %s is bound but not declared", name)
		}
	}
}

func TestHandlers(t *testing.T) {
	for _, c := range []struct {
		name  string
		stage hooks.Stage
		code  string
		want  string // verdict in the record
		say   string // part of its detail
	}{
		{"nothing", hooks.Rcpt, `function on.rcpt(r) end`, "next", ""},
		{"reject text", hooks.Rcpt, `function on.rcpt(r) return reject "no thanks" end`, "reject 550 5.7.1", "no thanks"},
		{"reject table", hooks.Rcpt, `function on.rcpt(r) return reject{code = 551, text = "gone", reason = "moved"} end`, "reject 551 5.7.1", "moved: gone"},
		{"defer", hooks.Mail, `function on.mail(m) return defer{enhanced = "4.3.2"} end`, "defer 451 4.3.2", ""},
		{"close", hooks.Connect, `function on.connect(s) return close "bye" end`, "close 421 4.7.0", "bye"},
		{"accept", hooks.Rcpt, `function on.rcpt(r) if r.address.domain == "example.org" then return accept "local" end end`, "accept local", ""},
		{"discard", hooks.Data, `function on.data(m) return discard "junk" end`, "discard", "junk"},
		{"hold", hooks.Data, `function on.data(m) return hold "look" end`, "hold", "look"},
		{"route", hooks.Route, `function on.route(r) return route{hosts = "Mail.Example"} end`, "route", "smtp:mail.example:25"},
		{"accept at deliver", hooks.Deliver, `function on.deliver(d) return accept() end`, "accept", ""},
		{"each", hooks.Deliver, `function on.deliver(d) return each(function(r) if r.address.domain == "example.net" then return reject "full" end end) end`, "each", ""},
		{"each at data", hooks.Data, `function on.data(m) return each(function(r) if r == m.rcpts[2] then return reject "no" end end) end`, "each", "<v@example.net> reject 550 5.7.1 no"},
		{"each with nothing of use", hooks.Data, `function on.data(m) return each(function(r) return true end) end`, "error, defer 451 4.3.0", "plugins/p.lua:3: each: the function returned a boolean for <u@example.org>"},
		{"each that closes", hooks.Data, `local function f() return close "bye" end function on.data(m) return each(f) end`, "error, defer 451 4.3.0", "plugins/p.lua:3: each: verdict 1 is close"},
		{"each where there is none", hooks.Queue, `local function f(m) return each(function() end) end function on.queue(m) return f(m) end`, "error, defer 451 4.3.0", "plugins/p.lua:3: queue takes"},
		{"own field", hooks.Data, `function on.data(m) m.rcpts[2]:add_header("X-Own", "v") end`, "next", ""},
		{"own field elsewhere", hooks.Rcpt, `local function f(r) r:add_header("X-Own", "v") end function on.rcpt(r) f(r) end`, "error, defer 451 4.3.0", "plugins/p.lua:3: add_header works at data, not at rcpt"},
		{"sender", hooks.Mail, `function on.mail(m) return reject(m.sender.text .. " " .. m.sender.mailbox .. " " .. m.sender.domain) end`, "reject 550 5.7.1", "User@A.Example User a.example"},
		{"nil fields", hooks.Rcpt, `function on.rcpt(r) if not r.class and not r.message.session.user and r.last == nil then return reject "nil" end end`, "reject 550 5.7.1", "nil"},
		{"same object", hooks.Rcpt, `function on.rcpt(r) if r.message == r.message and r.message.session == r.message.session then return reject "same" end end`, "reject 550 5.7.1", "same"},
		{"params and lists", hooks.Mail, `function on.mail(m) return reject(m.params.SIZE .. #m.rcpts .. m.rcpts[2].address.text .. m.session.groups[2]) end`, "reject 550 5.7.1", "102v@example.netb"},
		{"header", hooks.Data, `function on.data(m) return reject(m:header("subject") .. m:header("X-A", 2) .. #m:headers() .. tostring(m:header("None"))) end`, "reject 550 5.7.1", "one23nil"},
		{"content", hooks.Data, `function on.data(m) local n = 0 for c in m.content:chunks(7) do n = n + #c end return reject(m.content:read(0, 7) .. n .. m.content.size) end`, "reject 550 5.7.1", "Subject3838"},
		{"two results", hooks.Rcpt, `function on.rcpt(r) throttle.take("k", "1/1h") local ok, wait = throttle.take("k", "1/1h") return reject(tostring(ok) .. " " .. math.ceil(wait / 3600)) end`, "reject 550 5.7.1", `false 1`},
		{"services", hooks.Rcpt, `function on.rcpt(r) kv.set("a", {1, 2, x = nil}, 60) local m = re.match("^(\\w+)@", r.address.text) return reject(#kv.get("a") .. m[1] .. json.encode{1, "b"}) end`, "reject 550 5.7.1", `2u[1,"b"]`},
		{"facts", hooks.Mail, `function on.mail(m) m.my.n = 3 m.facts["p.list"] = {1, 2} if m.my.n == 3 and #m.facts["p.list"] == 2 and m.my.none == nil then return reject "seen" end end`, "reject 550 5.7.1", "seen"},
		{"own functions and settings", hooks.Rcpt, `local function f(x) return x * 2 end
function on.rcpt(r) return reject(tostring(f(21))) end`, "reject 550 5.7.1", "42"},

		// mistakes, where the check at load does not see them
		{"returned text", hooks.Rcpt, `function on.rcpt(r) return "reject" end`, "error, defer 451 4.3.0", "plugins/p.lua:3: on.rcpt returned a string"},
		{"returned true", hooks.Auth, `function on.auth(l) return true end`, "error, defer 454 4.3.0", "returned a boolean"},
		{"unknown field", hooks.Rcpt, "local function f(r)\n\n return r.adress end function on.rcpt(r) return f(r) end", "error, defer 451 4.3.0", `plugins/p.lua:5: rcpt has no field "adress"`},
		{"unknown key", hooks.Rcpt, `function on.rcpt(r) return reject{txt = "x"} end`, "error, defer 451 4.3.0", `plugins/p.lua:3: reject has no "txt"; did you mean text?`},
		{"wrong stage", hooks.Mail, `local function f() return hold "x" end function on.mail(m) return f() end`, "error, defer 451 4.3.0", "plugins/p.lua:3: mail takes reject"},
		{"code 250", hooks.Rcpt, `function on.rcpt(r) return reject{code = 250} end`, "error, defer 451 4.3.0", "plugins/p.lua:3: reject: code 250"},
		{"CRLF", hooks.Rcpt, `function on.rcpt(r) return reject "a\r\n250 ok" end`, "error, defer 451 4.3.0", "plugins/p.lua:3: reject:"},
		{"foreign fact", hooks.Mail, `function on.mail(m) m.facts["spf.mail"] = 1 end`, "error, defer 451 4.3.0", `plugins/p.lua:3: fact "spf.mail" is not this plugin's`},
		{"late edit", hooks.Rcpt, `local function f(r) r.message:set_header("A", "b") end function on.rcpt(r) f(r) end`, "error, defer 451 4.3.0", "plugins/p.lua:3: set_header works at data"},
		{"not granted", hooks.Rcpt, `local d = dns function on.rcpt(r) d.get("a.example", "A") end`, "error, defer 451 4.3.0", "plugins/p.lua:3: dns.get: it is not granted"},
		{"field set", hooks.Rcpt, `local function f(r) r.class = "local" end function on.rcpt(r) f(r) end`, "error, defer 451 4.3.0", `plugins/p.lua:3: the field "class" of rcpt cannot be set`},
		{"loop", hooks.Rcpt, `function on.rcpt(r) while true do end end`, "error, defer 451 4.3.0", "plugins/p.lua:3: ran out of instructions"},
		{"memory", hooks.Rcpt, `function on.rcpt(r) local s = "x" while true do s = s .. s end end`, "error, defer 451 4.3.0", "plugins/p.lua:3: ran out of memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustLoad(t, c.code, nil)
			g := generationOf(t, p)
			for range 2 { // in a fresh instance and in a used one
				call, rec := testCall(t, c.stage)
				if c.stage == hooks.Deliver {
					g.RunPlugin(call, "p")
				} else {
					g.Run(call)
				}
				if s := rec.steps[0]; s.Verdict != c.want || !strings.Contains(s.Detail, c.say) {
					t.Errorf("verdict %q, detail %q; want %q, %q", s.Verdict, s.Detail, c.want, c.say)
				}
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	const head = `plugin { id = "p", version = "1.0.0", api = 0, description = "x" }` + "\n"
	for _, c := range []struct{ name, code, want string }{
		{"syntax", head + "function on.rcpt(r", "plugins/p.lua:2:"},
		{"no header", "plugin\nfunction on.rcpt(r) end", "plugins/p.lua:"},
		{"unknown stage", head + "function on.recipient(r) end", `plugins/p.lua:2: unknown stage "recipient"`},
		{"unknown global", head + "function on.rcpt(r) return rejct 'x' end", "plugins/p.lua:2:"},
		{"unknown capability", `plugin { id = "p", version = "1.0.0", api = 0, needs = { dms = true } }`, "plugins/p.lua:1:"},
		{"state", head + "local n = 0\nfunction on.rcpt(r) n = n + 1 end", "plugins/p.lua:3:"},
		{"service at load", head + "local x = kv.get('a')", "plugins/p.lua:2: kv.get: "},
		{"verdict at load", head + "local x = reject 'a'", "plugins/p.lua:2: reject is an answer of a handler"},
		{"error at load", head + "error('no')", "plugins/p.lua:2: no"},
		{"endless load", head + "while true do end", "plugins/p.lua:2: ran out of"},
		{"config set", head + "function on.rcpt(r) config.x = 1 end", "plugins/p.lua:2: config belongs to the host"},
		{"handler is no function", head + "on.rcpt = 3", "plugins/p.lua:2: on.rcpt is not a function"},
		{"require in one file", head + "local m = require 'lib/x'", "plugins/p.lua:2: require"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.code, "plugin\n") {
				c.code = "local plugin_ = 1\n"
				_, _, err := Open(Files{Main: "p.lua", Texts: map[string][]byte{"p.lua": []byte(c.code)}, Path: func(f string) string { return "plugins/" + f }})
				if err == nil || !strings.Contains(err.Error(), "does not begin with plugin") {
					t.Errorf("error %v", err)
				}
				return
			}
			p, err := loadPlugin(t, c.code, nil)
			if err == nil {
				p.Close()
				t.Fatal("it was loaded")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q", err, c.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	const code = `plugin { id = "p", version = "1.0.0", api = 0, description = "x",
  config = { wait = { type = "duration", default = "5m" }, names = { type = "list", default = {} }, map = { type = "map", default = {} } } }
local seen = {}
for _, n in ipairs(config.names) do seen[n] = true end
function on.rcpt(r) return reject(config.wait .. tostring(seen[r.address.domain]) .. tostring(config.map.a)) end`
	p := mustLoad(t, code, map[string]any{"names": []any{"example.org"}, "map": map[string]any{"a": "b"}})
	c, rec := testCall(t, hooks.Rcpt)
	generationOf(t, p).Run(c)
	if got := rec.steps[0].Detail; got != "<u@example.org> 300trueb" {
		t.Errorf("the handler said %q", got)
	}
	if _, err := loadPlugin(t, code, map[string]any{"wayt": "5m"}); err == nil || !strings.Contains(err.Error(), "stagepost.toml:1") {
		t.Errorf("an unknown setting: %v", err)
	}
}

// TestLookupSettings: a setting that is a lookup is read like a table, and can be neither changed nor gone through.
func TestLookupSettings(t *testing.T) {
	const head = `plugin { id = "p", version = "1.0.0", config = { boxes = { type = "map" }, names = { type = "list" } }, hook = { rcpt = { on_error = "reject" } } }` + "\n"
	users, err := lookup.Parse("file", "users", []byte("a one\nb\n"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]any{"boxes": "lookup:users", "names": "lookup:users"}
	for _, c := range []struct{ code, want string }{
		{`return reject(tostring(config.boxes.A) .. tostring(config.boxes.none) .. tostring(lookup("config.boxes", "a")) .. tostring(lookup("config.names", "b")))`, "onenilonetrue"},
		{`return reject(lookup("config.boxes", "A") .. r.address.domain)`, "oneexample.org"}, // this and the next can be asked directly
		{`if config.boxes == "lookup:users" then return reject "it is text" end if config.boxes.a == "one" then return reject "one" end`, "one"},
		{`return reject(config.boxes .. "")`, "attempt to concatenate a userdata value"},
		{`config.boxes.a = 1`, "config belongs to the host"},
		{`local b = config.boxes b.a = 1`, "a setting cannot be changed"},
		{`for _ in pairs(config.names) do end`, "bad argument #1 to pairs"},
		{`return reject(config.boxes[1])`, "a setting that is a lookup is not a list"},
	} {
		p, err := loadPlugin(t, head+"function on.rcpt(r) "+c.code+" end", settings)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.code, err, c.want)
			}
			continue
		}
		p.Host.UseLookups(map[string]service.Lookup{"users": users})
		call, rec := testCall(t, hooks.Rcpt)
		generationOf(t, p).Run(call)
		if got := rec.steps[0].Detail; !strings.Contains(got, c.want) {
			t.Errorf("%s: the handler said %q, want %q", c.code, got, c.want)
		}
		p.Close()
	}
	if _, err := loadPlugin(t, head+"local x = config.boxes.a\nfunction on.rcpt(r) end", settings); err == nil || !strings.Contains(err.Error(), "plugins/p.lua:2: lookup: it does not work while the plugin loads") {
		t.Errorf("asked at load: %v", err)
	}
}

func TestObjectsEndWithTheirCall(t *testing.T) {
	p := mustLoad(t, `local keep = coroutine
function on.mail(m) m.my.x = 1 end
function on.data(m) for c in m.content:chunks() do end end`, nil)
	g := generationOf(t, p)
	for range 3 {
		c, rec := testCall(t, hooks.Data)
		g.Run(c)
		if rec.steps[0].Verdict != "next" {
			t.Fatal(rec.steps[0].Detail)
		}
	}
	in, err := p.pool.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range in.host.(*binding).wraps {
		if w.ud.Value != nil {
			t.Errorf("a %s outlives its call", w.typ.Name)
		}
	}
	p.put(in)
}

// TestManyRecipients: a loop over the recipients takes time and memory in proportion, and nothing of it is kept.
func TestManyRecipients(t *testing.T) {
	p := mustLoad(t, `function on.data(m)
  local n = 0
  for i = 1, #m.rcpts do
    if m.rcpts[i].address.domain == "example.org" and m.rcpts[i] == m.rcpts[i] and m.rcpts[i].message == m then n = n + 1 end
  end
  return reject(tostring(n) .. " " .. tostring(m.params.SIZE))
end`, nil)
	g := generationOf(t, p)
	c, rec := testCall(t, hooks.Data)
	first := c.Message.Rcpts[0]
	c.Message.Rcpts = nil
	for range 1000 {
		r := *first
		c.Message.Rcpts = append(c.Message.Rcpts, &r)
	}
	g.Run(c)
	if got := rec.steps[0].Detail; got != "1000 10" {
		t.Errorf("%s: %s", rec.steps[0].Verdict, got)
	}
	in, err := p.pool.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b := in.host.(*binding); cap(b.wraps) > 2*maxWraps || b.index != nil || b.lists != nil {
		t.Errorf("%d wrappers, an index of %d and %d lists are kept", cap(b.wraps), len(b.index), len(b.lists))
	}
	p.put(in)
}

func TestRenameIsOfTheRecipientAsked(t *testing.T) {
	p := mustLoad(t, `function on.rcpt(r) r.message.rcpts[2]:rename("x@example.org") end`, nil)
	c, rec := testCall(t, hooks.Rcpt)
	generationOf(t, p).Run(c)
	if got := rec.steps[0].Detail; c.Rcpt.Address.Text != "u@example.org" || !strings.Contains(got, "not on another one") {
		t.Errorf("renamed to %s, %s", c.Rcpt.Address.Text, got)
	}
}

func TestCloseTakesADelay(t *testing.T) {
	p := mustLoad(t, `function on.helo(s) return close { text = "go away", delay = 5 } end`, nil)
	c, rec := testCall(t, hooks.Helo)
	if res := generationOf(t, p).Run(c); res.End == nil || res.End.Kind != hooks.Close || res.End.Delay != 5*time.Second {
		t.Errorf("%+v", rec.steps)
	}
}

func TestEditsOfAFailedHandlerAreDropped(t *testing.T) {
	p := mustLoad(t, `function on.data(m) m:add_header("X-New", "1") m.my.x = true error("late") end`, nil)
	c, rec := testCall(t, hooks.Data)
	generationOf(t, p).Run(c)
	h, err := c.Message.Header()
	if err != nil {
		t.Fatal(err)
	}
	if _, set := c.Message.Facts.Get("p.x"); set || h.Count("X-New") != 0 || len(rec.steps[0].Edits) != 0 {
		t.Errorf("edits were kept: %+v", rec.steps)
	}
}

func TestEditsThroughLua(t *testing.T) {
	p := mustLoad(t, `function on.data(m)
  m:add_header("X-New", "1")
  m:set_header("X-A", "3")
  m:remove_header("Subject")
  m:set_sender("")
  m:add_rcpt("w@example.org", "local")
  m:schedule{ tenant = "t", priority = -2, not_before = 100, expires = 200 }
end
function on.rcpt(r) r:rename{"x@example.org", "y@example.org"} end`, nil)
	g := generationOf(t, p)
	c, rec := testCall(t, hooks.Data)
	g.Run(c)
	m := c.Message
	h, _ := m.Header()
	prefix, _ := h.Result(nil)
	if string(prefix) != "X-New: 1\r\nX-A: 3\r\n" || !m.Sender.IsNull() || len(m.Rcpts) != 3 || m.Tenant != "t" || m.Priority != -2 || m.NotBefore.Unix() != 100 || m.Expires.Unix() != 200 {
		t.Errorf("message %+v, header %q, record %+v", m.Envelope, prefix, rec.steps)
	}
	c, _ = testCall(t, hooks.Rcpt)
	g.Run(c)
	if c.Rcpt.Address.Text != "x@example.org" || len(c.Renamed()) != 1 {
		t.Errorf("renamed to %v, %v", c.Rcpt.Address, c.Renamed())
	}
}

func TestErrorsAreLocated(t *testing.T) {
	p := mustLoad(t, "local function deep(r) return r.nothing end\nfunction on.rcpt(r)\n return deep(r)\nend", nil)
	c, _ := testCall(t, hooks.Rcpt)
	c.Observer = nil
	var le *Error
	g := generationOf(t, p)
	h := g.Chain(hooks.Rcpt)[0]
	seen := hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
		v, err := h.Handler.Handle(c)
		if !errors.As(err, &le) || le.Line != 3 || le.File != "plugins/p.lua" {
			t.Errorf("error %#v", err)
		}
		return v, err
	})
	g2, err := hooks.NewGeneration(1, []*hooks.Hook{{Plugin: "p", Stage: hooks.Rcpt, Handler: seen, Needs: &capability.Needs{}, Timeout: time.Second}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g2.Run(c)
}

func BenchmarkHandlerReadsTwoFields(b *testing.B) {
	p := mustLoad(b, `function on.rcpt(r) if r.address.domain == "blocked.example" then return reject "no" end end`, nil)
	g := generationOf(b, p)
	c, _ := testCall(b, hooks.Rcpt)
	c.Observer = nil
	b.ReportAllocs()
	for b.Loop() {
		g.Run(c)
	}
}
