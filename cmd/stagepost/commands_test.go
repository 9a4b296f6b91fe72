package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const minimal = `hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
`

// site is a folder with a configuration, and commands that are run there.
type site struct {
	t      *testing.T
	dir    string
	config string
	app    app
}

// result is what a command came to.
type result struct {
	code     int
	out, err string
}

func newSite(t *testing.T, config string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.config = filepath.Join(s.dir, "stagepost.toml")
	s.write("stagepost.toml", config)
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.app = app{now: func() time.Time { return noon }, load: load}
	return s
}

func (s *site) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command line with --config.
func (s *site) run(args ...string) result {
	s.t.Helper()
	return s.runInput("", append(args, "--config", s.config)...)
}

func (s *site) runInput(input string, args ...string) result {
	s.t.Helper()
	var out, errs bytes.Buffer
	a := s.app
	code := run(s.t.Context(), &a, args, strings.NewReader(input), &out, &errs)
	return result{code, out.String(), errs.String()}
}

// want checks exit code and parts of the output; a part that begins with ! must not be there.
func (s *site) want(r result, code int, parts ...string) {
	s.t.Helper()
	all := strings.ReplaceAll(r.out+r.err, s.dir+string(filepath.Separator), "")
	if r.code != code {
		s.t.Errorf("exit code %d, want %d:\n%s", r.code, code, all)
	}
	for _, p := range parts {
		if not, ok := strings.CutPrefix(p, "!"); ok == strings.Contains(all, strings.TrimPrefix(p, "!")) {
			s.t.Errorf("want %q (%q) in:\n%s", p, not, all)
		}
	}
}

type records map[string][]observe.Step

func (r records) Find(_ context.Context, id string) ([]observe.Step, error) { return r[id], nil }

