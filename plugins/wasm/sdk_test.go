package wasm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/sdk"
)

// sdkLanguages are those of the plugins of these tests; that in Go is tested in goguest_test.go.
func sdkLanguages() []sdk.Language {
	return slices.DeleteFunc(sdk.Languages(), func(l sdk.Language) bool { return l.Name == "go" })
}

// sdkGuest compiles the plugin of these tests with an SDK.
func sdkGuest(t testing.TB, l sdk.Language) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "sdk", l.Name))); err != nil {
		t.Fatal(err)
	}
	err := l.Compile(t.Context(), filepath.Join("..", "..", "sdk", l.Name, "build.sh"), dir)
	if missing := (*sdk.Missing)(nil); errors.As(err, &missing) {
		t.Skip("left out: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// asked loads the plugin with its setting.
func (r *rig) asked(wasm []byte, word string) *Plugin {
	r.t.Helper()
	man, err := manifest.FromTOML("plugins/p/plugin.toml", []byte("id = \"p\"\napi = 0\nconfig.word = { type = \"string\" }\n[hook.connect]\n[hook.helo]\n[hook.mail]\n"))
	if err != nil {
		r.t.Fatal(err)
	}
	set, err := man.Configure(map[string]any{"word": word}, func(string) string { return "" })
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := Load(PluginOptions{Name: "p", File: "plugins/p/plugin.wasm", Wasm: wasm, Manifest: man, Settings: set, Host: r.host, Instances: 2, Engine: r.engine})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Close)
	return p
}

// TestSDKErrors: what goes wrong in a plugin's code is told as its author wrote it, with the place of a panic; the plugin answers by
// on_error, and the next call finds a good instance.
func TestSDKErrors(t *testing.T) {
	for _, l := range sdkLanguages() {
		t.Run(l.Name, func(t *testing.T) {
			wasm := sdkGuest(t, l)
			r := newRig(t, EngineOptions{})
			for _, tt := range []struct {
				word  string
				stage hooks.Stage
				want  map[string]string // by language; "" for all; "next" when nothing is wrong
				kept  bool              // the instance
			}{
				{"panic", hooks.Connect, map[string]string{"c": "before that: plugin.c:13: no such thing", "rust": "before that: src/lib.rs:32: no such thing"}, false},
				{"fail", hooks.Connect, map[string]string{"": "connect gave up (-5): cannot tell 7 of s1"}, true},
				{"refused", hooks.Connect, map[string]string{"c": "connect gave up (-5): addr.parse: text is missing", "rust": "connect gave up (-5): addr.within: "}, true},
				{"memory", hooks.Connect, map[string]string{"": "before that: out of memory"}, false},
				{"stack", hooks.Connect, map[string]string{"": "out of bounds memory access"}, false},
				{"arena", hooks.Connect, map[string]string{"": "next"}, true},
				{"", hooks.Helo, map[string]string{"": "next"}, true},
				{"", hooks.Mail, map[string]string{"": "plugin.toml has a hook for mail, and the code handles no such stage"}, true},
			} {
				p := r.asked(wasm, tt.word)
				g := generationOf(t, p, 10*time.Second)
				want := tt.want[l.Name] + tt.want[""]
				for range 3 {
					c, rec := testCall(t, tt.stage)
					g.Run(c)
					if got := rec.last(); got.Verdict != want && !strings.Contains(got.Detail, want) {
						t.Errorf("%q: %s %q, want %q", tt.word, got.Verdict, got.Detail, want)
					}
				}
				if dropped := p.Stats().Dropped; (dropped == 0) != tt.kept {
					t.Errorf("%q: %d instances were dropped", tt.word, dropped)
				}
			}
		})
	}
}

// BenchmarkSDK is one call of a hook that asks for one field, by language.
func BenchmarkSDK(b *testing.B) {
	for _, l := range sdkLanguages() {
		b.Run(l.Name, func(b *testing.B) {
			wasm := sdkGuest(b, l)
			r := newRig(b, EngineOptions{})
			p := r.asked(wasm, "")
			in, err := p.pool.Get(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			memory := in.mod.Memory().Size()
			p.put(in)
			g := generationOf(b, p, 10*time.Second)
			c, _ := testCall(b, hooks.Helo)
			c.Observer = nil
			b.ReportAllocs()
			for b.Loop() {
				g.Run(c)
			}
			b.ReportMetric(float64(len(wasm)), "bytes/module")
			b.ReportMetric(float64(memory>>10), "KiB/instance")
		})
	}
}
