// Package conformance runs one table of cases against each runtime and SDK: the same input must come to the same verdict, facts, edits, log and
// results of services.
//
// There is one plugin in each language, in testdata. All do what the setting "case" says, by the same words: read the fields of an object,
// answer with a verdict, edit, call a service. What they reach by name, such as each function of each service, scripts/generate writes from the
// declarations, so that the plugins need no change when something is added. What is added needs a case here: TestEverythingHasACase names it.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/lookup"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/template"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// plugin is a loaded plugin of either engine.
type plugin interface {
	Handlers() map[hooks.Stage]hooks.Handler
	Pos(hooks.Stage) string
	Close()
}

// language is one way of writing plugins. load makes the plugin with its settings.
type language struct {
	name string
	load func(man *manifest.Manifest, set manifest.Settings, host *service.Host) (plugin, error)
}

// languages are those whose plugin could be built here.
func languages(t *testing.T) []language {
	all := []language{{"Lua", loadLua(t)}}
	for _, l := range []struct{ name, folder string }{{"Go", "go"}, {"Rust", "rust"}, {"C", "c"}} {
		folder := filepath.Join("testdata", l.folder)
		if l.folder == "go" && testing.Short() {
			t.Log("Go is left out: its module is large, and with the race detector does not compile in time")
			continue
		}
		if _, err := os.Stat(folder); err != nil {
			continue
		}
		module, err := build(t, folder)
		if err != nil {
			t.Logf("%s is left out: %v", l.name, err)
			continue
		}
		all = append(all, language{l.name, loadWasm(t, module)})
	}
	return all
}

// build makes the module of a folder, by its program build if it has one, else by Go.
func build(t testing.TB, folder string) ([]byte, error) {
	out := filepath.Join(t.TempDir(), wasm.File)
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if _, err := os.Stat(filepath.Join(folder, "build")); err == nil {
		cmd = exec.Command("sh", "./build", out)
	}
	cmd.Dir = folder
	if msg, err := cmd.CombinedOutput(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != 77 { // 77: there is no compiler for it
			t.Errorf("%s does not build: %s", folder, msg)
		}
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(msg))
	}
	return os.ReadFile(out)
}

func readFile(t testing.TB, name string) []byte {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func loadLua(t *testing.T) func(*manifest.Manifest, manifest.Settings, *service.Host) (plugin, error) {
	texts := map[string][]byte{}
	for _, f := range []string{"init.lua", "lib/dispatch.lua"} {
		texts[f] = readFile(t, "lua/"+f)
	}
	texts["plugin.toml"] = readFile(t, "plugin.toml")
	_, image, err := lua.Open(lua.Files{Main: "init.lua", Texts: texts, Path: func(f string) string { return "p/" + f }})
	if err != nil {
		t.Fatal(err)
	}
	return func(man *manifest.Manifest, set manifest.Settings, host *service.Host) (plugin, error) {
		return lua.Load(lua.PluginOptions{Name: "p", Image: image, Manifest: man, Settings: set, Templates: templates(t), Host: host})
	}
}

// templates are those of the plugins.
func templates(t testing.TB) *template.Set {
	set, err := template.Parse(map[string][]byte{"templates/hello.html": []byte("Dear {{name}},{{#things}} {{.}}{{/things}}")}, func(f string) string { return f })
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func loadWasm(t testing.TB, module []byte) func(*manifest.Manifest, manifest.Settings, *service.Host) (plugin, error) {
	engine, err := wasm.NewEngine(wasm.EngineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	man, set := configured(t, nil)
	load := func(man *manifest.Manifest, set manifest.Settings, host *service.Host) (plugin, error) {
		return wasm.Load(wasm.PluginOptions{Name: "p", File: "p/" + wasm.File, Wasm: module, Manifest: man, Settings: set, Templates: templates(t), Host: host, Engine: engine})
	}
	kept, err := load(man, set, service.NewHost(service.Options{})) // so that the module is compiled once
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kept.Close)
	return load
}

// configured is the manifest, with a case as the setting.
func configured(t testing.TB, of map[string]any) (*manifest.Manifest, manifest.Settings) {
	t.Helper()
	man, err := manifest.FromTOML("p/plugin.toml", readFile(t, "plugin.toml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if of != nil {
		values["case"] = of
	}
	set, err := man.Configure(values, func(string) string { return "stagepost.toml:1" })
	if err != nil {
		t.Fatal(err)
	}
	return man, set
}

// record is what a plugin did in a call.
type record struct {
	step observe.Step
	log  []line
}

type line struct {
	level, text string
	data        map[string]any
}

func (r *record) Observe(s observe.Step) { r.step = s }

// capture is a log that keeps the plugin's lines.
type capture struct {
	mu  sync.Mutex
	rec *record
}

func (c *capture) Enabled(context.Context, slog.Level) bool { return true }
func (c *capture) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *capture) WithGroup(string) slog.Handler            { return c }
func (c *capture) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := line{level: strings.ToLower(r.Level.String()), text: r.Message, data: map[string]any{}}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "data" {
			for _, v := range a.Value.Group() {
				l.data[v.Key] = v.Value.Any()
			}
		}
		return true
	})
	c.rec.log = append(c.rec.log, l)
	return nil
}