// serve puts a control server with a store of its own behind the site's data folder.
func (s *site) serve(change func(*admin.Options)) *memory.Store {
	s.t.Helper()
	st := memory.New(memory.Options{Now: func() time.Time { return noon }})
	vip := admin.Plugin{Name: "vip", Version: "1.2.0", State: "live", Calls: 12, Errors: 2, Source: "plugins/vip.lua", Stages: []string{"rcpt"}, Facts: []admin.Fact{{Name: "vip.who", Type: "string", Values: []any{"boss"}, Of: "rcpt", Doc: "d"}, {Name: "vip.n", Type: "int"}}}
	o := admin.Options{
		Status: func() admin.Status {
			return admin.Status{Version: "1.0", Started: noon.Add(-65 * time.Minute), Health: "ok", Generation: 3, Plugins: []admin.Plugin{vip},
				Traffic:    admin.Traffic{Sessions: 90, Refused: 3, Received: map[string]uint64{"accepted": 80, "held": 2, "rejected": 7, "dropped": 0}},
				LastMinute: admin.Traffic{Received: map[string]uint64{"accepted": 5}}, Store: admin.StoreStatus{Free: 12e9, Micros: 1234},
				Listeners: []admin.Listener{{Name: "mx", Address: "127.0.0.1:2525", Role: "mx", Sessions: 4}}}
		},
		Reload:  func(context.Context) admin.ReloadResult { return admin.ReloadResult{Generation: 4, Changed: true} },
		Plugins: func() []admin.Plugin { return []admin.Plugin{vip} },
		Order: func() []admin.StageOrder {
			return []admin.StageOrder{{Stage: "rcpt", Hooks: []admin.Hook{{Plugin: "vip", Order: 50, OnError: "defer", Timeout: "10s", Reads: []string{"a.b"}, Pos: "plugins/vip.lua:7"}}}, {Stage: "data"}}
		},
		Active:  func(store.ID) bool { return false },
		Store:   st,
		Records: records{},
		Now:     func() time.Time { return noon },
	}
	if change != nil {
		change(&o)
	}
	l, err := admin.Listen(filepath.Join(s.dir, "data"))
	if err != nil {
		s.t.Fatal(err)
	}
	server := admin.NewServer(o)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	s.t.Cleanup(func() {
		server.Shutdown(context.Background())
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return st
}

// put commits a message to the store.
func put(t *testing.T, st *memory.Store, sender, content string, rcpts ...string) store.ID {
	t.Helper()
	body, err := st.Body(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	body.Write([]byte(content))
	env := &message.Envelope{ID: body.ID(), Arrived: noon.Add(-2 * time.Hour), Size: 2048, Generation: 3,
		Session: &message.Session{Role: message.RoleMX, Listener: "mx", Helo: "a.example"}}
	if sender != "" {
		if env.Sender, err = smtp.ParseAddress(sender); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rcpts {
		a, err := smtp.ParseAddress(r)
		if err != nil {
			t.Fatal(err)
		}
		env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: a, Original: a, Class: message.ClassLocal})
	}
	if err := st.Commit(t.Context(), env, body); err != nil {
		t.Fatal(err)
	}
	body.Abort()
	return env.ID
}

// deferRcpt says that a message's first recipient was tried.
func deferRcpt(t *testing.T, st *memory.Store, id store.ID) {
	t.Helper()
	for lease, err := range st.Own(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if stale, err := st.Update(t.Context(), lease, store.Change{ID: id, Rcpts: []store.RcptChange{{RcptState: store.RcptState{
			Result: message.Deferred, Attempts: 2, First: noon, Next: noon.Add(5 * time.Minute), Lane: "mx:example.org",
			Last: message.Last{Code: 451, Enhanced: "4.7.1", Host: "mx.example.org[192.0.2.1]:25", Text: "later, \x1b[2J please"},
		}}}}); err != nil || len(stale) > 0 {
			t.Fatal(stale, err)
		}
		break
	}
}

func TestUsage(t *testing.T) {
	s := newSite(t, minimal)
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "stagepost needs one more word"},
		{"chek", `unknown command "chek" for "stagepost"; did you mean "check"?`},
		{"queue", "stagepost queue needs one more word"},
		{"queue lst", `unknown command "lst" for "stagepost queue"; did you mean "list"?`},
		{"plugin nwe x", `did you mean "new"?`},
		{"status --jsn", "unknown flag: --jsn"},
		{"trace", "accepts 1 arg(s), received 0"},
		{"send", "write --to"},
		{"send --to nonsense", `"nonsense" is not an address`},
		{"send --to a@example.org --from @", `"@" is not an address`},
		{"send --to a@example.org --server localhost", "write host:port"},
		{"plugin new Bad", `"Bad" cannot be a plugin's name`},
		{"plugin order rctp", `there is no stage "rctp"; did you mean "rcpt"?`},
		{"manual plugin", `did you mean "plugins"?`},
	} {
		r := s.run(strings.Fields(tt.args)...)
		s.want(r, exitUsage, tt.want, "see: stagepost")
	}
	s.want(s.run("queue", "list", "--help"), 0, "oldest first", "--json")
}

func TestNoConfiguration(t *testing.T) {
	s := newSite(t, minimal)
	os.Remove(s.config)
	for _, args := range []string{"check", "status", "serve", "queue list", "plugin list", "plugin new x", "send --to a@example.org"} {
		s.want(s.run(strings.Fields(args)...), exitConfig, "stagepost.toml", "no such file")
	}
	t.Chdir(s.dir)
	if _, err := os.Stat(systemConfig); err == nil {
		t.Skip("this machine has " + systemConfig)
	}
	s.want(s.runInput("", "status"), exitConfig, "there is no configuration", "stagepost init")
	s.write("stagepost.toml", minimal)
	s.want(s.runInput("", "status"), exitUnavailable, "no server is running with stagepost.toml")
}

func TestNoServer(t *testing.T) {
	s := newSite(t, minimal)
	for _, args := range []string{"reload", "status", "queue list", "queue show x", "trace x", "send --to a@example.org"} {
		s.want(s.run(strings.Fields(args)...), exitUnavailable, "no server is running with stagepost.toml", "start it with: stagepost serve")
	}
}

