//go:build !wasip1

package stagepost_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	stagepost "github.com/stagepost/stagepost/sdk/go"
	"github.com/stagepost/stagepost/sdk/go/plugintest"
)

// handler is what the test that runs wants asked.
var handler func(r stagepost.Rcpt) stagepost.Verdict

func init() {
	stagepost.OnRcpt(func(r stagepost.Rcpt) stagepost.Verdict { return handler(r) })
	stagepost.OnData(func(m stagepost.Message) stagepost.Verdict { return handler(stagepost.Rcpt{}) })
}

func ask(s *plugintest.Server, stage string, h func(r stagepost.Rcpt) stagepost.Verdict) plugintest.Answer {
	handler = h
	return s.Ask(stage)
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		v    stagepost.Verdict
		want string
		of   map[string]any
	}{
		{nil, "next", nil},
		{stagepost.Accept{Class: "local"}, "accept", map[string]any{"class": "local"}},
		{stagepost.Reject{Text: "no", Code: 551, Delay: 1500 * time.Millisecond}, "reject", map[string]any{"text": "no", "code": int64(551), "delay": 1.5}},
		{stagepost.Defer{}, "defer", map[string]any{}},
		{stagepost.Route{Hosts: []string{"a:25"}, Sender: "x@example.org"}, "route", map[string]any{"hosts": []any{"a:25"}, "sender": "x@example.org"}},
		{stagepost.Each{nil, stagepost.Reject{}}, "each", map[string]any{"verdicts": []any{nil, map[string]any{"kind": int64(2)}}}},
	} {
		got := ask(plugintest.New(), "rcpt", func(stagepost.Rcpt) stagepost.Verdict { return tt.v })
		if got.Verdict != tt.want || !reflect.DeepEqual(got.Fields, tt.of) {
			t.Errorf("%#v: %+v", tt.v, got)
		}
	}
}

func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	for name, h := range map[string]func(r stagepost.Rcpt) stagepost.Verdict{
		"broken":  func(stagepost.Rcpt) stagepost.Verdict { return stagepost.Fail(broken) },
		"n is 5":  func(stagepost.Rcpt) stagepost.Verdict { return stagepost.Failf("n is %d", 5) },
		"in each": func(stagepost.Rcpt) stagepost.Verdict { return stagepost.Each{stagepost.Failf("in each")} },
		"a chan ": func(r stagepost.Rcpt) stagepost.Verdict { r.My().Set("x", make(chan int)); return nil },
		"not told": func(stagepost.Rcpt) stagepost.Verdict {
			_, err := stagepost.KV.Get("k")
			return stagepost.Failf("not told: %w", err)
		},
		"kv.get: the test does not say": func(stagepost.Rcpt) stagepost.Verdict {
			_, err := stagepost.KV.Get("k")
			return stagepost.Fail(err)
		},
	} {
		got := ask(plugintest.New(), "rcpt", h)
		if got.Verdict != "error" || got.Err == nil || !strings.Contains(got.Err.Error()+strings.Join(got.Log, " "), name) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := plugintest.New().Ask("tick"); got.Verdict != "error" || !strings.Contains(got.Err.Error(), "no handler") {
		t.Errorf("a stage without a handler: %+v", got)
	}
}

