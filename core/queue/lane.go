package queue

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/store"
)

// Two names for two things. A lane is where mail waits on disk: it is named by the next hop of the plan, and never by what that
// resolves to, since the DNS moves and mail would be stranded. A site is where it goes: the set of a domain's mail exchangers, so
// that all domains of one provider are one. It exists in memory alone; limits and back-off are its own.

// Bounds of what is known of lanes.
const (
	maxLanes    = 20_000          // in memory; one that has no work is a note of which site it leads to
	maxLeft     = maxLanes / 2    // of these, such as are kept until their sites wake; others are found by looking at all that is due
	maxLookups  = 64              // at once; a lane that comes when there are so many is a site of its own for a while
	lookTime    = 5 * time.Second // after that, too
	leastPlaced = time.Minute     // that a site is believed to be a lane's
	mostPlaced  = time.Hour
)

// lanes holds the lanes that have work in memory, and what was found out of others.
type lanes struct {
	q       *Queue
	shards  [16]laneShard
	sites   [16]siteShard
	looking chan struct{}
	left    atomic.Int32 // lanes that are looked at when their sites wake
}

type laneShard struct {
	mu    sync.Mutex
	lanes map[store.Lane]*lane
}

type siteShard struct {
	mu    sync.Mutex
	sites map[siteKey]*site
}

// lane is one next hop, from one source.
type lane struct {
	name store.Lane
	busy atomic.Int32 // jobs, and other reasons to stay in memory
	more atomic.Bool  // jobs were turned away or left on disk: look there when there is room
	left atomic.Bool  // entries are left on disk until the site wakes

	// Guarded by the shard's lock.
	site    *site // nil until it is known
	hosts   []string
	shape   *Shape    // by which it was found
	until   time.Time // when it is looked up again; zero: never
	looking bool
	pending []*job    // until the site is known
	used    time.Time // last
	by      named
}

// named says which plugin named the source and the site of a lane, and in which generation; empty: none did.
type named struct {
	source, site string
	generation   uint64
}

func (l *lanes) init(q *Queue) {
	l.q, l.looking = q, make(chan struct{}, maxLookups)
	for i := range l.shards {
		l.shards[i].lanes = make(map[store.Lane]*lane)
		l.sites[i].sites = make(map[siteKey]*site)
	}
}

func shardOf(names ...string) uint32 {
	h := uint32(2166136261) // FNV-1a
	for _, name := range names {
		for i := range len(name) {
			h = (h ^ uint32(name[i])) * 16777619
		}
	}
	return h & 15
}

func (l *lanes) shard(name store.Lane) *laneShard { return &l.shards[shardOf(name)] }

// push gives a job to the site of its lane, at once or as soon as that is known.
func (l *lanes) push(j *job) {
	set, now := l.q.Settings(), time.Now()
	sh := l.shard(j.lane)
	sh.mu.Lock()
	la := sh.lane(j.lane)
	la.used = now
	la.busy.Add(1)
	j.la = la
	if j.plan.Site != "" || j.plan.Source != "" {
		la.by = named{j.plan.SourceBy, j.plan.SiteBy, j.generation}
	}
	if la.site == nil || la.shape != set.Shape || !la.until.IsZero() && now.After(la.until) {
		l.place(sh, la, &set, now)
	}
	s := la.site
	full := s == nil && len(la.pending) >= laneJobs
	if s == nil && !full {
		la.pending = append(la.pending, j)
	}
	sh.mu.Unlock()
	switch {
	case s != nil:
		s.push(j, &set, now)
	case full:
		l.q.wake.again(la.name, now.Add(lookTime))
		l.q.park(j)
	}
}

// done says that a job is no lane's any more.
func (l *lanes) done(j *job) {
	if j.la != nil {
		j.la.busy.Add(-1)
	}
}

// lane finds or makes a lane. If there are too many, one of a few that were picked at random goes: the one not used for longest.
// mu is held.
func (sh *laneShard) lane(name store.Lane) *lane {
	la := sh.lanes[name]
	if la != nil {
		return la
	}
	if len(sh.lanes) >= maxLanes/len(lanes{}.shards) {
		var oldest *lane
		picked := 0
		for _, o := range sh.lanes {
			if o.busy.Load() == 0 && (oldest == nil || o.used.Before(oldest.used)) {
				oldest = o
			}
			if picked++; picked == 8 {
				break
			}
		}
		if oldest != nil {
			delete(sh.lanes, oldest.name)
			if oldest.site != nil {
				oldest.site.leave()
			}
		}
	}
	la = &lane{name: name}
	sh.lanes[name] = la
	return la
}

// peek finds a lane and its site; nil if they are not known.
func (l *lanes) peek(name store.Lane) (*lane, *site) {
	sh := l.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if la := sh.lanes[name]; la != nil {
		return la, la.site
	}
	return nil, nil
}

