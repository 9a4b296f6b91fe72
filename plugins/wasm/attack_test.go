package wasm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// TestAttacks runs every file of testdata/attacks that needs nothing of the outside: a plugin that its notes tell what it must come to.
// Each call ends in time with what it says, the plugin answers by on_error, and the next call gets a fresh instance.
func TestAttacks(t *testing.T) {
	files, err := filepath.Glob("testdata/attacks/*.asm")
	if err != nil || len(files) < 80 {
		t.Fatalf("found %d attacks, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".asm"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			notes := asm.Notes(string(text))
			if n := notes["needs"]; strings.Contains(n, "dns") || strings.Contains(n, "http") || strings.Contains(n, "net") {
				t.Skip("it asks others, so it is tried through a server")
			}
			if testing.Short() && strings.Contains(notes["want"], "ran out of instructions") {
				t.Skip("it uses up all its steps, which takes longer than its deadline under the race detector")
			}
			r := newRig(t, EngineOptions{})
			p, err := r.load(assembled(t, "", string(text)))
			if err != nil {
				if notes["want"] == "" || !strings.Contains(err.Error(), notes["want"]) {
					t.Errorf("%v, want %q", err, notes["want"])
				}
				return
			}
			defer p.Close()
			g := generationOf(t, p, 10*time.Second)
			stage := hooks.Rcpt
			if notes["stage"] == "data" {
				stage = hooks.Data
			}
			for range 2 {
				c, rec := testCall(t, stage)
				begin := time.Now()
				res := g.Run(c)
				took := time.Since(begin)
				switch {
				case notes["answer"] != "":
					if res.Failed || res.End == nil || res.End.Kind != hooks.Reject || !strings.HasSuffix(notes["answer"], " "+res.End.Text) {
						t.Fatalf("%+v %+v, want %q", res, rec.steps, notes["answer"])
					}
				case !res.Failed || res.End == nil || len(rec.steps) != 1 || !strings.Contains(rec.last().Detail, notes["want"]):
					t.Fatalf("%+v %+v, want %q", res, rec.steps, notes["want"])
				}
				if took > 15*time.Second { // the hook has 10
					t.Errorf("it took %s", took)
				}
				t.Logf("%8s  %s", took.Round(time.Microsecond), rec.last().Detail)
			}
			want := pool.Stats{Created: 2, Dropped: 2} // the first was made at load
			if notes["answer"] != "" || strings.Contains(notes["want"], "gave up") {
				want = pool.Stats{Created: 1, Idle: 1} // by itself, so the instance is as good as before
			}
			if s := p.Stats(); s != want {
				t.Errorf("%+v, want %+v", s, want)
			}
			if r.log.Len() > 10_000_000 { // a plugin may write 1,000 lines at once
				t.Errorf("%d bytes of log", r.log.Len())
			}
		})
	}
}

// TestWhatPluginsSay: what was logged as an error stands in the error of a call that gives up or fails.
func TestWhatPluginsSay(t *testing.T) {
	for _, tt := range []struct {
		hook, want string
		spent      uint64
	}{
		{"i64.const -5", "connect gave up (-5)", 0},
		{"i32.const 3 i32.const 2000 i32.const 4 call log i64.const -5", "connect gave up (-5): alas", 0},
		{"i32.const 3 i32.const 2000 i32.const 4 call log unreachable", "; before that: alas", 1},
	} {
		r := newRig(t, EngineOptions{})
		p := r.mustLoad(assembled(t, "", "data 2000 \"alas\"\nexport func stagepost_hook i32 -> i64\n"+tt.hook))
		c, rec := testCall(t, hooks.Connect)
		if res := generationOf(t, p, time.Second).Run(c); !res.Failed || !strings.HasSuffix(rec.last().Detail, tt.want) {
			t.Errorf("%+v %+v, want %q", res, rec.steps, tt.want)
		}
		if s := p.Stats(); s.Dropped != tt.spent {
			t.Errorf("%s: %+v", tt.hook, s)
		}
	}
}

// TestOverruns: fuel follows the time that is left; the breaker hears which of the two it was.
func TestOverruns(t *testing.T) {
	r := newRig(t, EngineOptions{})
	p := r.mustLoad(assembled(t, "", "export func stagepost_hook i32 -> i64\nloop br 0 end i64.const 0"))
	for _, tt := range []struct {
		timeout time.Duration
		want    breaker.Overrun
	}{{10 * time.Second, breaker.OverInstructions}, {50 * time.Millisecond, breaker.OverTime}} {
		c, _ := testCall(t, hooks.Connect)
		var got error
		g := generationOf(t, p, tt.timeout)
		h := g.Chain(hooks.Connect)[0]
		inner := h.Handler
		h.Handler = hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
			v, err := inner.Handle(c)
			got = err
			return v, err
		})
		begin := time.Now()
		g.Run(c)
		var over breaker.Overrun
		if !errors.As(got, &over) || over != tt.want {
			t.Errorf("with %s: %v, want %v", tt.timeout, got, tt.want)
		}
		t.Logf("with %s: %s after %s", tt.timeout, over, time.Since(begin).Round(time.Microsecond))
	}
}

func TestRefusedAtLoad(t *testing.T) {
	hook := "export func stagepost_hook i32 -> i64\ni64.const 0"
	for _, tt := range []struct{ name, text, want string }{
		{"load that says why", hook + "\ndata 700 \"[plugin.p] word: it is no good\"\nexport func stagepost_load i32 i32 -> i32\ni32.const 3 i32.const 700 i32.const 30 call log i32.const 1", "plugins/p/plugin.wasm: [plugin.p] word: it is no good"},
		{"load that says nothing", hook + "\nexport func stagepost_load i32 i32 -> i32\ni32.const 7", "stagepost_load returned 7"},
		{"no hook", "", "does not export stagepost_hook"},
		{"wrong export", "export func stagepost_hook i32 -> i32\ni32.const 0", "is of type"},
	} {
		r := newRig(t, EngineOptions{})
		_, err := r.load(assembled(t, "", tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestHostPanic is S14: a fault of the server in a function that a guest called ends that call only.
func TestHostPanic(t *testing.T) {
	r := newRig(t, EngineOptions{})
	p := r.mustLoad(assembled(t, "", "export func stagepost_hook i32 -> i64\ni32.const 0 i32.const 0 i32.const 0 i32.const 1000 i32.const 100 call field drop i64.const 0"))
	g := generationOf(t, p, time.Second)
	good := p.tables
	p.tables = nil
	c, rec := testCall(t, hooks.Connect)
	if res := g.Run(c); !res.Failed || !strings.Contains(rec.last().Detail, "nil pointer") {
		t.Errorf("%+v %+v", res, rec.steps)
	}
	p.tables = good
	c, _ = testCall(t, hooks.Connect)
	if res := g.Run(c); res.Failed {
		t.Errorf("%+v", res)
	}
}
