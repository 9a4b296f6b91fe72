package queue

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// A measure is what a plugin does about a part of the mail for a time, because of what remotes say: it is slowed down, suspended, or sent
// by another way. It ends by itself. One that a plugin takes again for the same mail and by the same rule takes the place of the
// former, so measures never pile up; where several count the strictest does.

// What a measure does.
const (
	DoSlow    = "slow"
	DoSuspend = "suspend"
	DoReroute = "reroute"
)

// Bounds of measures.
const (
	MaxMeasures    = 1000 // in force, of all plugins
	MaxMeasureTime = 7 * 24 * time.Hour
	maxScopeName   = 255
	maxMeasureText = 200 // bytes of a rule and of a reason
)

// Scope says whose mail a measure is about: what it names must all be so. Letters are lower case.
type Scope struct {
	Site   string `json:"site,omitempty"`
	Source string `json:"source,omitempty"`   // with a site or a next hop: only what is sent from there
	Lane   string `json:"next_hop,omitempty"` // a next hop: "mx:example.org"
	Tenant string `json:"tenant,omitempty"`
}

// String names it as people do: "site mx.example.org from pool, tenant acme".
func (s Scope) String() string {
	var words []string
	if s.Lane != "" {
		words = append(words, "next hop "+s.Lane)
	}
	if s.Site != "" {
		words = append(words, "site "+s.Site)
	}
	if s.Source != "" {
		words[len(words)-1] += " from " + s.Source
	}
	if s.Tenant != "" {
		words = append(words, "tenant "+s.Tenant)
	}
	return strings.Join(words, ", ")
}

// Measure is one of them.
type Measure struct {
	Do     string `json:"do"`
	Effect string `json:"effect"` // in words; Queue.Measure sets it
	Scope         // whose mail
	Limits Limits `json:"-"` // of Slow: those that are set
	// To has, of Reroute, the source or the next hop that is taken instead.
	To     *message.Plan `json:"-"`
	By     string        `json:"by"`             // the plugin
	Rule   string        `json:"rule,omitempty"` // of the plugin, for people: "rules.toml:12"
	Reason string        `json:"reason,omitempty"`
	Since  time.Time     `json:"since"`
	Until  time.Time     `json:"until"`
}

// key is the same for measures of which the later one replaces the former.
func (m *Measure) key() string {
	return strings.Join([]string{m.Do, m.Lane, m.Site, m.Source, m.Tenant, m.By, m.Rule}, "\x00")
}

// Check tells whether it can be taken, and brings its names to the form that is compared.
func (m *Measure) Check() error {
	m.Site, m.Lane, m.Tenant = strings.ToLower(m.Site), strings.ToLower(m.Lane), strings.ToLower(m.Tenant)
	for _, n := range []struct{ what, name string }{{"site", m.Site}, {"next hop", m.Lane}, {"tenant", m.Tenant}} {
		if len(n.name) > maxScopeName || strings.ContainsFunc(n.name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%s: %q is not up to %d bytes without control characters", n.what, n.name[:min(len(n.name), 60)], maxScopeName)
		}
	}
	switch {
	case m.Site == "" && m.Lane == "" && m.Tenant == "":
		return fmt.Errorf("name the site, the next hop or the tenant that it is about")
	case m.Lane != "" && m.Site != "":
		return fmt.Errorf("name a site or a next hop, not both")
	case m.Source != "" && m.Lane == "" && m.Site == "":
		return fmt.Errorf("a source is named with a site or a next hop")
	case m.Source != "" && !message.ValidName(m.Source):
		return fmt.Errorf("source: %q is not the name of a [source.NAME]", m.Source)
	case m.Do == DoSlow && m.Lane != "":
		return fmt.Errorf("limits hang on sites: name the site, not a next hop")
	case m.Do == DoSlow && m.Limits.Concurrency == 0 && m.Limits.Rate.N == 0 && m.Limits.ConnectionMessages == 0:
		return fmt.Errorf("name the rate, the concurrency or the messages of a connection that are not to be exceeded")
	case len(m.Rule) > maxMeasureText || len(m.Reason) > maxMeasureText:
		return fmt.Errorf("a rule and a reason have at most %d bytes", maxMeasureText)
	}
	if last := m.Until.Sub(m.Since); last < time.Second || last > MaxMeasureTime {
		return fmt.Errorf("it lasts %v; a measure lasts from 1 second to %d days", last.Round(time.Second), MaxMeasureTime/(24*time.Hour))
	}
	return nil
}

