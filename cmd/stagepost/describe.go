package main

import (
	"strings"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/generation"
)

// pluginsOf describes the plugins of a generation for the control interface.
func pluginsOf(status []generation.PluginStatus) []admin.Plugin {
	plugins := make([]admin.Plugin, len(status))
	for i, p := range status {
		plugins[i] = admin.Plugin{
			Name: p.Name, Version: p.Version, State: "live", Calls: p.Calls, Errors: p.Errors, Source: p.Source, From: p.From, Digest: p.Digest, Signer: p.Signer,
			Description: p.Description, Stages: append([]string{}, p.Stages...), Needs: p.Asked, Granted: p.Granted, Withheld: p.Withheld,
		}
		plugins[i].Facts = make([]admin.Fact, len(p.Facts))
		for j, f := range p.Facts {
			plugins[i].Facts[j] = admin.Fact{Name: f.Name, Type: string(f.Type), Values: f.Values, Of: string(f.Of), Doc: f.Doc}
		}
		describeCalls(&plugins[i], p.Hooks)
		plugins[i].Events = make(map[string]uint64, len(p.Events))
		for _, e := range p.Events {
			plugins[i].Events[e.Name] = e.Count
		}
	}
	return plugins
}

// describeCalls says what became of the calls of each hook, and in the state which are not made for now.
func describeCalls(p *admin.Plugin, all []generation.HookStatus) {
	var open []string
	p.Hooks = make([]admin.Calls, len(all))
	for i, h := range all {
		c := admin.Calls{Stage: h.Stage, Calls: h.Calls, Errors: h.Errors, Overran: map[string]uint64{}, Skipped: h.Skipped, Open: h.Open}
		for _, o := range breaker.Overruns() {
			c.Overran[o.String()] = h.Overran[o]
		}
		if h.Open {
			open = append(open, h.Stage)
			c.Why, c.Since = h.Why.Error(), &h.Since
		}
		p.Hooks[i] = c
	}
	if len(open) > 0 {
		p.State = "open at " + strings.Join(open, ", ")
	}
}

// orderOf describes the hooks of a generation in the order they are asked. chain gives those of one stage.
func orderOf(chain func(hooks.Stage) []*hooks.Hook) []admin.StageOrder {
	var order []admin.StageOrder
	for _, info := range hooks.Stages() {
		stage := admin.StageOrder{Stage: info.Name}
		for _, h := range chain(info.Stage) {
			stage.Hooks = append(stage.Hooks, admin.Hook{
				Plugin: h.Plugin, Order: h.Order, After: h.After, Before: h.Before, Reads: h.Reads, Sets: h.Sets, Background: h.Background,
				When: whenOf(&h.When), OnError: h.OnError.String(), Timeout: h.Timeout.String(), Pos: h.Pos,
			})
		}
		if len(stage.Hooks) > 0 {
			order = append(order, stage)
		}
	}
	return order
}

func whenOf(w *hooks.When) string {
	var parts []string
	if len(w.Roles) > 0 {
		roles := make([]string, len(w.Roles))
		for i, r := range w.Roles {
			roles[i] = string(r)
		}
		parts = append(parts, "role "+strings.Join(roles, ", "))
	}
	if len(w.Listeners) > 0 {
		parts = append(parts, "listener "+strings.Join(w.Listeners, ", "))
	}
	if w.User != nil {
		parts = append(parts, map[bool]string{true: "a user", false: "no user"}[*w.User])
	}
	return strings.Join(parts, "; ")
}
