package generation

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// site is a folder with a configuration and plugins.
type site struct {
	wasm    *wasm.Engine
	t       *testing.T
	dir     string
	m       *Manager
	console syncBuffer
	log     *slog.Logger // nil: none
	prepare func(old, next *config.Config) (commit, abort func(), err error)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const base = `hostname = "mx.example"
data = "data"
[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
[plugins]
folder = "plugins"
`

// code is a plugin that refuses with a text.
func code(id, text string) string {
	return fmt.Sprintf("plugin { id = %q, version = \"1.0.0\", api = 0, description = \"x\" }\nfunction on.rcpt(r) return reject %q end\n", id, text)
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.write("stagepost.toml", base)
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) open() error {
	kv, err := service.OpenStore(service.StoreOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { kv.Close() })
	log := s.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.m, err = New(Options{File: filepath.Join(s.dir, "stagepost.toml"), Host: service.NewHost(service.Options{KV: kv, Log: log}), Wasm: s.wasm, Log: log, Console: &s.console,
		Prepare: func(old, next *config.Config) (func(), func(), error) {
			if s.prepare != nil {
				return s.prepare(old, next)
			}
			return func() {}, func() {}, nil
		}})
	return err
}

func (s *site) mustOpen() {
	s.t.Helper()
	if err := s.open(); err != nil {
		s.t.Fatal(err)
	}
}

// says is what the plugins answer at rcpt.
func (s *site) says() string {
	s.t.Helper()
	gen := s.m.Current().Acquire()
	defer gen.Release()
	return ask(s.t, gen)
}

func ask(t testing.TB, gen *hooks.Generation) string {
	a, err := smtp.ParseAddress("u@example.org")
	if err != nil {
		t.Fatal(err)
	}
	env := &message.Envelope{Session: &message.Session{Role: message.RoleMX}, Rcpts: []*message.Rcpt{{Address: a, Original: a}}}
	view := &hooks.MessageView{Envelope: env}
	res := gen.Run(&hooks.Call{Stage: hooks.Rcpt, Session: env.Session, Message: view, Rcpt: &hooks.RcptView{Rcpt: env.Rcpts[0], Message: view}})
	if res.End == nil {
		return string(env.Rcpts[0].Class)
	}
	return res.End.Text
}

func TestSaveChangesTheNextAnswer(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.mustOpen()
	if got := s.says(); got != "one" {
		t.Fatalf("generation 1 says %q", got)
	}
	if c := s.m.Reload(t.Context()); c.Changed || c.Number != 1 {
		t.Errorf("nothing changed, and the reload came to %+v", c)
	}
	s.write("plugins/vip.lua", code("vip", "two"))
	if c := s.m.Reload(t.Context()); !c.Changed || c.Number != 2 || c.Err != nil {
		t.Errorf("a save came to %+v", c)
	}
	if got := s.says(); got != "two" {
		t.Errorf("generation 2 says %q", got)
	}
	s.remove("plugins/vip.lua")
	s.m.Reload(t.Context())
	if got := s.says(); got != "" {
		t.Errorf("without the plugin it says %q", got)
	}
	s.remove("plugins")
	if c := s.m.Reload(t.Context()); c.Err != nil {
		t.Errorf("a plugin folder that is gone: %v", c.Err)
	}
}

func TestMistakesAtTheStart(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", "plugin { id = 'vip' }\nfunction on.rcpt(r) return nothing.at.all end")
	if err := s.open(); err == nil || !strings.Contains(err.Error(), "plugins/vip.lua:2:") {
		t.Errorf("New returned %v", err)
	}
}

func TestUnchangedPluginsAreShared(t *testing.T) {
	s := newSite(t)
	s.write("plugins/a.lua", code("a", "a"))
	s.write("plugins/b.lua", code("b", "b"))
	s.mustOpen()
	first := s.m.state.Load().loaded
	held := s.m.Current().Acquire()
	s.write("plugins/b.lua", code("b", "c"))
	if c := s.m.Reload(t.Context()); c.Err != nil {
		t.Fatal(c.Err)
	}
	second := s.m.state.Load().loaded
	if first[0] != second[0] || first[1] == second[1] {
		t.Error("a is loaded anew, or b is not")
	}
	if n := first[0].refs.Load(); n != 2 {
		t.Errorf("a is held %d times, want 2", n)
	}
	if n := first[1].refs.Load(); n != 1 {
		t.Errorf("the old b is held %d times while a transaction uses it, want 1", n)
	}
	if got := ask(t, held); got != "a" {
		t.Errorf("the old generation says %q while it is held", got)
	}
	held.Release()
	if n := first[1].refs.Load(); n != 0 {
		t.Errorf("the old b is held %d times after its last user", n)
	}
	if n := first[0].refs.Load(); n != 1 {
		t.Errorf("a is held %d times, want 1", n)
	}
	if out := s.console.String(); !strings.Contains(out, "generation 2 is live: b (") {
		t.Errorf("the console has %q", out)
	}
}

func TestRunUnderAnotherName(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "one"))
	s.write("stagepost.toml", base+"[run.second]\nplugin = \"vip\"\norder = 10\n[run.vip]\non_error = \"next\"\n")
	s.mustOpen()
	chain := s.m.Order(hooks.Rcpt)
	if len(chain) != 2 || chain[0].Plugin != "second" || chain[1].Plugin != "vip" || chain[1].OnError != hooks.Next {
		t.Errorf("chain %+v", chain)
	}
}

