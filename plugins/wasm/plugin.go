package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/template"
)

// File is the name of a plugin's module in its folder, beside plugin.toml.
const File = "plugin.wasm"

// DefaultInstances are the instances of a plugin, so calls of it at once, unless the operator says otherwise.
const DefaultInstances = 16

// PluginOptions are what a plugin is loaded with.
type PluginOptions struct {
	Name      string // here, which [run.NAME] may have changed
	File      string // how messages call the module
	Wasm      []byte // the module, as it was read
	Manifest  *manifest.Manifest
	Settings  manifest.Settings
	Templates *template.Set
	Host      *service.Host
	Instances int         // at once; 0 = 16
	Turns     *pool.Turns // of the server; nil: calls do not wait for each other
	Engine    *Engine     // nil: one of its own, for a plugin that is tried alone
}

// Plugin is a loaded plugin: its handlers run in pooled instances. It is safe for concurrent use.
type Plugin struct {
	PluginOptions
	module *module
	own    *Engine // to close with the plugin
	pool   *pool.Pool[*instance]
	tables *tables
	funcs  map[string]*service.Func
	begun  time.Time
	done   sync.Once
}

// Load compiles the module and lets one instance begin, as a trial. A stage is asked when the manifest has hook.STAGE.
func Load(o PluginOptions) (*Plugin, error) {
	tables, err := newTables()
	if err != nil {
		return nil, err
	}
	p := &Plugin{PluginOptions: o, tables: tables, funcs: funcs(), begun: time.Now()}
	if len(o.Manifest.Hooks) == 0 {
		return nil, fmt.Errorf("%s: the plugin has no hooks; name each stage that it handles, as in [hook.rcpt]", o.Manifest.Pos())
	}
	if p.Engine == nil {
		own, err := NewEngine(EngineOptions{})
		if err != nil {
			return nil, err
		}
		p.Engine, p.own = own, own
	}
	if p.module, err = p.Engine.open(o.Wasm); err != nil {
		p.closeEngine()
		return nil, &Error{File: o.File, Message: err.Error()}
	}
	if p.Instances <= 0 {
		p.Instances = DefaultInstances
	}
	p.pool = pool.New(pool.Options[*instance]{Instances: p.Instances, Make: p.begin, Close: (*instance).close})
	in, err := p.pool.Get(context.Background())
	if err != nil {
		p.Close()
		return nil, err
	}
	p.put(in)
	return p, nil
}

// Pos is file:line where the manifest names a stage, "" if it does not.
func (p *Plugin) Pos(s hooks.Stage) string {
	h, ok := p.Manifest.Hooks[s]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s:%d", p.Manifest.File, h.Line)
}

// Handlers are the plugin's handlers by stage.
func (p *Plugin) Handlers() map[hooks.Stage]hooks.Handler {
	m := make(map[hooks.Stage]hooks.Handler, len(p.Manifest.Hooks))
	for s := range p.Manifest.Hooks {
		m[s] = hooks.HandlerFunc(p.handle)
	}
	return m
}

func (p *Plugin) handle(c *hooks.Call) (*hooks.Verdict, error) {
	in, err := p.pool.Get(pool.ContextOf(c))
	if err != nil {
		return nil, err
	}
	v, err := in.handle(c)
	p.put(in)
	return v, err
}

func (p *Plugin) put(in *instance) { p.pool.Put(in, in.spent, in.turn.Began()) }

// begin makes an instance, which has a time of its own where the call has more.
func (p *Plugin) begin(deadline time.Time) (*instance, error) {
	before := time.Now().Add(loadTime)
	if !deadline.IsZero() && deadline.Before(before) {
		before = deadline
	}
	return newInstance(p, before)
}

// Close lets the instances go; calls that run end first.
func (p *Plugin) Close() {
	p.done.Do(func() {
		p.pool.Close()
		p.module.release()
		p.closeEngine()
	})
}

func (p *Plugin) closeEngine() {
	if p.own != nil {
		p.own.Close()
	}
}

// Trim closes instances that were not needed for a minute; it is to be called now and then.
func (p *Plugin) Trim() { p.pool.Trim() }

// Stats counts what the plugin's instances did.
func (p *Plugin) Stats() pool.Stats { return p.pool.Stats() }

var errNoManifest = errors.New("there is no plugin.toml; a plugin in WebAssembly needs one, with id, version and a [hook.STAGE] for each stage")

// Open reads the manifest of a plugin in WebAssembly. path is how messages call a file of the plugin.
func Open(texts map[string][]byte, path func(file string) string) (*manifest.Manifest, error) {
	toml, ok := texts["plugin.toml"]
	if !ok {
		return nil, fmt.Errorf("%s: %w", path(File), errNoManifest)
	}
	return manifest.FromTOML(path("plugin.toml"), toml)
}
