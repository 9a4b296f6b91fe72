package wasm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/pool"
)

// attacks are what a plugin does at a stage, and what its call must say.
var attacks = []struct{ name, imports, hook, want string }{
	{"S1 endless loop", "", "loop br 0 end i64.const 0", "ran out of instructions"},
	{"S3 memory.grow without end", "", "loop i32.const 1 memory.grow drop br 0 end i64.const 0", "ran out of instructions"},
	{"S3 table.grow without end", "table 1", "loop ref.null 112 i32.const 100000 table.grow drop br 0 end i64.const 0", "ran out of instructions"},
	{"S3 results of services", "", "loop i32.const 2000 i32.const 11 i32.const 2100 i32.const 7 call svc drop br 0 end i64.const 0", "16 results are open"},
	{"S8 recursion", "", "local.get 0 call stagepost_hook", "stack overflow"},
	{"S9 memory.fill", "", "loop i32.const 0 i32.const 1 i32.const 0x20000 memory.fill br 0 end i64.const 0", "ran out of instructions"},
	{"S9 call tree", "", "i32.const 40 call tree i64.extend_i32_u\nfunc tree i32 -> i32\nlocal.get 0 i32.eqz if:i32 i32.const 1 else local.get 0 i32.const 1 i32.sub call tree local.get 0 i32.const 1 i32.sub call tree i32.add end", "ran out of instructions"},
	{"S9 unreachable", "", "unreachable", "unreachable"},
	{"S10 proc_exit", "import wasi_snapshot_preview1 proc_exit i32", "i32.const 3 call proc_exit i64.const 0", "ended itself with code 3"},
	{"S10 poll for ever", "import wasi_snapshot_preview1 poll_oneoff i32 i32 i32 i32 -> i32", "loop i32.const 0 i32.const 0 i32.const 0 i32.const 0 call poll_oneoff drop br 0 end i64.const 0", "ran out of instructions"},
	{"S10 output without end", "import wasi_snapshot_preview1 fd_write i32 i32 i32 i32 -> i32", "loop i32.const 1 i32.const 3000 i32.const 1 i32.const 3016 call fd_write drop br 0 end i64.const 0\ndata 3000 \"\\x00\\x00\\x00\\x00\\x20\\x00\\x00\\x00\"", "ran out of instructions"},
	{"S11 flood of calls", "", "loop call now drop br 0 end i64.const 0", "ran out of instructions"},
	{"S11 flood of headers", "", "loop i32.const 2200 i32.const 3 i32.const 1 i32.const 0 i32.const 0 call header drop br 0 end i64.const 0", "ran out of instructions"},
	{"S11 flood of log", "", "loop i32.const 1 i32.const 0 i32.const 1000 call log br 0 end i64.const 0", "ran out of instructions"},
	{"S11 pointer out of range", "", "i32.const 0x7fffffff i32.const 10 i32.const 1 i32.const 0 i32.const 0 call header drop i64.const 0", "a name of 10 bytes at 2147483647 lies outside"},
	{"S11 negative length", "", "i32.const 0 i32.const -1 i32.const 1 i32.const 0 i32.const 0 call header drop i64.const 0", "a name of -1 bytes"},
	{"S11 overflowing range", "", "i32.const -8 i32.const 16 i32.const 1 i32.const 0 i32.const 0 call header drop i64.const 0", "lies outside"},
	{"S11 buffer out of range", "", "i32.const 0 i32.const 0 i32.const 0 i32.const 0x7ffffff0 i32.const 1000 call field drop i64.const 0", "a buffer of 1000 bytes at 2147483632 lies outside"},
	{"S11 verdict out of range", "", "i64.const 0x7fffffff00000010", "does not lie in the memory"},
	{"S11 large verdict", "", "i64.const 0x7fffffff", "does not lie in the memory"},
	{"S12 a bomb of CBOR", "", "i64.const 0x96000000005\ndata 2400 \"\\x9a\\xff\\xff\\xff\\xff\"", "no verdict"},
	{"S12 CBOR of no end", "", "i64.const 0x96000000003\ndata 2400 \"\\x9f\\x01\\xff\"", "no verdict"},
	{"S17 code of another class", "", "i64.const 0xc80000000WW", "code 250"},
	{"gives up", "", "i64.const -5", "connect gave up (-5)"},
	{"gives up and says why", "", "i32.const 3 i32.const 2000 i32.const 11 call log i64.const -5", "connect gave up (-5): hash.sha256"},
	{"traps and says why", "", "i32.const 3 i32.const 2000 i32.const 11 call log unreachable", "; before that: hash.sha256"},
}