func (m *Measure) inForce(now time.Time) bool { return now.Before(m.Until) }

// covers tells whether it is about a message's mail that would go to a next hop of a site. What is not known is empty.
func (m *Measure) covers(lane store.Lane, site, tenant string) bool {
	if m.Tenant != "" && m.Tenant != strings.ToLower(tenant) {
		return false
	}
	hop, source, named := message.SplitLane(lane)
	if m.Source != "" && m.Source != source || m.Lane != "" && m.Lane != strings.ToLower(hop) {
		return false
	}
	return m.Site == "" || m.Site == strings.ToLower(cmp.Or(named, site))
}

// same tells whether another one, which was taken later, would do the same.
func (m *Measure) same(o *Measure) bool {
	a, b := m.Limits, o.Limits
	a.By, b.By = Origin{}, Origin{}
	return a == b && (m.To == nil) == (o.To == nil) && (m.To == nil || m.To.Equal(o.To))
}

// outlasts tells whether taking o as well would change nothing worth a word: of a storm of replies that all say the same the first
// counts, and one now and then.
func (m *Measure) outlasts(o *Measure) bool {
	grain := max(time.Second, o.Until.Sub(o.Since)/8)
	return m.same(o) && o.Until.Sub(m.Until) < grain && m.inForce(o.Since)
}

// effect says in words what it does.
func (m *Measure) effect() string {
	switch m.Do {
	case DoSlow:
		var words []string
		if m.Limits.Rate.N > 0 {
			words = append(words, "rate "+m.Limits.Rate.String())
		}
		if m.Limits.Concurrency > 0 {
			words = append(words, fmt.Sprintf("concurrency %d", m.Limits.Concurrency))
		}
		if m.Limits.ConnectionMessages > 0 {
			words = append(words, fmt.Sprintf("connection_messages %d", m.Limits.ConnectionMessages))
		}
		return "slowed to " + strings.Join(words, ", ")
	case DoReroute:
		if m.To.Source != "" {
			return "sent from " + m.To.Source
		}
		return "sent to " + m.To.Hop()
	}
	return "suspended"
}

// String is the measure in words: "site mx.example.org: slowed to rate 10 in 1m0s".
func (m *Measure) String() string {
	effect := m.Effect
	if effect == "" { // it was not taken yet
		effect = m.effect()
	}
	return m.Scope.String() + ": " + effect
}

// who says who took it, and why, for a list of limits.
func (m *Measure) who() string {
	words := m.By
	if why := strings.Trim(m.Rule+": "+m.Reason, ": "); why != "" {
		words += " (" + why + ")"
	}
	return words + " until " + m.Until.UTC().Format(time.RFC3339)
}

// Suspension is how the measure looks among what people suspended, who name it so to end it.
func (m *Measure) Suspension() Suspension { return *m.suspension() }

func (m *Measure) suspension() *Suspension {
	s := &Suspension{Kind: SuspendSite, Name: m.Site, Source: m.Source, By: m.By, Rule: m.Rule, Reason: m.Reason, Since: m.Since, Until: m.Until, measure: m}
	switch {
	case m.Lane != "":
		s.Kind, s.Name = SuspendNextHop, m.Lane
	case m.Site == "":
		s.Kind, s.Name = SuspendTenant, m.Tenant
		return s
	}
	s.Tenant = m.Tenant
	return s
}

// aside is the name of the lane in which mail lies that it keeps from being tried, or from crowding the memory.
func (m *Measure) aside() store.Lane {
	before := suspendedLane
	if m.Do == DoSlow {
		before = slowedLane
	}
	var words []string
	for _, w := range []struct{ what, name string }{{"next-hop", m.Lane}, {"site", m.Site}, {"source", m.Source}, {"tenant", m.Tenant}, {"by", m.By}} {
		if w.name != "" {
			words = append(words, w.what+":"+w.name)
		}
	}
	return before + strings.Join(words, " ")
}