// names answers questions about the DNS.
type names struct{}

func (names) Lookup(_ context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if name == "fails.example" {
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t}
	}
	return resolve.Answer{Name: name, Status: resolve.NoData}, nil
}

// users is a table of the operator's.
type users struct{}

func (users) Get(key string, _ lookup.Spend) (any, error) {
	if key == "alice" {
		return "here", nil
	}
	return nil, nil
}

// outbox takes parcels, and has all mail.
type outbox struct{}

func (outbox) Once(context.Context, string, string, func() (store.ID, error)) (store.ID, error) {
	return store.ID{8}, nil // it is queued already
}

func (outbox) Parcel(context.Context, message.Injected, any) (store.ID, error) {
	return store.ID{7}, nil
}

// shaper takes measures; those about tenants are none.
type shaper struct{}

func (shaper) Measure(m queue.Measure) (bool, error) { return m.Tenant == "", nil }
func (shaper) KeepMeasures([]string)                 {}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 500_000_000, time.UTC)

// run loads the plugin with a case and asks it once.
func run(t *testing.T, l language, c *testCase) (*hooks.Call, *record, error) {
	t.Helper()
	man, set := configured(t, c.do)
	kv, err := service.OpenStore(service.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	if err := kv.Set("p", "there", map[string]any{"a": int64(1)}, time.Hour); err != nil {
		t.Fatal(err)
	}
	rec := &record{}
	host := service.NewHost(service.Options{Log: slog.New(&capture{rec: rec}), KV: kv, Resolver: names{}, Secrets: outside{}, Fetch: outside{}, Connect: outside{}.connect, Now: func() time.Time { return noon }})
	host.UseLookups(map[string]service.Lookup{"users": users{}})
	host.Outbox(&service.Outbox{Queue: outbox{}})
	host.Shaper(shaper{})
	p, err := l.load(man, set, host)
	if err != nil {
		return nil, rec, err
	}
	defer p.Close()
	h := man.Hook(c.stage, "p", config.Run{})
	h.Facts = c.rules
	h.Handler, h.Pos, h.Timeout = p.Handlers()[c.stage], p.Pos(c.stage), time.Minute
	if h.Background = c.behind; c.behind {
		h.Sets = []string{"p", "shared"}
	}
	g, err := hooks.NewGeneration(1, []*hooks.Hook{h}, nil)
	if err != nil {
		t.Fatal(err)
	}
	call := input(t, c.stage, c.bare)
	call.Observer = rec
	if c.stage == hooks.Deliver {
		g.RunPlugin(call, "p")
	} else {
		g.Run(call)
	}
	if c.behind { // it is over before queue
		call.Stage = hooks.Queue
		g.Run(call)
		call.Stage = c.stage
	}
	return call, rec, nil
}

// plain makes values comparable: what the log wrote as JSON is read again, numbers are of one type, and an empty list is an empty map.
func plain(v any) any {
	if s, ok := v.(string); ok && (strings.HasPrefix(s, "[") || strings.HasPrefix(s, "{")) {
		var inner any
		if json.Unmarshal([]byte(s), &inner) == nil {
			return plain(inner)
		}
	}
	switch v := v.(type) {
	case int64:
		return float64(v)
	case int:
		return float64(v)
	case []byte:
		return string(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = e
		}
		return out
	case map[string]any:
		if len(v) == 0 {
			return []any{}
		}
		out := make(map[string]any, len(v))
		for k, e := range v {
			if e != nil {
				out[k] = plain(e)
			}
		}
		return out
	}
	return v
}

func show(v any) string {
	b, err := json.Marshal(plain(v))
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// verdict is the record's verdict with its detail.
func (r *record) verdict() string {
	return strings.TrimSpace(r.step.Verdict + " " + r.step.Detail)
}

// got is what the plugin reported.
func (r *record) got() (any, bool) {
	i := slices.IndexFunc(r.log, func(l line) bool { return l.text == "got" })
	if i < 0 {
		return nil, false
	}
	return r.log[i].data["value"], true
}
