package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// SiteView is what is known of a site: where it leads to, what bounds the mail to it, and how it fares.
type SiteView struct {
	Site, Source string // Source is empty where no plan names one
	Lanes        []string
	Exchangers   []string // of the domain that was asked for, sorted; empty: there are none, or they are not known
	Named        []string // which plugins named the site or the source: "site by route, generation 3"
	Limits       []LimitView

	Attempts int            // that run
	Allowed  int            // that may run at once, now
	Waiting  map[string]int // in memory, by tenant; what is more lies on disk
	Next     time.Time      // when the rate allows the next message; zero: at once

	Closed    time.Time    // until then nothing is tried; zero: it is open
	Shut      string       // why it is closed
	Asleep    time.Time    // until then nothing is tried, since nobody answers; zero: it is awake
	Probing   bool         // it slept, and the next attempt tells whether it wakes
	Failures  int          // times in a row that nobody answered
	Why       string       // the last of them
	Suspended []Suspension // of the site, or of its lanes
	Measures  []Measure    // of plugins, about the site or its lanes
}

// LimitView is one limit in force.
type LimitView struct {
	Name, Value string
	By          string // "stagepost.toml:12", or "default"
}

// Explain tells all about a site, by its name or by that of a lane, a recipient domain or a next hop, once for each source. Of one
// that no mail goes to now it tells what would count. It may ask the DNS.
func (q *Queue) Explain(ctx context.Context, name string) ([]SiteView, error) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	set := q.Settings()
	var views []SiteView
	for s, lanes := range q.lanes.bySite() {
		asked := s.key.name == name || slices.ContainsFunc(lanes, func(la *lane) bool {
			hop, _, _ := message.SplitLane(la.name)
			_, rest, _ := strings.Cut(hop, ":")
			return la.name == name || hop == name || rest == name
		})
		if asked {
			views = append(views, q.view(s, lanes, &set))
		}
	}
	if views == nil {
		site, hosts, err := q.wouldBe(ctx, name, &set)
		if err != nil {
			return nil, err
		}
		l, _ := q.measures.table.Load().limits(set.limits(site), siteKey{name: site}, "")
		v := SiteView{Site: site, Exchangers: hosts, Limits: q.limitsView(&l, site, &set), Allowed: l.Concurrency, Suspended: q.suspensions.ofSite(site, "mx:"+name), Measures: q.measures.ofSite(site, "mx:"+name)}
		if c := q.outside(l.Window, time.Now()); c != nil {
			v.Closed, v.Shut = c.until, c.why.Reply.Text[0]
		}
		views = []SiteView{v}
	}
	slices.SortFunc(views, func(a, b SiteView) int { return strings.Compare(a.Site+" "+a.Source, b.Site+" "+b.Source) })
	return views, nil
}

// SiteOf is the site that a lane leads to: that which is known, or else that which would be, for which the DNS may be asked. "" is that
// of what was not routed yet.
func (q *Queue) SiteOf(ctx context.Context, name store.Lane) string {
	if name == "" || isAside(name) {
		return ""
	}
	sh := q.lanes.shard(name)
	sh.mu.Lock()
	la := sh.lanes[name]
	if la != nil && la.site != nil {
		defer sh.mu.Unlock()
		return la.site.key.name
	}
	sh.mu.Unlock()
	set := q.Settings()
	site, _, err := q.wouldBe(ctx, name, &set)
	if err != nil {
		hop, _, _ := message.SplitLane(name)
		_, site, _ = strings.Cut(hop, ":")
	}
	return site
}

// wouldBe finds the site of a name that no mail goes to now.
func (q *Queue) wouldBe(ctx context.Context, name string, set *Settings) (site string, hosts []string, err error) {
	hop, _, named := message.SplitLane(name)
	via, domain, ok := strings.Cut(hop, ":")
	switch {
	case named != "":
		return named, nil, nil
	case set.Shape.exact(name), name == "":
		return name, nil, nil
	case !ok:
		domain = name
	case via == "mx":
	case via == message.ViaSMTP || via == message.ViaLMTP:
		return domain, nil, nil
	default: // a next hop, a transport, or a plugin
		return name, nil, nil
	}
	if q.Resolver == nil || set.Shape.exact(domain) || strings.HasPrefix(domain, "[") {
		return domain, nil, nil
	}
	hosts, _, err = q.lanes.exchangers(ctx, domain)
	if err != nil {
		return "", nil, fmt.Errorf("no mail goes to %s now, and its exchangers cannot be found: %w", domain, err)
	}
	return siteOf(domain, hosts, set.Shape), hosts, nil
}