// lower takes from limits what a measure does not allow.
func (l *Limits) lower(m *Measure) {
	if c := m.Limits.Concurrency; c > 0 && (l.Concurrency == 0 || c < l.Concurrency) {
		l.Concurrency, l.By.Concurrency = c, m.who()
	}
	if r := m.Limits.Rate; r.N > 0 && (l.Rate.N == 0 || r.interval() > l.Rate.interval()) {
		l.Rate, l.By.Rate = r, m.who()
	}
	if c := m.Limits.ConnectionMessages; c > 0 && (l.ConnectionMessages == 0 || c < l.ConnectionMessages) {
		l.ConnectionMessages, l.By.ConnectionMessages = c, m.who()
	}
}

// interval is the time from one message to the next.
func (r Rate) interval() time.Duration {
	if r.N == 0 {
		return 0
	}
	return r.Per / time.Duration(r.N)
}

// measureTable is the measures in force, found by what they are about. It is never changed.
type measureTable struct {
	all    map[string]*Measure // by key
	index  [3]measureIndex     // of each of measureKinds
	aside  map[store.Lane]bool // lanes that are left alone
	slowed map[string]bool     // tenants that are slowed down somewhere
}

// measureIndex finds measures of one kind: by the lane if they name one, or else by the site, or else by the tenant.
type measureIndex struct{ lane, site, tenant map[string][]*Measure }

var measureKinds = [3]string{DoSlow, DoSuspend, DoReroute}

const (
	slowing = iota
	suspending
	rerouting
)

func newMeasureTable(all map[string]*Measure) *measureTable {
	t := &measureTable{all: all, aside: map[store.Lane]bool{}, slowed: map[string]bool{}}
	for i := range t.index {
		t.index[i] = measureIndex{map[string][]*Measure{}, map[string][]*Measure{}, map[string][]*Measure{}}
	}
	for _, m := range all {
		x := &t.index[slices.Index(measureKinds[:], m.Do)]
		switch {
		case m.Lane != "":
			x.lane[m.Lane] = append(x.lane[m.Lane], m)
		case m.Site != "":
			x.site[m.Site] = append(x.site[m.Site], m)
		default:
			x.tenant[m.Tenant] = append(x.tenant[m.Tenant], m)
		}
		if m.Do == DoSuspend {
			t.aside[m.aside()] = true
		}
		if m.Do == DoSlow && m.Tenant != "" {
			t.slowed[m.Tenant] = true
		}
	}
	return t
}

// find yields the measures of a kind that are about a tenant's mail to a lane of a site, in no order.
func (t *measureTable) find(kind int, lane store.Lane, site, tenant string, yield func(*Measure) bool) {
	if t == nil || len(t.all) == 0 {
		return
	}
	x, now := &t.index[kind], time.Now()
	hop, _, named := message.SplitLane(lane)
	for _, list := range [][]*Measure{x.lane[strings.ToLower(hop)], x.site[strings.ToLower(cmp.Or(named, site))], x.tenant[strings.ToLower(tenant)]} {
		for _, m := range list {
			if m.inForce(now) && m.covers(lane, site, tenant) && !yield(m) {
				return
			}
		}
	}
}

// first is one of them, always the same: the one taken first.
func (t *measureTable) first(kind int, lane store.Lane, site, tenant string) (found *Measure) {
	t.find(kind, lane, site, tenant, func(m *Measure) bool {
		if found == nil || m.Since.Before(found.Since) || m.Since.Equal(found.Since) && m.key() < found.key() {
			found = m
		}
		return true
	})
	return found
}

// limits lowers the limits of a site for all that comes from a source, or with a tenant, for that tenant alone.
func (t *measureTable) limits(l Limits, key siteKey, tenant string) (Limits, bool) {
	lower := false
	t.find(slowing, laneFrom(key.source), key.name, tenant, func(m *Measure) bool {
		if (m.Tenant != "") == (tenant != "") {
			l.lower(m)
			lower = true
		}
		return true
	})
	return l, lower
}

// tenants tells whether any tenant is slowed down at a site.
func (t *measureTable) tenants(key siteKey) bool {
	if t == nil {
		return false
	}
	x := &t.index[slowing]
	return len(x.tenant) > 0 || slices.ContainsFunc(x.site[strings.ToLower(key.name)], func(m *Measure) bool { return m.Tenant != "" })
}

// laneFrom is a lane of which nothing is known but the source.
func laneFrom(source string) store.Lane { return (&message.Plan{Source: source}).Lane() }
