package wasm

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/template"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// assembled is a plugin that loads, with these lines; imports are more of them.
func assembled(t testing.TB, imports, text string) []byte {
	t.Helper()
	if imports != "" {
		text = imports + "\n" + text
	}
	wasm, err := asm.Plugin(text)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// data is a line that puts a value as CBOR into the memory, and its length.
func data(t testing.TB, at int, v any) (line string, n int) {
	t.Helper()
	raw, err := message.EncodeValue(v)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("data %d %q\n", at, raw), len(raw)
}

const testManifest = `
id = "p"
version = "1.0.0"
api = 0
description = "test"
needs = { kv = "own", read = "body", edit = ["headers", "sender", "rcpts", "body"], relay = true, route = ["mx", "*:25"] }
config.word = { type = "string", default = "hello" }
config.boxes = { type = "map", default = { a = "b" } }
[hook.connect]
[hook.rcpt]
[hook.data]
on_error = "reject"
[hook.deliver]
`

type rig struct {
	t      testing.TB
	log    bytes.Buffer
	engine *Engine
	host   *service.Host
	many   bool // instances
	turns  *pool.Turns
}

func newRig(t testing.TB, o EngineOptions) *rig {
	t.Helper()
	r := &rig{t: t, turns: pool.NewTurns()}
	log := slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Log = log
	var err error
	if r.engine, err = NewEngine(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.engine.Close)
	kv, err := service.OpenStore(service.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kv.Close() })
	r.host = service.NewHost(service.Options{Log: log, KV: kv})
	return r
}

func (r *rig) load(wasm []byte) (*Plugin, error) {
	man, err := manifest.FromTOML("plugins/p/plugin.toml", []byte(testManifest))
	if err != nil {
		r.t.Fatal(err)
	}
	set, err := man.Configure(nil, func(string) string { return "" })
	if err != nil {
		r.t.Fatal(err)
	}
	templates, err := template.Parse(map[string][]byte{"templates/a.txt": []byte("Dear {{name}}")}, func(f string) string { return f })
	if err != nil {
		r.t.Fatal(err)
	}
	return Load(PluginOptions{Name: "p", Templates: templates, File: "plugins/p/plugin.wasm", Wasm: wasm, Manifest: man, Settings: set, Host: r.host, Instances: r.instances(), Turns: r.turns, Engine: r.engine})
}

func (r *rig) mustLoad(wasm []byte) *Plugin {
	r.t.Helper()
	p, err := r.load(wasm)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Close)
	return p
}

// generationOf puts the plugin's hooks in a generation.
func generationOf(t testing.TB, p *Plugin, timeout time.Duration) *hooks.Generation {
	t.Helper()
	var all []*hooks.Hook
	for s, h := range p.Handlers() {
		hk := p.Manifest.Hook(s, p.Name, config.Run{})
		hk.Handler, hk.Timeout = h, timeout
		all = append(all, hk)
	}
	g, err := hooks.NewGeneration(1, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type recorder struct{ steps []observe.Step }

func (r *recorder) Observe(s observe.Step) { r.steps = append(r.steps, s) }

func (r *recorder) last() observe.Step { return r.steps[len(r.steps)-1] }

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
	sess := &message.Session{ID: "s1", Role: message.RoleMX, Listener: "mx", Helo: "client.example", Groups: []string{"a", "b"}}
	c := &hooks.Call{Stage: s, Session: sess, Observer: rec}
	if s.Scope() == hooks.ScopeSession {
		return c, rec
	}
	env := &message.Envelope{Session: sess, Sender: addr("User@A.Example"), Params: []smtp.Param{{Key: "SIZE", Value: "10"}}}
	env.Rcpts = []*message.Rcpt{{Address: addr("u@example.org"), Original: addr("u@example.org")}, {Address: addr("v@example.net"), Original: addr("v@example.net")}}
	c.Message = &hooks.MessageView{Envelope: env}
	if s >= hooks.Data {
		c.Message.Content = memory("Subject: one\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody\r\n")
	}
	switch s.Scope() {
	case hooks.ScopeRcpt:
		c.Rcpt = &hooks.RcptView{Rcpt: env.Rcpts[0], Message: c.Message}
	case hooks.ScopeDelivery:
		c.Delivery = &hooks.DeliveryView{Message: c.Message, Plan: &message.Plan{Via: "p"}, Number: 2,
			Rcpts: []*hooks.RcptView{{Rcpt: env.Rcpts[0], Message: c.Message}, {Rcpt: env.Rcpts[1], Message: c.Message, Index: 1}}}
	}
	return c, rec
}

func (r *rig) instances() int {
	if r.many {
		return 0 // the default
	}
	return 2
}
