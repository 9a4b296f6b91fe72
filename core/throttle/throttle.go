// Package throttle slows down who guesses passwords.
//
// Failed log-ins are counted twice, for the account and for the client's network, so it helps neither to try one account from many
// places nor many accounts from one. After some that are free each further failure makes the next try wait twice as long. While it waits nobody is
// asked, whatever the password, and nothing is counted.
//
// That alone would let anybody lock out a user by failing in his name. So an account that logged in from a network is known there: what others
// do elsewhere no longer counts for it, only its own failures there, which in turn count for nobody else. A colleague's mail program with an old
// password thus stops itself only.
//
// A try counts as failed until it is known not to be: a hundred at once are a hundred.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// The rules.
const (
	freeAccount = 10 // failures of an account, or of an account where it is known
	freeNetwork = 30 // failures from one network: many may share an address
	firstWait   = 10 * time.Second
	maxWait     = 15 * time.Minute
	forget      = time.Hour           // after the last failure
	know        = 60 * 24 * time.Hour // after the last success
	maxEntries  = 100_000             // of failures, and of what is known; about 5 MB each
)

// Failures are those of a server. It is safe for concurrent use.
type Failures struct {
	now  func() time.Time
	seed maphash.Seed

	mu     sync.Mutex
	failed map[uint64]failure
	known  map[uint64]time.Time // until when; accounts at networks
}

type failure struct {
	count int
	wait  time.Time // until then no try is allowed
	until time.Time // then it is forgotten
}

// New makes one without failures.
func New(now func() time.Time) *Failures {
	return &Failures{now: now, seed: maphash.MakeSeed(), failed: map[uint64]failure{}, known: map[uint64]time.Time{}}
}

// Try is a log-in that was not held back.
type Try struct {
	f      *Failures
	pair   uint64
	counts []counted
}

// counted is one of those that a try was counted for.
type counted struct {
	key     uint64
	free    int
	network bool      // and so of others, too
	wait    time.Time // that came of it
}

// Try begins a log-in: it is counted as failed, or has to wait. The account may be empty, the address of the client invalid; of one of IPv6 the
// network counts (/64).
func (f *Failures) Try(account string, ip netip.Addr) (t *Try, wait time.Duration) {
	network := ip
	if ip.Is6() {
		p, _ := ip.WithZone("").Prefix(64)
		network = p.Addr()
	}
	t = &Try{f: f, pair: f.key("pair", account, network)}
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if account != "" && f.known[t.pair].After(now) {
		t.counts = []counted{{key: t.pair, free: freeAccount}}
	} else {
		if account != "" {
			t.counts = append(t.counts, counted{key: f.key("account", account, netip.Addr{}), free: freeAccount})
		}
		if network.IsValid() {
			t.counts = append(t.counts, counted{key: f.key("network", "", network), free: freeNetwork, network: true})
		}
	}
	for _, c := range t.counts {
		wait = max(wait, f.failed[c.key].wait.Sub(now))
	}
	if wait > 0 {
		return nil, wait
	}
	for i := range t.counts {
		f.count(&t.counts[i], now)
	}
	return t, 0
}

func (f *Failures) key(what, account string, network netip.Addr) uint64 {
	return maphash.Comparable(f.seed, struct {
		what, account string
		network       netip.Addr
	}{what, account, network})
}

func (f *Failures) count(c *counted, now time.Time) {
	e := f.failed[c.key]
	if !e.until.After(now) {
		e = failure{}
	}
	e.count++
	e.until = now.Add(forget)
	if over := e.count - c.free; over >= 0 {
		e.wait = now.Add(min(firstWait<<min(over, 10), maxWait))
	}
	c.wait = e.wait
	put(f.failed, c.key, e, now, func(e failure) time.Time { return e.until })
}

// OK says that the log-in succeeded.
func (t *Try) OK() {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	for _, c := range t.counts {
		if c.network {
			t.f.back(c)
		} else {
			delete(t.f.failed, c.key)
		}
	}
	now := t.f.now()
	put(t.f.known, t.pair, now.Add(know), now, func(until time.Time) time.Time { return until })
}

// Unknown says that nobody could tell whether the credentials were right: it was no failure.
func (t *Try) Unknown() {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	for _, c := range t.counts {
		t.f.back(c)
	}
}

// back takes back a count, and the wait that came of it unless another try made it longer.
func (f *Failures) back(c counted) {
	e, ok := f.failed[c.key]
	if !ok {
		return
	}
	e.count--
	if e.wait.Equal(c.wait) {
		e.wait = time.Time{}
	}
	f.failed[c.key] = e
}

// put sets an entry. If there are too many, one of a few that were picked at random goes: the one that would be forgotten first.
func put[V any](m map[uint64]V, k uint64, v V, now time.Time, until func(V) time.Time) {
	if _, there := m[k]; !there && len(m) >= maxEntries {
		var oldest uint64
		var at time.Time
		picked := 0
		for k, v := range m {
			if u := until(v); picked == 0 || u.Before(at) {
				oldest, at = k, u
			}
			if picked++; picked == 16 || !at.After(now) {
				break
			}
		}
		delete(m, oldest)
	}
	m[k] = v
}
