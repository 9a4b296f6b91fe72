package wasm

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

var update = flag.Bool("update", false, "write the golden file")

// TestNumbersStay: a number that was given out means the same for ever; new lines come at the end of their kind.
func TestNumbersStay(t *testing.T) {
	const file = "testdata/numbers.txt"
	if *update {
		if err := os.WriteFile(file, []byte(Numbers()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]bool{}
	for line := range strings.Lines(Numbers()) {
		now[line] = true
	}
	for line := range strings.Lines(string(want)) {
		if !now[line] {
			t.Errorf("%s is no longer so: plugins that are compiled rely on it", strings.TrimSpace(line))
		}
	}
	if Numbers() != string(want) && !t.Failed() {
		t.Errorf("%s lacks what is new; run the test with -update", file)
	}
}

// TestVerdicts: a plugin answers at rcpt by the class of the recipient's domain.
func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		stage hooks.Stage
		v     any
		want  string // of the step
	}{
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Reject), "text": "no", "code": int64(554)}, "reject 554 5.7.1"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Defer), "enhanced": "4.7.0", "delay": 0.5}, "defer 451 4.7.0"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Accept), "class": "relay"}, "accept relay"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Next)}, "next"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Hold)}, "error, defer 451 4.3.0"},
		{hooks.Rcpt, map[string]any{"kind": int64(99)}, "error, defer 451 4.3.0"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Reject), "txt": "no"}, "error, defer 451 4.3.0"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Reject), "text": "a\r\nb"}, "error, defer 451 4.3.0"},
		{hooks.Rcpt, map[string]any{"kind": int64(hooks.Reject), "text": strings.Repeat("x", 10_000)}, "error, defer 451 4.3.0"},
		{hooks.Rcpt, []any{int64(hooks.Reject)}, "error, defer 451 4.3.0"},
		{hooks.Rcpt, "reject", "error, defer 451 4.3.0"},
		{hooks.Data, map[string]any{"kind": int64(hooks.Hold), "reason": "look"}, "hold"},
		{hooks.Data, map[string]any{"kind": int64(hooks.Accept)}, "error, reject 550 5.3.0"},
		{hooks.Deliver, map[string]any{"kind": int64(hooks.Each), "verdicts": []any{nil, map[string]any{"kind": int64(hooks.Reject)}}}, "each"},
		{hooks.Deliver, map[string]any{"kind": int64(hooks.Each), "verdicts": []any{nil}}, "error, defer 451 4.3.0"},
		{hooks.Data, map[string]any{"kind": int64(hooks.Each), "verdicts": []any{map[string]any{"kind": int64(hooks.Reject)}, nil}}, "each"},
		{hooks.Data, map[string]any{"kind": int64(hooks.Each), "verdicts": []any{map[string]any{"kind": int64(hooks.Close)}, nil}}, "error, reject 550 5.3.0"},
		{hooks.Data, map[string]any{"kind": int64(hooks.Each), "verdicts": []any{nil, nil, nil}}, "error, reject 550 5.3.0"},
		{hooks.Deliver, map[string]any{"kind": int64(hooks.Accept)}, "accept"},
	} {
		r := newRig(t, EngineOptions{})
		line, n := data(t, 512, tt.v)
		p := r.mustLoad(assembled(t, "", line+fmt.Sprintf("export func stagepost_hook i32 -> i64\ni64.const 0x%x", 512<<32|n)))
		g := generationOf(t, p, time.Second)
		c, rec := testCall(t, tt.stage)
		if tt.stage == hooks.Deliver {
			g.RunPlugin(c, "p")
		} else {
			g.Run(c)
		}
		if got := rec.last().Verdict; got != tt.want {
			t.Errorf("%s %v: %q (%s), want %q", tt.stage, tt.v, got, rec.last().Detail, tt.want)
		}
		r.engine.Close()
	}
}

// TestTrapDropsEdits: S15.
func TestTrapDropsEdits(t *testing.T) {
	r := newRig(t, EngineOptions{})
	line, n := data(t, 512, []any{"X-Half", "done"})
	p := r.mustLoad(assembled(t, "", line+fmt.Sprintf("export func stagepost_hook i32 -> i64\ni32.const 1 i32.const 2 i32.const 0 i32.const 512 i32.const %d call edit if unreachable end unreachable", n)))
	c, rec := testCall(t, hooks.Data)
	res := generationOf(t, p, time.Second).Run(c)
	if !res.Failed || res.End == nil || res.End.Kind != hooks.Reject {
		t.Errorf("%+v %+v", res, rec.steps)
	}
	if h, _ := c.Message.Header(); h != nil {
		if v, ok := h.Get("X-Half", 0); ok {
			t.Errorf("X-Half: %s", v)
		}
	}
}

// TestPool: as many calls at once as there are instances; who waits in vain is told so, and nothing is left behind.
func TestPool(t *testing.T) {
	r := newRig(t, EngineOptions{})
	p := r.mustLoad(assembled(t, "", quiet))
	g := generationOf(t, p, 50*time.Millisecond)
	first, err := p.pool.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.pool.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, rec := testCall(t, hooks.Connect)
	g.Run(c)
	if !strings.Contains(rec.last().Detail, breaker.Busy.Error()) {
		t.Errorf("%+v", rec.last())
	}
	p.put(first)
	p.put(second)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c, _ := testCall(t, hooks.Connect)
			generationOf(t, p, 10*time.Second).Run(c)
		})
	}
	wg.Wait()
	if s := p.Stats(); s.InUse != 0 || s.Idle > 2 || s.Created > 2 || s.Busy != 1 {
		t.Errorf("%+v", s)
	}
	p.Close()
	if _, err := p.pool.Get(t.Context()); err == nil {
		t.Error("a closed plugin is asked")
	}
}