func TestStatus(t *testing.T) {
	s := newSite(t, minimal)
	st := s.serve(nil)
	s.want(s.run("status"), 0, "stagepost 1.0, generation 3, started", "(1h 5m ago)", "health:    ok", "queue:     empty", "127.0.0.1:2525", "vip", "plugins/vip.lua",
		"sessions:  4 open, 90 since the start, 3 refused\n", "received:  80 accepted, 2 held, 7 rejected (last minute: 5 accepted)\n", "outcomes:  none\n",
		"store:     12.0 GB free, the last write took 1.2ms\n", "!refused:", "!lost", "!metrics")
	put(t, st, "s@a.example", "", "u@example.org")
	s.want(s.run("status"), 0, "queue:     1 message: 1 active; 1 recipient; the oldest came 2h ago\n")
	r := s.run("status", "--json")
	var got map[string]any
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || strings.Count(r.out, "\n") != 1 {
		t.Fatalf("%v in %q", err, r.out)
	}
	for _, key := range []string{"generation", "generation_error", "plugins", "queue", "listeners", "version", "started"} {
		if _, ok := got[key]; !ok {
			t.Errorf("status --json has no %s", key)
		}
	}
}

// A server goes on when its configuration has an error, and wants to be asked why.
func TestStatusWithBrokenConfiguration(t *testing.T) {
	s := newSite(t, minimal+"\n[limits]\nsesions = 1\nx = [\n")
	s.serve(func(o *admin.Options) {
		o.Status = func() admin.Status {
			return admin.Status{Health: "the disk has too little space\x1b[1m", Store: admin.StoreStatus{Free: -1, Full: true, Stalled: true}, Admin: "127.0.0.1:8025",
				Lost: admin.Lost{Records: 3, Log: 1}, LastMinute: admin.Traffic{Sessions: 2, Refused: 1}, Error: "stagepost.toml:10: limits.sesions: unknown key\nstagepost.toml:11: \x1b[2J"}
		}
	})
	s.want(s.run("status"), 0, "the latest change was refused: stagepost.toml:10: limits.sesions", `\x1b[2J`, "no plugin is loaded",
		`health:    the disk has too little space\x1b[1m`, "sessions:  0 open, 0 since the start, 0 refused (last minute: 2, 1 refused)\n",
		"store:     how much space is free is not known, full, stalled\n", "lost:      3 entries of records, 1 lines of the log\n", "metrics:   http://127.0.0.1:8025/metrics\n")
	s.write("stagepost.toml", "[data]\n")
	s.want(s.run("status"), exitConfig, "stagepost.toml:1")
}

func TestReload(t *testing.T) {
	s := newSite(t, minimal)
	r := admin.ReloadResult{Generation: 4, Changed: true, Took: 12 * time.Millisecond}
	s.serve(func(o *admin.Options) { o.Reload = func(context.Context) admin.ReloadResult { return r } })
	s.want(s.run("reload"), 0, "generation 4 is live (12ms)")
	r.Changed = false
	s.want(s.run("reload"), 0, "nothing changed; generation 4 is in force")
	r.Err = errors.New("plugins/vip.lua:7: no such field\nplugins/x.lua:1: no header")
	s.want(s.run("reload"), exitConfig, "plugins/vip.lua:7: no such field\nplugins/x.lua:1: no header; generation 4 stays")
}

