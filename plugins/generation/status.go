package generation

import (
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/pool"
	"github.com/stagepost/stagepost/plugins/service"
)

// PluginStatus is one plugin of the generation in force.
type PluginStatus struct {
	Name        string
	ID          string // of the code, which [run.NAME] may use under other names
	Version     string
	Description string
	Source      string // "plugins/vip.lua", "bundled/relay"
	From        string // "folder", "installed" or "bundled"
	Digest      string // of an installed one's package
	Signer      string // of an installed one: a key, or lock.Unsigned
	Stages      []string
	Asked       []string          // what its needs ask for, in the words of the manifest
	Granted     []string          // what of that it may do
	Withheld    []string          // what it asks for and may not do, or not all of it
	Facts       message.FactRules // that it declares, by full name
	Calls       uint64
	Errors      uint64
	Hooks       []HookStatus    // in the order of the stages
	Events      []service.Event // that it counted
}

// HookStatus is what became of the calls of one hook, as long as its plugin is not changed.
type HookStatus struct {
	Stage string
	breaker.State
}

// Status is what is in force and why the last change is not.
type Status struct {
	Generation uint64
	Since      time.Time
	Error      string // why the last change was refused
	Plugins    []PluginStatus
}

// Status tells what is in force.
func (m *Manager) Status() Status {
	st := m.state.Load()
	return Status{Generation: st.number, Since: st.since, Error: st.failure, Plugins: m.statuses(st.loaded)}
}

func (m *Manager) statuses(loaded []*shared) []PluginStatus {
	out := make([]PluginStatus, 0, len(loaded))
	for _, s := range loaded {
		p := PluginStatus{Name: s.name, ID: s.manifest.ID, Version: s.manifest.Version, Description: s.manifest.Description, Source: s.source.Label,
			Asked: manifest.Words(s.manifest.Needs), Facts: factsUnder(s.name, s.manifest.Facts), Events: m.opts.Host.Events(s.name)}
		p.From = s.source.From
		if l := s.source.Locked; l != nil {
			p.Digest, p.Signer = string(l.Digest), l.Signer
		}
		p.Granted, p.Withheld = s.manifest.GrantedWords()
		for _, h := range s.hooks {
			st := HookStatus{h.Stage.String(), h.Breaker.State()}
			p.Stages, p.Hooks = append(p.Stages, st.Stage), append(p.Hooks, st)
			p.Calls += st.Calls
			p.Errors += st.Errors
		}
		out = append(out, p)
	}
	return out
}

// PluginUse is what the plugins of the generation in force did.
type PluginUse struct {
	Name   string
	Hooks  []*hooks.Hook // with their Counts
	Pool   pool.Stats
	Events []service.Event
}

// Use tells what the plugins did.
func (m *Manager) Use() []PluginUse {
	st := m.state.Load()
	out := make([]PluginUse, 0, len(st.loaded))
	for _, s := range st.loaded {
		out = append(out, PluginUse{s.name, s.hooks, s.plugin.Stats(), m.opts.Host.Events(s.name)})
	}
	return out
}

// What a reload came to.
const (
	reloadLive = iota
	reloadRefused
	reloadUnchanged
)

// NewReloads makes the counters of reloads.
func NewReloads() *observe.Counters { return observe.NewCounters("live", "refused", "unchanged") }

// Reloads counts the reloads since the start, by what they came to.
func (m *Manager) Reloads() *observe.Counters { return m.reloads }

// Order is the hooks of a stage in the order they are asked.
func (m *Manager) Order(s hooks.Stage) []*hooks.Hook {
	gen := m.current.Acquire()
	defer gen.Release()
	return gen.Chain(s)
}

// Names lists the plugins in force.
func (m *Manager) Names() (names []string) {
	for _, s := range m.state.Load().loaded {
		names = append(names, s.name)
	}
	return names
}