// place finds the site of a lane, or begins to look it up. The shard's lock is held.
func (l *lanes) place(sh *laneShard, la *lane, set *Settings, now time.Time) {
	hop, _, site := message.SplitLane(la.name)
	via, rest, _ := strings.Cut(hop, ":")
	if site != "" {
		l.lead(la, site, set.Shape, time.Time{})
		return
	}
	switch via {
	case "mx":
		if set.Shape.exact(rest) || l.q.Resolver == nil || strings.HasPrefix(rest, "[") {
			l.lead(la, rest, set.Shape, time.Time{})
			return
		}
		if la.site != nil && !la.until.IsZero() && now.Before(la.until) { // only the configuration changed
			l.lead(la, siteOf(rest, la.hosts, set.Shape), set.Shape, la.until)
			return
		}
		l.look(sh, la, rest, now)
	case message.ViaSMTP, message.ViaLMTP:
		l.lead(la, rest, set.Shape, time.Time{})
	default: // a transport, or a plugin
		l.lead(la, hop, set.Shape, time.Time{})
	}
}

// siteOf names the site of a domain with these exchangers; without any, it is a site of its own.
func siteOf(domain string, hosts []string, shape *Shape) string {
	if len(hosts) == 0 || shape.exact(domain) {
		return domain
	}
	if name, ok := shape.provider(hosts); ok {
		return name
	}
	return strings.Join(hosts, ",")
}

// lead makes a lane lead to a site. What waits for another one stays there. The shard's lock is held.
func (l *lanes) lead(la *lane, name string, shape *Shape, until time.Time) {
	la.shape, la.until = shape, until
	_, source, _ := message.SplitLane(la.name)
	key := siteKey{name, source}
	if la.site != nil {
		if la.site.key == key {
			return
		}
		la.site.leave()
	}
	la.site = l.join(key)
}

// look asks the DNS for the exchangers of a domain. Until it has answered a lane's jobs wait, or go to the site that they led to
// before. One that cannot be found is a site of its own, until the attempt says what is wrong. The shard's lock is held.
func (l *lanes) look(sh *laneShard, la *lane, domain string, now time.Time) {
	if la.looking {
		return
	}
	select {
	case l.looking <- struct{}{}:
	default:
		if la.site == nil {
			l.lead(la, domain, la.shape, now.Add(leastPlaced))
		}
		return
	}
	la.looking = true
	la.busy.Add(1)
	l.q.group.Go(func() {
		hosts, ttl, err := l.exchangers(l.q.stopping, domain)
		<-l.looking
		set := l.q.Settings()
		sh.mu.Lock()
		until := time.Now().Add(ttl)
		switch {
		case err == nil:
			la.hosts = hosts
			l.lead(la, siteOf(domain, hosts, set.Shape), set.Shape, until)
		case la.site == nil:
			l.lead(la, domain, set.Shape, until)
		default:
			la.until, la.shape = until, set.Shape
		}
		jobs, s := la.pending, la.site
		la.pending, la.looking = nil, false
		sh.mu.Unlock()
		la.busy.Add(-1)
		for _, j := range jobs {
			s.push(j, &set, time.Now())
		}
	})
}

// exchangers asks the DNS; the names are sorted. Without MX the domain is its own exchanger.
func (l *lanes) exchangers(ctx context.Context, domain string) (hosts []string, ttl time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	found, err := resolve.LookupMX(ctx, l.q.Resolver, domain, func(int, func(int, int)) {})
	if err != nil {
		return nil, leastPlaced, err
	}
	for _, mx := range found.Hosts[:min(len(found.Hosts), maxExchangers)] {
		hosts = append(hosts, strings.TrimSuffix(strings.ToLower(mx.Host), "."))
	}
	slices.Sort(hosts)
	return hosts, min(max(found.TTL, leastPlaced), mostPlaced), nil
}

const maxExchangers = 16 // by which a site is told from others

// all lists the sites that there are.
func (l *lanes) all() (sites []*site) {
	for i := range l.sites {
		sh := &l.sites[i]
		sh.mu.Lock()
		for _, s := range sh.sites {
			sites = append(sites, s)
		}
		sh.mu.Unlock()
	}
	return sites
}

// join finds or makes a site, for one more lane.
func (l *lanes) join(key siteKey) *site {
	sh := &l.sites[shardOf(key.name, key.source)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.sites[key]
	if s == nil {
		s = &site{q: l.q, key: key}
		sh.sites[key] = s
	}
	s.lanes++
	return s
}

// leave says that a lane leads to the site no more. With the last one it is forgotten.
func (s *site) leave() {
	sh := &s.q.lanes.sites[shardOf(s.key.name, s.key.source)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s.lanes--; s.lanes == 0 {
		delete(sh.sites, s.key)
	}
}