// TestSharing: the same bytes are compiled once, and go with the last plugin that has them. S20: both work while both are there.
func TestSharing(t *testing.T) {
	r := newRig(t, EngineOptions{})
	wasm := assembled(t, "", quiet)
	old, next := r.mustLoad(wasm), r.mustLoad(wasm)
	if old.module != next.module || len(r.engine.modules) != 1 {
		t.Error("it was compiled twice")
	}
	old.Close()
	c, _ := testCall(t, hooks.Connect)
	if res := generationOf(t, next, time.Second).Run(c); res.Failed {
		t.Errorf("%+v", res)
	}
	next.Close()
	if len(r.engine.modules) != 0 {
		t.Error("the module stays")
	}
}

// TestLeaks is Z14: load, call and close, again and again.
func TestLeaks(t *testing.T) {
	r := newRig(t, EngineOptions{})
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	cycle := func(i int) {
		p, err := r.load(assembled(t, "", fmt.Sprintf("data 900 \"%d\"\n", i)+quiet))
		if err != nil {
			t.Fatal(err)
		}
		c, _ := testCall(t, hooks.Connect)
		if res := generationOf(t, p, time.Second).Run(c); res.Failed {
			t.Fatalf("%+v", res)
		}
		p.Close()
	}
	for i := range 50 {
		cycle(i)
	}
	before, routines := heap(), runtime.NumGoroutine()
	cycles := 1000
	if testing.Short() {
		cycles = 100
	}
	for i := range cycles {
		cycle(1000 + i)
	}
	after := heap()
	t.Logf("%d cycles: heap %d KiB before, %d KiB after", cycles, before>>10, after>>10)
	if after > before+8<<20 || runtime.NumGoroutine() > routines+5 {
		t.Errorf("heap %d -> %d, goroutines %d -> %d", before, after, routines, runtime.NumGoroutine())
	}
}

// TestCompileIsBounded is Z15: what compilers take long for is refused before they see it.
func TestCompileIsBounded(t *testing.T) {
	r := newRig(t, EngineOptions{})
	for name, code := range map[string]string{
		"loops in loops": strings.Repeat("loop ", 400) + strings.Repeat("end ", 400) + "i64.const 0",
		"groups of them": "locals" + strings.Repeat(" i32", 500) + "\n" + strings.Repeat(strings.Repeat("loop local.get 1 local.set 2 ", 49)+strings.Repeat("local.get 3 br_if 0 end ", 49), 40) + "i64.const 0",
		"many blocks":    strings.Repeat("local.get 0 if end ", 20_000) + "i64.const 0",
	} {
		begin := time.Now()
		_, err := r.load(assembled(t, "", "export func stagepost_hook i32 -> i64\n"+code))
		if err == nil || time.Since(begin) > 10*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(begin))
		}
		t.Logf("%s: %v", name, err)
	}
	wasm, err := asm.Assemble("export func f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.load(append(wasm, make([]byte, 17<<20)...)); err == nil {
		t.Error("a module of 17 MiB")
	}
}

// TestCache: what was compiled is found again; what is damaged, of another, or unfinished is not run.
func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wasm-cache")
	wasm := assembled(t, "", quiet)
	load := func() []string {
		r := newRig(t, EngineOptions{Cache: dir})
		p, err := r.load(wasm)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		r.engine.Close()
		var files []string
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, path)
			}
			return nil
		})
		return files
	}
	files := load()
	if len(files) != 2 || files[1] != files[0]+sumFile {
		t.Fatalf("%q", files)
	}
	info, err := os.Stat(dir)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	code, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	stat, _ := os.Stat(files[0])
	if load(); !os.SameFile(stat, mustStat(t, files[0])) {
		t.Error("it was compiled again")
	}
	for name, damage := range map[string]func() error{
		"bytes changed": func() error {
			bad := append([]byte(nil), code...)
			bad[len(magicBytes)+10] ^= 0x40
			return os.WriteFile(files[0], bad, 0o600)
		},
		"cut off":     func() error { return os.WriteFile(files[0], code[:len(code)/2], 0o600) },
		"empty":       func() error { return os.WriteFile(files[0], nil, 0o600) },
		"no hash":     func() error { return os.Remove(files[0] + sumFile) },
		"a link":      func() error { os.Remove(files[0]); return os.Symlink("/dev/zero", files[0]) },
		"left behind": func() error { return os.WriteFile(files[0]+".123.tmp", code, 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if got := load(); fmt.Sprint(got) != fmt.Sprint(files) {
			t.Errorf("%s: %q", name, got)
		}
		if b, err := os.ReadFile(files[0]); err != nil || len(b) != len(code) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewEngine(EngineOptions{Cache: file}); err == nil {
		t.Error("a file is no folder")
	}
}

const magicBytes = "WAZEVO"

func mustStat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
