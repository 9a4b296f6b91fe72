package mtasts

import (
	"cmp"
	"container/list"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
)

const (
	maxSlots     = 20_000          // of the cache; a policy takes one for each 256 octets, so this is about 5 MiB
	maxFetches   = 16              // at once
	pause        = 5 * time.Minute // after a fetch that failed, before another for the same id
	refreshEvery = 24 * time.Hour  // a policy is fetched again at that age, or at half of its own, if that is less
	refreshPause = time.Hour       // after a refresh that failed
	patrolEvery  = time.Minute
	maxRefreshed = 100 // by one patrol
)

// Options of a Cache.
type Options struct {
	Resolver resolve.Resolver
	Folder   string                                                            // keeps policies over a restart; empty: nothing does
	Roots    *x509.CertPool                                                    // of the policy hosts' certificates; nil: the system's
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // default: a net.Dialer
	Now      func() time.Time
	Log      *slog.Logger
}

// Cache is the policies of domains. It is safe for concurrent use.
type Cache struct {
	Options
	fetched *observe.Counters
	slots   chan struct{} // a fetch takes one
	stop    context.CancelFunc
	life    context.Context
	running sync.WaitGroup

	disk    sync.Mutex // held while a file is written or removed; taken before mu
	mu      sync.Mutex
	entries map[string]*list.Element
	recent  *list.List // of *entry, the most recently used first
	used    int        // slots
	flights map[string]*flight
}

// entry is what is known of a domain. Only what was fetched goes to disk.
type entry struct {
	Domain  string    `json:"domain"`
	ID      string    `json:"id"`
	Fetched time.Time `json:"fetched"`
	Policy  *Policy   `json:"policy"` // nil: none could be fetched yet

	failed   time.Time // when the latest fetch did, which was for an id
	failedID string
	problem  Problem
	why      string
}

func (e *entry) expired(now time.Time) bool {
	return e.Policy == nil || !now.Before(e.Fetched.Add(e.Policy.MaxAge))
}

func (e *entry) slots() int {
	n := 200
	if e.Policy != nil {
		for _, mx := range e.Policy.MX {
			n += len(mx) + 20
		}
	}
	return 1 + n/256
}

// flight is a fetch that runs.
type flight struct{ done chan struct{} }

// Found is what is known of a domain's policy.
type Found struct {
	Policy  *Policy // nil: it has none, or none can be had
	ID      string
	Problem Problem // why a policy that the domain has, or a newer one, cannot be had
	Why     string  // the same for people
}

// New makes a Cache, and reads what the folder holds.
func New(o Options) (*Cache, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	o.Resolver = careful{o.Resolver}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c := &Cache{Options: o, fetched: NewCounts(), slots: make(chan struct{}, maxFetches), entries: map[string]*list.Element{}, recent: list.New(), flights: map[string]*flight{}}
	c.life, c.stop = context.WithCancel(context.Background())
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// Close breaks fetches off and waits for them.
func (c *Cache) Close() {
	c.stop()
	c.running.Wait()
}

// NewCounts makes empty counters of fetches.
func NewCounts() *observe.Counters { return observe.NewCounters("fetched", "failed") }

// Fetched counts fetches.
func (c *Cache) Fetched() *observe.Counters { return c.fetched }

// Len is how many domains' policies are kept.
func (c *Cache) Len() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for el := c.recent.Front(); el != nil; el = el.Next() {
		if el.Value.(*entry).Policy != nil {
			n++
		}
	}
	return n
}

// Lookup finds the policy of a domain (section 5.1). It takes as long as the DNS does, and up to a minute more where a policy has to be
// fetched; when ctx ends before, or there is no other, the policy that is kept applies.
func (c *Cache) Lookup(ctx context.Context, domain string) Found {
	texts, err := resolve.LookupTXT(ctx, c.Resolver, "_mta-sts."+domain)
	id := ""
	if err == nil {
		id, err = ParseRecord(texts)
	}
	if err != nil {
		// Whether the record is gone, wrong, or kept from us: that alone takes no policy away.
		found, _ := c.find(domain, "")
		if found.Policy == nil && !errors.Is(err, ErrNoRecord) && len(texts) > 0 {
			found.Problem, found.Why = Invalid, err.Error()
		}
		return found
	}
	found, enough := c.find(domain, id)
	if enough {
		return found
	}
	select {
	case <-c.start(domain, id).done:
	case <-ctx.Done():
	}
	found, _ = c.find(domain, id)
	return found
}

// find returns what is kept. It is enough if it is of that id, or if a fetch for that id failed a moment ago.
func (c *Cache) find(domain, id string) (f Found, enough bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[domain]
	if !ok {
		return Found{}, false
	}
	e, now := el.Value.(*entry), c.Now()
	c.recent.MoveToFront(el)
	if !e.expired(now) {
		f.Policy, f.ID = e.Policy, e.ID
	}
	switch {
	case f.Policy != nil && e.ID == id:
		return f, true
	case e.failedID == id && now.Sub(e.failed) < pause && id != "":
		f.Problem, f.Why = e.problem, e.why
		return f, true
	}
	return f, false
}

