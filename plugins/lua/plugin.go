package lua

import (
	"context"
	"errors"
	"fmt"
	"maps"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/lua/direct"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/template"
)

// Files is a plugin as it was read: nothing is read from disk again.
type Files struct {
	Main  string                   // key of the plugin's own file in Texts
	Texts map[string][]byte        // by path in the plugin, with slashes
	Path  func(file string) string // how messages call a file
}

// Open compiles a plugin's files and reads its manifest, from plugin.toml if there is one, else from the header in its own
// file. Nothing of it runs.
func Open(f Files) (*manifest.Manifest, *Image, error) {
	name := f.Path(f.Main)
	read, err := api.New()
	if err != nil {
		return nil, nil, err
	}
	chunk, err := Parse(Source{Name: name, Text: f.Texts[f.Main]})
	if err != nil {
		return nil, nil, err
	}
	var man *manifest.Manifest
	toml, ok := f.Texts["plugin.toml"]
	switch {
	case ok && chunk.Header != nil:
		return nil, nil, fmt.Errorf("%s:%d: the plugin has a header here and a plugin.toml; keep one of them", name, chunk.Header.Line())
	case ok:
		man, err = manifest.FromTOML(f.Path("plugin.toml"), toml)
	case chunk.Header == nil:
		return nil, nil, fmt.Errorf(`%s:1: the file does not begin with plugin { id = "...", version = "1.0.0", api = 0 }`, name)
	default:
		man, err = manifest.FromLua(name, chunk.Header)
	}
	if err != nil {
		return nil, nil, err
	}
	simple := translations(chunk.Stmts, read) // compiling consumes them
	main, err := compileFor(chunk, man.Needs)
	if err != nil {
		return nil, nil, err
	}
	main.direct = simple
	tokens := chunk.tokens
	image, err := Link(main, func(module string) (*Program, error) {
		text, ok := f.Texts[module+".lua"]
		if !ok {
			return nil, fmt.Errorf("there is no %s", f.Path(module+".lua"))
		}
		chunk, err := Parse(Source{Name: f.Path(module + ".lua"), Text: text})
		if err != nil {
			return nil, err
		}
		if tokens += chunk.tokens; tokens > maxAllTokens {
			return nil, &Error{File: chunk.Name, Line: 1, Message: fmt.Sprintf("the plugin is too long: more than %s words and signs in its files up to this one", count(maxAllTokens))}
		}
		return compileFor(chunk, man.Needs)
	})
	if err != nil {
		return nil, nil, err
	}
	return man, image, nil
}

// PluginOptions are what a plugin is loaded with.
type PluginOptions struct {
	Name      string // here, which [run.NAME] may have changed
	Image     *Image
	Manifest  *manifest.Manifest
	Settings  manifest.Settings
	Templates *template.Set
	Host      *service.Host
	Instances int         // at once; 0 = 256
	Turns     *pool.Turns // of the server; nil: calls do not wait for each other
}

// Plugin is a loaded plugin: its handlers run in pooled instances. It is safe for concurrent use.
type Plugin struct {
	PluginOptions
	pool   *pool.Pool[*Instance]
	types  *types
	places map[hooks.Stage]string
	runner *direct.Runner
	direct map[hooks.Stage]*direct.Func // handlers that need no instance
}

