package service

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

const shapeSteps = 40

// Shaper takes measures about mail in the queue; *queue.Queue is one.
type Shaper interface {
	Measure(m queue.Measure) (fresh bool, err error)
	KeepMeasures(plugins []string)
}

// Shaper says who takes measures from now on; until then shape fails.
func (h *Host) Shaper(s Shaper) { h.shaper.Store(&s) }

// Keys of the tables that shape takes.
var (
	scopeKeys = []string{"site", "source", "next_hop", "tenant", "time", "reason", "rule"}
	slowKeys  = append([]string{"rate", "concurrency", "connection_messages"}, scopeKeys...)
	turnKeys  = append([]string{"to"}, scopeKeys...)
	toKeys    = []string{"source", "via", "hosts", "mx"}
)

func shapeService() Service {
	const whose = "It is about what the table names, and all that it names must be so: `site`, with `source` only what is sent from there, or `next_hop` (as rcpt.site, rcpt.source and rcpt.next_hop name them), `tenant`. " +
		"`time` is how many seconds it lasts, from 1 to 7 days; `reason` and `rule` are for people, up to 200 bytes each. "
	return Service{Name: "shape", Doc: "Measures about a part of the mail in the queue, for a time: it is slowed down, suspended, or sent by another way. They act at once, whatever the handler answers, and end by themselves. " +
		"One that a plugin takes again for the same mail with the same `rule` takes the place of the former, and where nothing changes by it, it costs next to nothing, so a storm of deferrals may take it each time. " +
		"Of several the strictest counts, and the configuration's limits count, too. All plugins together have at most 1,000 measures in force; one more is an error. " +
		"Suspensions outlast a restart. `queue explain`, `queue suspend --list` and `queue shape --measures` show them, `queue resume` ends them, and so does a reload without the plugin.",
		Funcs: []Func{
			{
				Name: "shape.slow", Args: []Arg{{Name: "limits", Kind: Map}}, Result: "boolean", Needs: "shape", Form: "shape.slow{site | tenant, rate | concurrency | connection_messages, time[, source, reason, rule]}",
				Doc: "Lowers limits. " + whose + "`rate` is messages in a time, as in \"100/1h\"; `concurrency` attempts at once; `connection_messages` messages over one connection; one of the three at least. " +
					"With a tenant the limits count for his mail to each such site, beside those of the site. True where that is new.",
				Call: func(c *Context, args []any) (any, error) {
					return c.measure(queue.DoSlow, slowKeys, args[0].(map[string]any))
				},
			},
			{
				Name: "shape.suspend", Args: []Arg{{Name: "what", Kind: Map}}, Result: "boolean", Needs: "shape", Form: "shape.suspend{site | next_hop | tenant, time[, source, reason, rule]}",
				Doc: "Lets mail wait: it is not tried. " + whose + "True where that is new.",
				Call: func(c *Context, args []any) (any, error) {
					return c.measure(queue.DoSuspend, scopeKeys, args[0].(map[string]any))
				},
			},
			{
				Name: "shape.reroute", Args: []Arg{{Name: "what", Kind: Map}}, Result: "boolean", Needs: "shape", Form: "shape.reroute{site | next_hop | tenant, to = {source} | {hosts[, via]} | {mx} | {via}, time[, source, reason, rule]}",
				Doc: "Sends mail by another way than the plugins' routes say. " + whose + "`to` is a table of either `source`, a [source.NAME] to send from, or `hosts` (with `via`, \"smtp\" or \"lmtp\") or `mx` or, by `via` alone, a [transport.NAME], as in a route, for which `needs.route` counts, too. " +
					"That happens once to a message at each attempt, so measures never send it in a circle. True where that is new.",
				Call: func(c *Context, args []any) (any, error) {
					return c.measure(queue.DoReroute, turnKeys, args[0].(map[string]any))
				},
			},
		}}
}