func TestQueue(t *testing.T) {
	s := newSite(t, minimal)
	st := s.serve(nil)
	s.want(s.run("queue", "list"), 0, "the queue is empty")
	if r := s.run("queue", "list", "--json"); r.out != "" {
		t.Errorf("an empty queue as JSON is %q", r.out)
	}
	id := put(t, st, "", "Subject: hello\r\nX-Evil: \x1b[31m\r\n\r\nbody", "u@example.org", "v@example.org")
	deferRcpt(t, st, id)
	put(t, st, "s@a.example", "", "w@example.org")
	s.want(s.run("queue", "list"), 0, id.String(), "2h ago", "2.0 kB", "deferred", "<>", "u@example.org +1", "next in 5m; 451 4.7.1 later", "w@example.org", "active", "!\x1b")
	r := s.run("queue", "list", "--json")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var m struct {
		ID, Sender, State string
		Size              int64
		Arrived           time.Time
		Recipients        []map[string]any
	}
	if err := json.Unmarshal([]byte(lines[0]), &m); err != nil || len(lines) != 2 {
		t.Fatalf("%v in %q", err, r.out)
	}
	if m.ID != id.String() || m.State != "deferred" || m.Size != 2048 || len(m.Recipients) != 2 || m.Recipients[0]["attempts"] != 2.0 ||
		m.Recipients[0]["next_attempt"] != "2026-03-01T12:05:00Z" || m.Recipients[1]["next_attempt"] != nil {
		t.Errorf("%+v", m)
	}
	s.want(s.run("queue", "show", id.String()), 0, "sender      <>", "role mx, listener mx, helo a.example", "2026-03-01", "mx:example.org",
		"(mx.example.org[192.0.2.1]:25)", "Subject: hello\n", `X-Evil: \x1b[31m`, "!body", "!\x1b")
	s.want(s.run("queue", "show", id.String(), "--json"), 0, `"header":"Subject: hello\nX-Evil`)
	s.want(s.run("queue", "show", "0000000000000000"), exitNoInput, "is not in the queue", "stagepost trace 0000000000000000")
	s.want(s.run("queue", "show", "x"), exitData, `"x" is not the id of a message`, "stagepost queue list")
}

func TestTrace(t *testing.T) {
	s := newSite(t, minimal)
	s.serve(func(o *admin.Options) {
		o.Records = records{"abc": {
			{Time: noon, Stage: "rcpt", Plugin: "domains", Generation: 3, Verdict: "accept local", Micros: 12},
			{Time: noon.Add(3 * time.Millisecond), Stage: "data", Plugin: "hello", Generation: 3, Verdict: "next", Micros: 2500, Edits: []string{"add_header X-Hello"}, Detail: "done"},
			{Time: noon.Add(2 * time.Second), Stage: "outcome", Verdict: "delivered", Detail: "by \x1b[2Jmx: 250 ok"},
		}}
	})
	r := s.run("trace", "abc")
	s.want(r, 0, "abc, first step", "(now)", "+3.0ms", "12µs", "accept local", "edits: add_header X-Hello; done", `by \x1b[2Jmx: 250 ok`, "!\x1b")
	if got := len(strings.Split(strings.TrimSpace(r.out), "\n")); got != 6 {
		t.Errorf("%d lines, want title, blank, heading, 3 steps:\n%s", got, r.out)
	}
	r = s.run("trace", "abc", "--json")
	var step map[string]any
	if err := json.Unmarshal([]byte(strings.SplitAfter(r.out, "\n")[0]), &step); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"stage", "plugin", "generation", "verdict", "micros", "edits", "detail"} {
		if _, ok := step[key]; !ok {
			t.Errorf("trace --json has no %s", key)
		}
	}
	s.want(s.run("trace", "xyz"), exitNoInput, `there is no record of "xyz"`)
}

// TestTraceOfQueued: what is still to come for a message is told after what was.
func TestTraceOfQueued(t *testing.T) {
	s := newSite(t, minimal)
	known := records{}
	st := s.serve(func(o *admin.Options) { o.Records = known })
	id := put(t, st, "s@a.example", "", "u@example.org")
	known[id.String()] = []observe.Step{{Time: noon, Stage: "intake", Verdict: "queued"}}
	s.want(s.run("trace", id.String()), 0, "\nIt is in the queue, active. More: stagepost queue show "+id.String())
	deferRcpt(t, st, id)
	s.want(s.run("trace", id.String()), 0, "\nIt is in the queue, deferred; the next attempt is in 5m. More: stagepost queue show "+id.String())
	if r := s.run("trace", id.String(), "--json"); strings.Contains(r.out, "queue show") {
		t.Errorf("JSON is followed by %q", r.out)
	}
}