// Load runs the plugin's main chunk once, as a trial, and finds its handlers. Errors have file and line.
func Load(o PluginOptions) (*Plugin, error) {
	read, err := api.New()
	if err != nil {
		return nil, err
	}
	p := &Plugin{PluginOptions: o, types: newTypes(read), places: map[hooks.Stage]string{}, direct: map[hooks.Stage]*direct.Func{}}
	var errs []error
	for _, h := range o.Image.Main().Handlers {
		stage, ok := hooks.StageByName(h.Name)
		if !ok {
			errs = append(errs, &Error{File: o.Image.Main().Name, Line: h.Line, Message: manifest.Unknown("stage", h.Name, " in on", stageNames())})
			continue
		}
		p.places[stage] = fmt.Sprintf("%s:%d", o.Image.Main().Name, h.Line)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p.pool = newPool(o.Image, o.Instances, o.Host.Now, Options{Setup: p.bind, Turns: o.Turns})
	in, err := p.pool.Get(context.Background())
	if err != nil {
		return nil, err
	}
	defer p.put(in)
	b := in.host.(*binding)
	if err := b.findHandlers(); err != nil {
		in.Close()
		return nil, err
	}
	p.findDirect(b, read)
	return p, nil
}

func stageNames() []string {
	var names []string
	for _, s := range hooks.Stages() {
		names = append(names, s.Name)
	}
	return names
}

// Pos is file:line of the handler of a stage, "" if the plugin has none.
func (p *Plugin) Pos(s hooks.Stage) string { return p.places[s] }

// Handlers are the plugin's handlers by stage.
func (p *Plugin) Handlers() map[hooks.Stage]hooks.Handler {
	m := make(map[hooks.Stage]hooks.Handler, len(p.places))
	for s := range p.places {
		m[s] = &stageHandler{p, s, p.direct[s]}
	}
	return m
}

// Close lets the instances go; calls that run end first.
func (p *Plugin) Close() { p.pool.Close() }

// Trim closes instances that were not needed for a minute; it is to be called now and then.
func (p *Plugin) Trim() { p.pool.Trim() }

// put gives an instance back.
func (p *Plugin) put(in *Instance) { p.pool.Put(in, in.spent, in.budget.limits.Start) }

// Stats counts what the plugin's instances did.
func (p *Plugin) Stats() pool.Stats { return p.pool.Stats() }

type stageHandler struct {
	plugin *Plugin
	stage  hooks.Stage
	direct *direct.Func // may be nil
}

// Handle implements hooks.Handler.
func (h *stageHandler) Handle(c *hooks.Call) (*hooks.Verdict, error) {
	if h.direct != nil {
		if v, ok := h.plugin.runner.Run(h.direct, c); ok {
			return v, nil
		}
	}
	in, err := h.plugin.pool.Get(pool.ContextOf(c))
	if err != nil {
		return nil, err
	}
	b := in.host.(*binding)
	v, err := b.handle(c, h.stage)
	h.plugin.put(in)
	return v, err
}

// binding is what an instance knows of its plugin and of the call that runs in it.
type binding struct {
	plugin   *Plugin
	in       *Instance
	services *service.Context
	on       *glua.LTable
	handlers [16]*glua.LFunction // by stage; found on first use
	call     *hooks.Call
	waits    func() // gives up the turn
	limits   Limits
	wraps    []wrap // those in use come first
	used     int
	index    map[wrapped]*glua.LUserData // of the wrappers in use, once there are more than a few
	lists    map[listKey]*glua.LTable    // that this call asked for
	read     int64                       // bytes of content that extended the budgets in this call
}

// bind puts the host's globals into a new instance.
func (p *Plugin) bind(in *Instance) error {
	b := &binding{plugin: p, in: in, waits: in.budget.turn.End}
	b.services = p.context(in.budget.spend)
	in.host = b
	L := in.State()
	b.on = in.NewTable(L, 0, 4)
	in.SetGlobal("on", b.on)
	config, err := b.toLua(L, map[string]any(p.Settings))
	if err != nil {
		return err
	}
	for i := range p.Manifest.Config {
		s := &p.Manifest.Config[i]
		if _, ok := s.Lookup(p.Settings[s.Name]); ok {
			config.(*glua.LTable).RawSetString(s.Name, p.types.lookup.New(s.Name))
		}
	}
	in.SetGlobal("config", config)
	in.Freeze(config.(*glua.LTable))
	for name, fn := range p.types.globals {
		in.SetGlobal(name, fn)
		if t, ok := fn.(*glua.LTable); ok {
			in.Freeze(t)
		}
	}
	return nil
}

// context makes a context of services.
func (p *Plugin) context(charge func(steps, bytes int) error) *service.Context {
	c := p.Host.Context(p.Name, p.Manifest.Granted, charge)
	c.Settings, c.Templates = p.Settings, p.Templates
	return c
}

// settings are the plugin's settings with another value for those that are lookups.
func (p *Plugin) settings(lookup any) map[string]any {
	out := maps.Clone(map[string]any(p.Settings))
	for i := range p.Manifest.Config {
		s := &p.Manifest.Config[i]
		if _, ok := s.Lookup(p.Settings[s.Name]); ok {
			out[s.Name] = lookup
		}
	}
	return out
}

// hostGlobals are the names that plugins may use besides Lua's own.
func hostGlobals() map[string]bool {
	names := map[string]bool{"on": true, "config": true}
	for _, k := range hooks.Verdicts() {
		if k.Kind != hooks.Next {
			names[k.Name] = true
		}
	}
	for _, s := range service.Services() {
		names[s.Name] = true
	}
	return names
}

// findHandlers checks that what the main chunk left in `on` are functions.
func (b *binding) findHandlers() error {
	for s := range b.plugin.places {
		if b.handler(s) == nil {
			return fmt.Errorf("%s: on.%s is not a function", b.plugin.places[s], s)
		}
	}
	return nil
}

func (b *binding) handler(s hooks.Stage) *glua.LFunction {
	if b.handlers[s] == nil {
		b.handlers[s], _ = b.on.RawGetString(s.String()).(*glua.LFunction)
	}
	return b.handlers[s]
}

// handle runs one handler.
func (b *binding) handle(c *hooks.Call, s hooks.Stage) (*hooks.Verdict, error) {
	fn := b.handler(s)
	if fn == nil {
		b.in.Close()
		return nil, fmt.Errorf("%s: on.%s is not a function this time: set it in the main chunk, always", b.plugin.places[s], s)
	}
	timeout := c.Hook().Timeout
	b.call, b.read = c, 0
	b.limits = Limits{Start: c.Deadline().Add(-timeout), Time: timeout}
	if m := c.Message; m != nil && m.Content != nil && b.plugin.Manifest.Granted.Read == capability.ReadBody {
		b.limits.Extra = perByte * m.Content.Size()
	}
	c.Waits = b.waits
	b.services.Begin(c)
	v, err := b.in.Call(fn, &b.limits, b.object(c.Object()))
	var out *hooks.Verdict
	if err == nil {
		out, err = b.result(v, s)
	}
	b.services.Begin(nil)
	b.endWraps()
	b.call, c.Waits = nil, nil
	return out, err
}

// result reads what a handler returned.
func (b *binding) result(v glua.LValue, s hooks.Stage) (*hooks.Verdict, error) {
	if v == glua.LNil {
		return nil, nil
	}
	if o, ok := b.plugin.types.verdict.Of(v); ok {
		return o.(*hooks.Verdict), nil
	}
	hint := ""
	if s, ok := v.(glua.LString); ok {
		if near := config.Nearest(string(s), verdictNames()); near != "" {
			hint = fmt.Sprintf("; for the verdict write %s without quotes around it", near)
		}
	}
	return nil, fmt.Errorf("%s: on.%s returned a %s; a handler returns nothing, or one verdict such as reject \"why\"%s", b.plugin.places[s], s, v.Type(), hint)
}

func verdictNames() []string {
	var names []string
	for _, k := range hooks.Verdicts() {
		names = append(names, k.Name)
	}
	return names
}

// spend charges without raising: the caller reports the error.
func (b *Budget) spend(steps, bytes int) error {
	b.left -= int64(steps)
	if b.left < 0 {
		b.rest += b.left + 1
		if b.look() != nil {
			return b.cause
		}
	}
	if (int64(bytes) > b.bytes || bytes < 0) && !b.afford(bytes) {
		return b.cause
	}
	b.bytes -= int64(bytes)
	return nil
}