// start fetches in the background, once for all that wait for the same domain.
func (c *Cache) start(domain, id string) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.flights[domain]
	if !ok {
		f = &flight{done: make(chan struct{})}
		c.flights[domain] = f
		c.running.Go(func() {
			c.update(domain, id)
			c.mu.Lock()
			delete(c.flights, domain)
			c.mu.Unlock()
			close(f.done)
		})
	}
	return f
}

// update fetches and keeps.
func (c *Cache) update(domain, id string) {
	ctx, cancel := context.WithTimeout(c.life, fetchTime)
	defer cancel()
	var p *Policy
	var err error
	select {
	case c.slots <- struct{}{}:
		p, err = c.fetch(ctx, domain)
		<-c.slots
	case <-ctx.Done():
		err = problem{FetchError, errors.New("too many policies are being fetched")}
	}
	now := c.Now()
	if err == nil {
		c.fetched.Add(0)
		e := &entry{Domain: domain, ID: id, Fetched: now.UTC(), Policy: p}
		c.keep(e)
		c.save(e)
		return
	}
	if c.life.Err() != nil {
		return
	}
	c.fetched.Add(1)
	c.mu.Lock()
	e := &entry{Domain: domain}
	if el, ok := c.entries[domain]; ok {
		*e = *el.Value.(*entry)
	}
	c.mu.Unlock()
	e.failed, e.failedID, e.problem, e.why = now, id, FetchError, err.Error()
	if p := (problem{}); errors.As(err, &p) {
		e.problem = p.word
	}
	c.keep(e)
	if e.Policy == nil || e.Policy.Mode != None {
		c.Log.Warn("the MTA-STS policy of a domain cannot be fetched", "domain", domain, "error", err, "kept", !e.expired(now))
	}
}

// keep puts an entry in place of the one before, and drops what was not used for longest.
func (c *Cache) keep(e *entry) {
	c.mu.Lock()
	var gone []string
	if old, ok := c.entries[e.Domain]; ok {
		c.drop(old)
	}
	c.entries[e.Domain] = c.recent.PushFront(e)
	c.used += e.slots()
	for c.used > maxSlots && c.recent.Len() > 1 {
		old := c.recent.Back()
		gone = append(gone, old.Value.(*entry).Domain)
		c.drop(old)
	}
	c.mu.Unlock()
	for _, domain := range gone {
		c.remove(domain)
	}
}

func (c *Cache) drop(el *list.Element) {
	e := c.recent.Remove(el).(*entry)
	delete(c.entries, e.Domain)
	c.used -= e.slots()
}

// Run refreshes policies until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	t := time.NewTicker(patrolEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.Patrol(ctx)
		}
	}
}

// Patrol forgets what has expired and fetches policies that are old, some of them each time.
func (c *Cache) Patrol(ctx context.Context) {
	var old []entry
	var gone []string
	now := c.Now()
	c.mu.Lock()
	for el := c.recent.Front(); el != nil; {
		e, next := el.Value.(*entry), el.Next()
		switch {
		case e.expired(now) && now.Sub(e.failed) >= pause:
			if e.Policy != nil {
				gone = append(gone, e.Domain)
			}
			c.drop(el)
		case e.Policy != nil && now.Sub(e.Fetched) >= min(refreshEvery, e.Policy.MaxAge/2) && now.Sub(e.failed) >= refreshPause && len(old) < maxRefreshed:
			old = append(old, *e)
		}
		el = next
	}
	c.mu.Unlock()
	for _, domain := range gone {
		c.remove(domain)
	}
	var refreshing sync.WaitGroup
	defer refreshing.Wait()
	turns := make(chan struct{}, maxFetches/2) // the others are for mail that waits
	for _, e := range old {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		refreshing.Go(func() {
			c.refresh(ctx, e.Domain, e.ID)
			<-turns
		})
	}
}

func (c *Cache) refresh(ctx context.Context, domain, id string) {
	if texts, err := resolve.LookupTXT(ctx, c.Resolver, "_mta-sts."+domain); err == nil {
		if latest, err := ParseRecord(texts); err == nil {
			id = latest
		}
	}
	select {
	case <-c.start(domain, id).done:
	case <-ctx.Done():
	}
}

// careful is a Resolver whose panics are errors: it is asked on goroutines that nobody else watches.
type careful struct{ resolve.Resolver }

func (r careful) Lookup(ctx context.Context, name string, t resolve.Type) (a resolve.Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			a, err = resolve.Answer{}, fmt.Errorf("%s: the resolver failed: %v", name, p)
		}
	}()
	return r.Resolver.Lookup(ctx, name, t)
}