func TestCheck(t *testing.T) {
	s := newSite(t, minimal+"\n[plugins]\nfolder = \"plugins\"\nenable = [\"domains\"]\n")
	s.write("plugins/a.lua", `plugin { id = "a" }`+"\nfunction on.rcpt(r) end\n")
	s.want(s.run("check"), 0, "stagepost.toml: ok, 2 plugins")
	s.write("plugins/a.lua", `plugin { id = "a" }`+"\n\nfunction on.rctp(r) end\n")
	s.write("plugins/b.lua", `plugin { id = "c" }`+"\n")
	s.want(s.run("check"), exitConfig, "plugins/a.lua:3:", "rcpt", "plugins/b.lua:1:")
	s.write("stagepost.toml", strings.ReplaceAll(minimal, "role", "roll"))
	s.want(s.run("check"), exitConfig, "stagepost.toml:7:")
}

func TestPluginListAndOrder(t *testing.T) {
	conf := minimal + "\n[plugins]\nfolder = \"plugins\"\nenable = [\"domains\"]\n\n[run.domains]\nwhen = { role = [\"mx\"], user = false }\n"
	s := newSite(t, conf)
	s.write("plugins/a.lua", `plugin { id = "a", needs = { read = "body", edit = { "headers" } } }`+"\nfunction on.rcpt(r) end\nfunction on.data(m) end\n")
	s.want(s.run("plugin", "list"), 0, "no server is running; this is what it would load", "domains", "plugins/a.lua", "rcpt data")
	s.want(s.run("plugin", "list", "--json"), 0, `"needs":["read body","edit headers"]`, `"granted":["read body","edit headers"]`, "!withheld", "!no server")
	s.write("stagepost.toml", conf+"[run.a]\ngrant = { read = \"headers\" }\n")
	s.want(s.run("plugin", "list", "--json"), 0, `"granted":["read headers","edit headers"],"withheld":["read body"]`)
	s.want(s.run("plugin", "list"), 0, "MAY", "read headers, edit headers; not: read body")
	s.want(s.run("plugin", "order"), 0, "plugins/a.lua:2", "plugins/a.lua:3", "when role mx; no user")
	s.want(s.run("plugin", "order", "data"), 0, "plugins/a.lua:3", "!plugins/a.lua:2")
	s.want(s.run("plugin", "order", "helo"), 0, "no plugin is asked")
	s.serve(nil)
	s.want(s.run("plugin", "list"), 0, "vip", "12", "FACTS", "who n", "!domains", "!no server")
	s.want(s.run("plugin", "list", "--json"), 0, `"facts":[{"name":"vip.who","type":"string","values":["boss"],"of":"rcpt","doc":"d"},{"name":"vip.n","type":"int"}]`)
	s.want(s.run("plugin", "order"), 0, "plugins/vip.lua:7", "reads a.b", "!no server")
	s.want(s.run("plugin", "order", "rcpt", "--json"), 0, `"stage":"rcpt"`, `!"data"`)
}

func TestPluginNew(t *testing.T) {
	s := newSite(t, minimal+"\n[plugins]\nfolder = \"plugins\"\n")
	s.want(s.run("plugin", "new", "greeter"), 0, "wrote plugins/greeter.lua, and a first test: greeter.transcript", "no server is running", "stagepost serve --config")
	s.want(s.run("check"), 0, "1 plugin\n")
	s.want(s.run("plugin", "new", "greeter"), exitCantCreate, "greeter.lua exists already")
	s.write("plugins/bad.lua", "x")
	s.want(s.run("plugin", "new", "second"), exitConfig, "plugins/bad.lua:1:")
	live := []admin.Plugin{{Name: "third"}}
	s.serve(func(o *admin.Options) { o.Plugins = func() []admin.Plugin { return live } })
	s.want(s.run("plugin", "new", "third"), 0, "live in generation 4")
	s.want(s.run("plugin", "new", "fourth"), exitSoftware, "is it running with this configuration?")
	s.write("stagepost.toml", minimal)
	s.want(s.run("plugin", "new", "fifth"), exitConfig, "no folder is watched")
}

