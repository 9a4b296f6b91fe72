package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
)

// File is the name of a plugin's module in its folder, beside plugin.toml.
const File = "plugin.wasm"

// PluginOptions are what a plugin is loaded with.
type PluginOptions struct {
	Name      string // here, which [run.NAME] may have changed
	File      string // how messages call the module
	Wasm      []byte // the module, as it was read
	Manifest  *manifest.Manifest
	Settings  manifest.Settings
	Host      *service.Host
	Instances int     // at once; 0 = 16
	Engine    *Engine // nil: one of its own, for a plugin that is tried alone
}

// Plugin is a loaded plugin: its handlers run in pooled instances. It is safe for concurrent use.
type Plugin struct {
	PluginOptions
	module *module
	own    *Engine // to close with the plugin
	pool   *pool
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
	p.pool = newPool(o.Instances, func(before time.Time) (*instance, error) { return newInstance(p, before) })
	in, err := p.pool.get(context.Background())
	if err != nil {
		p.Close()
		return nil, err
	}
	p.pool.put(in, false)
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
	in, err := p.pool.get((*lazyContext)(c))
	if err != nil {
		return nil, err
	}
	v, err := in.handle(c)
	p.pool.put(in, in.spent)
	return v, err
}

// lazyContext is a call's context that is made only when somebody waits on it.
type lazyContext hooks.Call

func (l *lazyContext) context() context.Context { return (*hooks.Call)(l).Context() }

func (l *lazyContext) Deadline() (time.Time, bool) { return (*hooks.Call)(l).Deadline(), true }
func (l *lazyContext) Done() <-chan struct{}       { return l.context().Done() }
func (l *lazyContext) Err() error                  { return l.context().Err() }
func (l *lazyContext) Value(k any) any             { return l.context().Value(k) }

// Close lets the instances go; calls that run end first.
func (p *Plugin) Close() {
	p.done.Do(func() {
		p.pool.drop(func(*instance) bool { return true }, true)
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
func (p *Plugin) Trim() {
	p.pool.drop(func(in *instance) bool { return time.Since(in.parked) > idleTime }, false)
}

// Stats counts what the plugin's instances did.
func (p *Plugin) Stats() Stats { return p.pool.count() }

var errNoManifest = errors.New("there is no plugin.toml; a plugin in WebAssembly needs one, with id, version and a [hook.STAGE] for each stage")

// Open reads the manifest of a plugin in WebAssembly. path is how messages call a file of the plugin.
func Open(texts map[string][]byte, path func(file string) string) (*manifest.Manifest, error) {
	toml, ok := texts["plugin.toml"]
	if !ok {
		return nil, fmt.Errorf("%s: %w", path(File), errNoManifest)
	}
	return manifest.FromTOML(path("plugin.toml"), toml)
}