// TestIdleInstancesAreLetGo: also where a plugin is asked no more, so that no call of it does.
func TestIdleInstancesAreLetGo(t *testing.T) {
	s := newSite(t)
	s.write("plugins/a.lua", code("a", "no"))
	quiet, later := slog.New(slog.DiscardHandler), time.Duration(0)
	host := service.NewHost(service.Options{Log: quiet, Now: func() time.Time { return time.Now().Add(later) }})
	m, err := New(Options{File: filepath.Join(s.dir, "stagepost.toml"), Host: host, Log: quiet, Console: &s.console})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	plugin := m.state.Load().loaded[0].plugin
	for _, want := range []int{1, 0} {
		m.trim()
		if n := plugin.Stats().Idle; n != want {
			t.Errorf("%d instances are idle, want %d", n, want)
		}
		later += 2 * time.Minute
	}
}

// TestSeveralRunsAreNoChange: what is not in enable is read in one order.
func TestSeveralRunsAreNoChange(t *testing.T) {
	s := newSite(t)
	s.write("stagepost.toml", base+"[run.d1]\nplugin = \"domains\"\n[run.r1]\nplugin = \"route\"\n[run.h1]\nplugin = \"headers\"\n[plugin.d1]\ndomains = [\"x.example\"]\n")
	s.mustOpen()
	for range 20 {
		if c := s.m.Reload(t.Context()); c.Changed || c.Err != nil {
			t.Fatalf("%+v: %s", c, s.console.String())
		}
	}
}

// TestRefusedForSomethingOutside: the same files are tried again, and the refusal is told once.
func TestRefusedForSomethingOutside(t *testing.T) {
	s := newSite(t)
	s.mustOpen()
	busy := errors.New("address in use")
	s.prepare = func(old, next *config.Config) (func(), func(), error) { return func() {}, func() {}, busy }
	s.write("stagepost.toml", base+"\n[limits]\nsessions = 7\n")
	for range 3 {
		if c := s.m.Reload(t.Context()); c.Err == nil || c.Changed {
			t.Fatalf("%+v", c)
		}
	}
	if n := strings.Count(s.console.String(), "address in use"); n != 1 {
		t.Errorf("told %d times", n)
	}
	busy = nil
	if c := s.m.Reload(t.Context()); !c.Changed || s.m.Config().Limits.Sessions != 7 || s.m.Status().Error != "" {
		t.Errorf("%+v, status %+v", c, s.m.Status())
	}
}

// TestCallsGoOnDuringReloads asks from several goroutines while the plugin changes: each answer is one of those that were
// saved.
func TestCallsGoOnDuringReloads(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", code("vip", "v0"))
	s.mustOpen()
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := s.says(); !strings.HasPrefix(got, "v") {
					t.Errorf("a caller got %q", got)
					return
				}
			}
		})
	}
	for i := range 40 {
		text := code("vip", fmt.Sprintf("v%d", i+1))
		if i%2 == 1 {
			text += "(" // every second save is broken
		}
		s.write("plugins/vip.lua", text)
		s.m.Reload(t.Context())
	}
	close(stop)
	group.Wait()
	if n := s.m.Current().Number(); n != 21 {
		t.Errorf("generation %d, want 21", n)
	}
}

func TestFailuresAreToldWithTheirPlace(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip.lua", "plugin { id = \"vip\" }\nfunction on.rcpt(r)\n  error('oops')\nend\n")
	s.mustOpen()
	var log syncBuffer
	s.m.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.write("plugins/vip.lua", "plugin { id = \"vip\" }\nfunction on.rcpt(r)\n\n  error('oops')\nend\n")
	s.m.Reload(t.Context())
	for range 5 {
		s.says()
	}
	if out := log.String(); strings.Count(out, "a plugin failed") != 1 || !strings.Contains(out, "plugins/vip.lua:4: oops") {
		t.Errorf("the log has %s", out)
	}
	if p := s.m.Status().Plugins[0]; p.Calls != 5 || p.Errors != 5 {
		t.Errorf("%d calls, %d errors", p.Calls, p.Errors)
	}
}

// TestEvents: what a plugin counts goes on in its next version, and is gone when the plugin is.
func TestEvents(t *testing.T) {
	counts := func(text string) string {
		return "plugin { id = \"vip\", version = \"1.0.0\" }\nfunction on.rcpt(r) metric.count(\"asked\") return reject \"" + text + "\" end\n"
	}
	s := newSite(t)
	s.write("plugins/vip.lua", counts("one"))
	s.mustOpen()
	s.says()
	s.write("plugins/vip.lua", counts("two"))
	s.m.Reload(t.Context())
	s.says()
	want := []service.Event{{Name: "asked", Count: 2}}
	if got, use := s.m.Status().Plugins[0].Events, s.m.Use()[0].Events; !slices.Equal(got, want) || !slices.Equal(use, want) {
		t.Errorf("after a reload: %v, %v", got, use)
	}
	s.remove("plugins/vip.lua")
	s.m.Reload(t.Context())
	s.write("plugins/vip.lua", counts("three"))
	s.m.Reload(t.Context())
	if got := s.m.Status().Plugins[0].Events; len(got) != 0 {
		t.Errorf("a plugin that is new has counted %v", got)
	}
}