func TestInit(t *testing.T) {
	s := newSite(t, minimal)
	dir := filepath.Join(s.dir, "new", "site")
	s.want(s.runInput("", "init", dir), 0, "stagepost serve", "stagepost send --to you@example.org", "stagepost trace ID", "cd "+filepath.Join("new", "site"))
	s.config = filepath.Join(dir, "stagepost.toml")
	s.want(s.run("check"), 0, "ok, 2 plugins")
	before, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "plugins", "hello.lua"))
	s.want(s.runInput("", "init", dir), exitCantCreate, "stagepost.toml exists already")
	if after, err := os.ReadFile(s.config); err != nil || !bytes.Equal(before, after) {
		t.Error("init changed a file")
	}
	if _, err := os.Stat(filepath.Join(dir, "plugins", "hello.lua")); err == nil {
		t.Error("init wrote half of its files")
	}
	for host, want := range map[string]string{"Mail.Example.org": "mail.example.org", "a_b": "localhost", "": "localhost"} {
		if got := ownName(host); got != want {
			t.Errorf("name of %q is %q, want %q", host, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本": "plain é 日本", "a\tb": "a b", "\x1b[2J\r\n": `\x1b[2J\x0d\x0a`, "\xff": `\xff`, "a\u202eb": `a\u202eb`, "\u009b": `\u009b`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestJSONInert(t *testing.T) {
	var b bytes.Buffer
	want := map[string]string{"text": "é 日本 <b> \x1b \u009b2J \u202e \U000e0041 \u2028"}
	if err := (output{Writer: &b}).json(want); err != nil || b.String() != `{"text":"é 日本 <b> \u001b \u009b2J \u202e \udb40\udc41 \u2028"}`+"\n" {
		t.Errorf("%v, %q", err, b.String())
	}
	var got map[string]string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["text"] != want["text"] {
		t.Errorf("%v, %q", err, got)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	tab := newTable(output{Writer: &b, colour: true}, "A", "LONG")
	tab.add(cell{"é", red}, text(""))
	tab.add(text("wide"), text("x"))
	tab.flush()
	want := "\x1b[1mA\x1b[0m     \x1b[1mLONG\x1b[0m\n\x1b[31mé\x1b[0m     -\nwide  x\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	tab = newTable(output{Writer: &b}, "N")
	for i := range 2*tableBatch - 1 {
		tab.add(text(fmt.Sprint(i)))
	}
	if n := strings.Count(b.String(), "\n"); n != 2*tableBatch {
		t.Errorf("%d lines are out before the end, want %d", n, 2*tableBatch)
	}
}

func TestTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		42 * time.Second: "42s", 3 * time.Minute: "3m", 2*time.Hour + 5*time.Minute: "2h 5m", 2 * time.Hour: "2h", 76 * time.Hour: "3d 4h", 48 * time.Hour: "2d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
		if got := relative(noon.Add(d), noon); got != "in "+want {
			t.Errorf("relative: %q, want in %q", got, want)
		}
		if got := relative(noon, noon.Add(d)); got != want+" ago" {
			t.Errorf("relative: %q, want %q ago", got, want)
		}
	}
	for d, want := range map[time.Duration]string{12 * time.Microsecond: "12µs", 3400 * time.Microsecond: "3.4ms", 1250 * time.Millisecond: "1.25s", 3 * time.Minute: "3m", -time.Millisecond: "-1.0ms"} {
		if got := duration(d); got != want {
			t.Errorf("duration(%d) = %q, want %q", int64(d), got, want)
		}
	}
}