// view describes a site.
func (q *Queue) view(s *site, lanes []*lane, set *Settings) SiteView {
	v := SiteView{Site: s.key.name, Source: s.key.source}
	for _, la := range lanes {
		v.Lanes = append(v.Lanes, la.name)
		sh := q.lanes.shard(la.name)
		sh.mu.Lock()
		if v.Exchangers == nil {
			v.Exchangers = la.hosts
		}
		by := la.by
		sh.mu.Unlock()
		for _, n := range []struct{ what, by string }{{"site", by.site}, {"source", by.source}} {
			if said := fmt.Sprintf("%s by %s, generation %d", n.what, n.by, by.generation); n.by != "" && !slices.Contains(v.Named, said) {
				v.Named = append(v.Named, said)
			}
		}
	}
	slices.Sort(v.Lanes)
	v.Suspended = q.suspensions.ofSite(s.key.name, v.Lanes...)
	v.Measures = q.measures.ofSite(s.key.name, v.Lanes...)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(set)
	v.Limits = q.limitsView(&s.limits, s.key.name, set)
	if w := set.warmup(s.key.source); w != nil {
		v.Limits = append(v.Limits, LimitView{"warm-up", q.ramps.view(w, s.key.source, s.key.name), w.By})
	}
	if c := s.closed(now); c != nil {
		v.Closed, v.Shut = c.until, c.why.Reply.Text[0]
	}
	v.Attempts, v.Allowed, v.Failures = s.active, s.bound(), s.fails
	if len(s.jobs.tenants) > 0 {
		v.Waiting = map[string]int{}
		for name, t := range s.jobs.tenants {
			v.Waiting[name] = t.n
		}
	}
	if at := s.tat.Add(-rateGrain); s.limits.Rate.N > 0 && at.After(now) {
		v.Next = at
	}
	if s.fails > 0 {
		v.Why = s.why.Reply.Error()
		if s.why.Host != "" {
			v.Why = s.why.Host + ": " + v.Why
		}
		if v.Probing = !s.asleep(now); !v.Probing {
			v.Asleep = s.until
		}
	}
	return v
}

// ofSite lists the suspensions of a site, and of lanes that lead there.
func (x *suspensions) ofSite(site string, lanes ...store.Lane) (found []Suspension) {
	now := time.Now()
	for _, s := range x.list() {
		if s.inForce(now) && (s.Kind == SuspendSite && matches(s.Name, site) || s.Kind == SuspendNextHop && slices.ContainsFunc(lanes, s.isHop)) {
			found = append(found, *s)
		}
	}
	return found
}

// limitsView lists limits, and the times where they are not those of all sites.
func (q *Queue) limitsView(l *Limits, site string, set *Settings) []LimitView {
	v := l.view()
	add := func(name, value, by string) {
		if by != "" {
			v = append(v, LimitView{name, value, by})
		}
	}
	t := set.times(nil, site)
	var waits []string
	for _, d := range t.Retry {
		waits = append(waits, d.String())
	}
	add("retry", strings.Join(waits, ", "), t.By.Retry)
	add("expire", t.Expire.String(), t.By.Expire)
	if *t.Warn > 0 {
		add("warn", t.Warn.String(), t.By.Warn)
	} else {
		add("warn", "never", t.By.Warn)
	}
	return v
}

// view lists limits.
func (l *Limits) view() []LimitView {
	by := func(s string) string { return cmp.Or(s, "default") }
	v := []LimitView{
		{"concurrency", strconv.Itoa(l.Concurrency), by(l.By.Concurrency)},
		{"rate", l.Rate.String(), by(l.By.Rate)},
	}
	if l.ConnectionMessages > 0 {
		v = append(v, LimitView{"connection_messages", strconv.Itoa(l.ConnectionMessages), by(l.By.ConnectionMessages)})
	}
	if l.By.Prefer != "" {
		v = append(v, LimitView{"prefer", l.Prefer, l.By.Prefer})
	}
	if l.Window != nil {
		v = append(v, LimitView{"window", l.Window.String(), by(l.By.Window)})
	}
	if l.TLS != "" {
		v = append(v, LimitView{"tls", string(l.TLS), by(l.By.TLS)})
	}
	return v
}

// bySite lists the lanes that lead to each site.
func (l *lanes) bySite() map[*site][]*lane {
	found := map[*site][]*lane{}
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		for _, la := range sh.lanes {
			if la.site != nil {
				found[la.site] = append(found[la.site], la)
			}
		}
		sh.mu.Unlock()
	}
	return found
}