// TestAttacks: each call ends in time with what it says, the plugin answers by on_error, and the next call gets a fresh instance.
func TestAttacks(t *testing.T) {
	line, n := data(t, 2100, []any{"xxxxx"})
	if n != 7 {
		t.Fatalf("the arguments have %d bytes", n)
	}
	svc := "data 2000 \"hash.sha256\"\n" + line
	bad, m := data(t, 3200, map[string]any{"kind": int64(hooks.Reject), "code": int64(250)})
	for _, tt := range attacks {
		hook := strings.ReplaceAll(tt.hook, "0xc80000000WW", fmt.Sprintf("0x%x", 3200<<32|m))
		text := svc + bad + "data 2200 \"X-A\"\nexport func stagepost_hook i32 -> i64\n" + hook
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, EngineOptions{})
			p := r.mustLoad(assembled(t, tt.imports, text))
			g := generationOf(t, p, 10*time.Second)
			stage := hooks.Connect
			if strings.Contains(tt.name, "headers") {
				stage = hooks.Data
			}
			for range 2 {
				c, rec := testCall(t, stage)
				begin := time.Now()
				res := g.Run(c)
				took := time.Since(begin)
				if !res.Failed || res.End == nil || len(rec.steps) != 1 || !strings.Contains(rec.last().Detail, tt.want) {
					t.Fatalf("%+v %+v, want %q", res, rec.steps, tt.want)
				}
				if took > 15*time.Second { // the hook has 10
					t.Errorf("it took %s", took)
				}
				t.Logf("%-28s %8s  %s", tt.name, took.Round(time.Microsecond), rec.last().Detail)
			}
			want := pool.Stats{Created: 2, Dropped: 2}  // the first was made at load
			if strings.HasPrefix(tt.name, "gives up") { // by itself, so the instance is as good as before
				want = pool.Stats{Created: 1, Idle: 1}
			}
			if s := p.Stats(); s != want {
				t.Errorf("%+v, want %+v", s, want)
			}
			if r.log.Len() > 5_000_000 { // a plugin may write 1,000 lines at once
				t.Errorf("%d bytes of log", r.log.Len())
			}
		})
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
	for _, tt := range []struct{ name, imports, text, want string }{
		{"S9 start that loops", "", hook + "\nstart f\nfunc f\nloop br 0 end", "it does not begin: start function[14] failed: wasm error: unreachable"},
		{"start that calls", "", hook + "\nstart f\nfunc f\ni32.const 0 i32.const 0 i32.const 1 call log", "the start function may not call the server"},
		{"load that loops", "", hook + "\nexport func stagepost_load i32 i32 -> i32\nloop br 0 end i32.const 0", "ran out of instructions"},
		{"load that says why", "", hook + "\ndata 700 \"[plugin.p] word: it is no good\"\nexport func stagepost_load i32 i32 -> i32\ni32.const 3 i32.const 700 i32.const 30 call log i32.const 1", "plugins/p/plugin.wasm: [plugin.p] word: it is no good"},
		{"load that says nothing", "", hook + "\nexport func stagepost_load i32 i32 -> i32\ni32.const 7", "stagepost_load returned 7"},
		{"S10 open", "import wasi_snapshot_preview1 path_open i32 -> i32", hook, `"wasi_snapshot_preview1"."path_open" is not there: of WASI a plugin has clocks`},
		{"S10 socket", "import wasi_snapshot_preview1 sock_accept i32 i32 i32 -> i32", hook, "is not there"},
		{"another host", "import env system i32 -> i32", hook, `"env"."system" does not exist`},
		{"another version", "import stagepost_v1 field i32 -> i32", hook, `this server has "stagepost_v0"`},
		{"wrong type", "import wasi_snapshot_preview1 proc_exit i64", hook, "has the wrong type"},
		{"no hook", "", "", "does not export stagepost_hook"},
		{"wrong export", "", "export func stagepost_hook i32 -> i32\ni32.const 0", "is of type"},
		{"not valid", "", "export func stagepost_hook i32 -> i64\ni32.const 0", "the module is not valid"},
	} {
		r := newRig(t, EngineOptions{})
		_, err := r.load(assembled(t, tt.imports, tt.text))
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
