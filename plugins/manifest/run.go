package manifest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// Apply puts what the operator wrote under [run.NAME] in the place of what the plugin declares. What the operator left out
// stays; a list takes the place of the whole list.
func (h HookSpec) Apply(run config.Run) HookSpec {
	if len(run.When.Role) > 0 {
		h.When.Roles = make([]message.Role, len(run.When.Role))
		for i, r := range run.When.Role {
			h.When.Roles[i] = message.Role(r)
		}
	}
	if len(run.When.Listener) > 0 {
		h.When.Listeners = run.When.Listener
	}
	if run.When.User != nil {
		h.When.User = run.When.User
	}
	if run.Order != nil {
		h.Order = *run.Order
	}
	if len(run.After) > 0 {
		h.After = run.After
	}
	if run.OnError != "" {
		h.OnError = onError(run.OnError)
	}
	if run.Timeout > 0 {
		h.Timeout = run.Timeout
	}
	if run.Every > 0 {
		h.Every = run.Every
	}
	return h
}

// Hook fills in a hook of the plugin, which runs under name, with the operator's changes; the zero Run has none. Handler and
// Place, and Pos where the handler's own is known, are left to the caller.
//
// A copy under another name owns the facts of that name, so its declarations are read as if they were written with it.
func (m *Manifest) Hook(stage hooks.Stage, name string, run config.Run) *hooks.Hook {
	spec, ok := m.Hooks[stage]
	if !ok {
		spec = DefaultHook()
	}
	spec = spec.Apply(run)
	h := &hooks.Hook{
		Plugin: name, Stage: stage, Needs: m.Granted,
		When: spec.When, Order: spec.Order, After: spec.After, Before: spec.Before,
		Reads: m.renamed(spec.Reads, name), Sets: m.renamed(spec.Sets, name), Facts: m.Facts, Background: spec.Background,
		OnError: spec.OnError, Timeout: spec.Timeout, Pos: m.Pos(),
	}
	if stage == hooks.Tick {
		h.Every = cmp.Or(spec.Every, DefaultEvery)
	}
	return h
}

func (m *Manifest) renamed(facts []string, name string) []string {
	if name == m.ID {
		return facts
	}
	facts = slices.Clone(facts)
	for i, f := range facts {
		if own, ok := strings.CutPrefix(f, m.ID); ok && (own == "" || own[0] == '.') {
			facts[i] = name + own
		}
	}
	return facts
}