func TestFieldsAndServices(t *testing.T) {
	s := plugintest.New()
	first := time.Date(2026, 1, 1, 0, 0, 0, 250_000_000, time.UTC)
	s.Set("rcpt.first_try", first)
	s.Set("session.groups", []string{"a", "b"})
	s.Set("session.history", []stagepost.SessionHistory{{Stage: "connect", Code: 250}})
	s.Set("message.rcpts", 2)
	s.Set("rcpt[2].address", stagepost.Address{Text: "v@example.net"})
	s.Set("message.sender", stagepost.Address{Text: strings.Repeat("x", 3000)}) // more than what there is room for
	s.Set("message.my", map[string]any{"n": 7, "f": 0.1})
	s.Service("kv.get", func(args []any) (any, error) { return args, nil })
	s.Service("addr.parse", func(args []any) (any, error) { return stagepost.Address{Domain: args[0].(string)}, nil })
	s.Service("throttle.take", func([]any) (any, error) { return []any{false, 1.5}, nil })
	got := ask(s, "rcpt", func(r stagepost.Rcpt) stagepost.Verdict {
		m := r.Message()
		if !r.FirstTry().Equal(first) || r.Last() != nil || r.Class() != "" || r.Attempts() != 0 {
			t.Error(r.FirstTry(), r.Last(), r.Class())
		}
		if g := m.Session().Groups(); !reflect.DeepEqual(g, []string{"a", "b"}) {
			t.Error(g)
		}
		if h := m.Session().History(); len(h) != 1 || h[0].Stage != "connect" || h[0].Code != 250 {
			t.Error(h)
		}
		if rcpts := m.Rcpts(); len(rcpts) != 2 || rcpts[1].Address().Text != "v@example.net" {
			t.Error(rcpts)
		}
		if n := len(m.Sender().Text); n != 3000 {
			t.Error(n)
		}
		if m.My().Int("n") != 7 || m.My().Float("f") != 0.1 || m.My().Text("n") != "" || m.My().Get("none") != nil || m.Content() != nil {
			t.Error("facts or content")
		}
		if v, err := stagepost.KV.Get("key"); err != nil || !reflect.DeepEqual(v, []any{"key"}) {
			t.Error(v, err)
		}
		if a, err := stagepost.Addr.Parse("example.org"); err != nil || a.Domain != "example.org" {
			t.Error(a, err)
		}
		if ok, wait, err := stagepost.Throttle.Take("k", "1/1h"); ok || wait != 1.5 || err != nil {
			t.Error(ok, wait, err)
		}
		r.Rename("a@example.org", "b@example.org")
		m.Schedule(stagepost.Schedule{Priority: new(0)})
		r.My().Set("own", true)
		return nil
	})
	want := []plugintest.Edit{{Name: "rename", Object: "rcpt", Args: []any{"a@example.org", "b@example.org"}}, {Name: "schedule", Object: "message", Args: map[string]any{"priority": int64(0)}}, {Name: "fact", Object: "rcpt", Args: []any{".own", true}}}
	if got.Verdict != "next" || !reflect.DeepEqual(got.Edits, want) {
		t.Errorf("%+v", got)
	}
}

func TestContent(t *testing.T) {
	s := plugintest.New()
	s.Content = []byte("Subject: one\r\nX-A: 1\r\nX-A: 2\r\n folded\r\n\r\nbody\r\n")
	s.Set("content.size", len(s.Content))
	got := ask(s, "data", func(stagepost.Rcpt) stagepost.Verdict {
		var m stagepost.Message
		if v, ok := m.HeaderAt("x-a", 2); !ok || v != "2 folded" {
			t.Error(v, ok)
		}
		if all := m.Headers(""); len(all) != 3 || all[2].Value != "2 folded" || all[2].Raw != "X-A: 2\r\n folded\r\n" {
			t.Error(all)
		}
		c := m.Content()
		if b := c.Read(9, 3); string(b) != "one" || len(c.Read(1000, 5)) != 0 {
			t.Error(b)
		}
		n := 0
		for piece := range c.Chunks(10) {
			n += len(piece)
		}
		if n != len(s.Content) {
			t.Error(n)
		}
		return nil
	})
	if got.Verdict != "next" {
		t.Errorf("%+v", got)
	}
}

// TestPages: the program and the test that a page shows work.
func TestPages(t *testing.T) {
	for _, page := range []string{"README.md", "../../cmd/stagepost/manual/go.md"} {
		t.Run(filepath.Base(page), func(t *testing.T) { works(t, page) })
	}
}

func works(t *testing.T, page string) {
	text, err := os.ReadFile(page)
	if os.IsNotExist(err) {
		t.Skip("left out: this is not the whole repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(text, -1)
	if len(code) != 2 {
		t.Fatalf("it has %d examples", len(code))
	}
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module vip\n\ngo 1.26\n\nrequire github.com/stagepost/stagepost/sdk/go v0.0.0\n\nreplace github.com/stagepost/stagepost/sdk/go => " + folder + "\n",
		"main.go": string(code[0][1]), "main_test.go": string(code[1][1]),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		env  string
		args []string
	}{{"GOOS=wasip1 GOARCH=wasm", []string{"build", "-buildmode=c-shared", "-o", "plugin.wasm", "."}}, {"", []string{"test", "."}}} {
		cmd := exec.Command("go", tt.args...)
		cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "GOFLAGS=", "GOWORK=off"), strings.Fields(tt.env)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", tt.args[0], err, out)
		}
	}
}
