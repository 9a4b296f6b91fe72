package wasm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// goGuest builds the plugin in Go.
func goGuest(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), File)
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, ".")
	cmd.Dir = "testdata/goguest"
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("the guest in Go cannot be built here: %v: %s", err, msg)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// TestGoGuest: a plugin written in Go, with its runtime, garbage collector and standard library, works within the bounds.
func TestGoGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("a module in Go is large: with the race detector it does not compile in time")
	}
	wasm := goGuest(t)
	r := newRig(t, EngineOptions{Cache: filepath.Join(t.TempDir(), "cache")})
	man, err := manifest.FromTOML("plugins/p/plugin.toml", []byte("id = \"p\"\napi = 0\nconfig.word = { type = \"string\", default = \"root\" }\n[hook.rcpt]\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := man.Configure(nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	load := func() *Plugin {
		begin := time.Now()
		p, err := Load(PluginOptions{Name: "p", File: File, Wasm: wasm, Manifest: man, Settings: set, Host: r.host, Engine: r.engine})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes loaded in %s", len(wasm), time.Since(begin).Round(time.Millisecond))
		return p
	}
	load().Close()
	p := load() // from the cache
	defer p.Close()
	in, err := p.pool.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("an instance has %d KiB and used %d of %d units to begin", in.mod.Memory().Size()>>10, loadFuel-in.rest-int64(in.fuel.Get()), int64(loadFuel))
	p.put(in)
	h := man.Hook(hooks.Rcpt, "p", config.Run{})
	h.Handler, h.Timeout = p.Handlers()[hooks.Rcpt], 10*time.Second
	g, err := hooks.NewGeneration(1, []*hooks.Hook{h}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		c, rec := testCall(t, hooks.Rcpt)
		want := "next"
		if i%2 == 1 {
			c.Rcpt.Address.Text, c.Rcpt.Address.Local = "root@example.org", "root"
			want = "reject 550 5.7.1"
		}
		g.Run(c)
		if got := rec.last(); got.Verdict != want {
			t.Fatalf("call %d: %+v, want %s", i, got, want)
		}
	}
	if s := p.Stats(); s.Created != 1 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(r.log.String(), "output: refused root") {
		t.Error("standard output is not in the log")
	}
}

// BenchmarkHook is one call of a hook, in a guest that asks for one field.
func BenchmarkHook(b *testing.B) {
	r := newRig(b, EngineOptions{})
	p := r.mustLoad(assembled(b, "", "export func stagepost_hook i32 -> i64\ni32.const 0 i32.const 0 i32.const 8 i32.const 1000 i32.const 200 call field drop i64.const 0"))
	g := generationOf(b, p, 10*time.Second)
	c, _ := testCall(b, hooks.Connect)
	c.Observer = nil
	b.ReportAllocs()
	for b.Loop() {
		g.Run(c)
	}
}