// measure reads a measure, checks that it is granted, and takes it.
func (c *Context) measure(do string, known []string, m map[string]any) (any, error) {
	shaper := c.host.shaper.Load()
	if shaper == nil {
		return nil, errors.New("there is no queue yet")
	}
	if err := knownKeys(m, known); err != nil {
		return nil, err
	}
	if err := c.spend(shapeSteps, 0); err != nil {
		return nil, err
	}
	out := queue.Measure{Do: do, By: c.Plugin, Since: c.host.Now()}
	for _, k := range []struct {
		name string
		into *string
	}{{"site", &out.Site}, {"source", &out.Source}, {"next_hop", &out.Lane}, {"tenant", &out.Tenant}, {"reason", &out.Reason}, {"rule", &out.Rule}} {
		var err error
		if *k.into, err = textKey(m, k.name, false); err != nil {
			return nil, err
		}
	}
	if err := c.mayShape(&out); err != nil {
		return nil, err
	}
	last, ok := Number.accept(m["time"])
	if !ok {
		return nil, errors.New("time is missing, or no number of seconds")
	}
	if s := last.(float64); s >= 1 && s <= queue.MaxMeasureTime.Seconds() { // else it is refused as it is
		out.Until = out.Since.Add(time.Duration(s * float64(time.Second)))
	} else {
		return nil, fmt.Errorf("time is %g; it is from 1 to %g seconds", s, queue.MaxMeasureTime.Seconds())
	}
	var err error
	switch do {
	case queue.DoSlow:
		out.Limits, err = limitsOf(m)
	case queue.DoReroute:
		out.To, err = c.otherWay(m["to"])
	}
	if err != nil {
		return nil, err
	}
	return (*shaper).Measure(out)
}

func knownKeys(m map[string]any, known []string) error {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, k) {
			return errors.New(manifest.Unknown("key", k, "", known))
		}
	}
	return nil
}

// mayShape tells why a measure is about more than the plugin was granted.
func (c *Context) mayShape(m *queue.Measure) error {
	for _, n := range []struct{ kind, name string }{{queue.SuspendSite, m.Site}, {queue.SuspendNextHop, m.Lane}, {queue.SuspendTenant, m.Tenant}} {
		if n.name == "" {
			continue
		}
		if err := c.Needs.RefuseName("a measure about the "+n.kind+" "+n.name, "shape", capability.ShapeName(n.kind, n.name)); err != nil {
			return err
		}
	}
	return nil
}

func limitsOf(m map[string]any) (l queue.Limits, err error) {
	if text, err := textKey(m, "rate", false); err != nil {
		return l, err
	} else if text != "" {
		if count, per, ok := strings.Cut(text, "/"); ok && per != "" && (per[0] < '0' || per[0] > '9') { // as in the configuration: "100/h"
			text = count + "/1" + per
		}
		r, err := parseRate(text)
		if err != nil {
			return l, fmt.Errorf("rate: %w", err)
		}
		l.Rate = queue.Rate{N: int(r.count), Per: time.Duration(r.period) * time.Millisecond}
	}
	for _, k := range []struct {
		name string
		into *int
	}{{"concurrency", &l.Concurrency}, {"connection_messages", &l.ConnectionMessages}} {
		if m[k.name] == nil {
			continue
		}
		n, ok := Int.accept(m[k.name])
		if !ok || n.(int64) < 1 || n.(int64) > maxRateCount {
			return l, fmt.Errorf("%s: %v is not a whole number from 1 to %d", k.name, m[k.name], maxRateCount)
		}
		*k.into = int(n.(int64))
	}
	return l, nil
}

// otherWay reads where mail is sent instead.
func (c *Context) otherWay(v any) (*message.Plan, error) {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return nil, errors.New("to is missing; write to = { source = NAME }, { hosts = {HOST} }, { mx = DOMAIN } or { via = TRANSPORT }")
	}
	if err := knownKeys(m, toKeys); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	p := &message.Plan{}
	var err error
	for _, k := range []struct {
		name string
		into *string
	}{{"source", &p.Source}, {"via", &p.Via}, {"mx", &p.MX}} {
		if *k.into, err = textKey(m, k.name, false); err != nil {
			return nil, fmt.Errorf("to: %w", err)
		}
	}
	p.Transport = !message.IsProtocol(p.Via)
	hosts := m["hosts"]
	if text, ok := hosts.(string); ok {
		hosts = []any{text}
	}
	list, ok := hosts.([]any)
	for _, h := range list {
		text, is := h.(string)
		ok = ok && is
		p.Hosts = append(p.Hosts, text)
	}
	switch {
	case hosts != nil && !ok:
		return nil, errors.New("to: hosts is not a list of strings")
	case p.Via == message.ViaHTTP, slices.ContainsFunc(p.Hosts, message.IsURL):
		return nil, errors.New("to: a measure has no secret to sign requests with; name a [transport.NAME] of type https in via")
	case p.Source != "" && (len(p.Hosts) > 0 || p.MX != "" || p.Via != ""), p.Source == "" && len(p.Hosts) == 0 && p.MX == "" && !p.Transport:
		return nil, errors.New("to: name either source, or hosts, or mx, or a transport in via")
	case p.Transport && (len(p.Hosts) > 0 || p.MX != ""):
		return nil, fmt.Errorf("to: via names the transport %q, beside which neither hosts nor mx stand", cut(p.Via))
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	if err := hooks.MayRoute(c.Needs, p); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	return p, nil
}
