package resolve

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

type key struct {
	name string
	t    Type
}

// cache keeps answers, absences and failures, drops the least recently used, and lets callers with the same question wait for
// one answer.
type cache struct {
	limit    int // slots
	inFlight int
	now      func() time.Time

	mu      sync.Mutex
	used    int // slots
	entries map[key]*list.Element
	recent  *list.List // of *entry, most recently used first
	calls   map[key]*call
}

type entry struct {
	key
	result
	until time.Time
	slots int
}

type result struct {
	answer Answer
	err    error
}

type call struct {
	done chan struct{} // closed when the result is there
	result
}

func newCache(limit, inFlight int, now func() time.Time) *cache {
	return &cache{limit: limit, inFlight: inFlight, now: now,
		entries: make(map[key]*list.Element), recent: list.New(), calls: make(map[key]*call)}
}

// get returns what is kept for a key, or else what ask returns, for this caller and all that come before it has returned.
func (c *cache) get(ctx context.Context, k key, ask func(context.Context, key) (Answer, error)) (Answer, error) {
	c.mu.Lock()
	if e, ok := c.fresh(k); ok {
		c.mu.Unlock()
		return e.answer, e.err
	}
	running, ok := c.calls[k]
	if !ok {
		if len(c.calls) >= c.inFlight {
			c.mu.Unlock()
			return Answer{}, cannotTell(k.name, k.t, fmt.Errorf("%d questions are waiting for the DNS already", c.inFlight))
		}
		running = &call{done: make(chan struct{})}
		c.calls[k] = running
		go c.run(k, running, ask)
	}
	c.mu.Unlock()

	select {
	case <-running.done:
		return running.answer, running.err
	case <-ctx.Done():
		return Answer{}, cannotTell(k.name, k.t, ctx.Err())
	}
}

func (c *cache) run(k key, running *call, ask func(context.Context, key) (Answer, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	running.answer, running.err = ask(ctx, k)

	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, k)
	c.keep(k, running.result)
	close(running.done)
}

// fresh returns an entry that still holds, its TTL counted down.
func (c *cache) fresh(k key) (result, bool) {
	el, ok := c.entries[k]
	if !ok {
		return result{}, false
	}
	e := el.Value.(*entry)
	left := e.until.Sub(c.now())
	if left <= 0 {
		c.drop(el)
		return result{}, false
	}
	c.recent.MoveToFront(el)
	r := e.result
	r.answer.TTL = min(r.answer.TTL, left)
	return r, true
}

func (c *cache) keep(k key, r result) {
	ttl, bytes := r.answer.TTL, 0
	if r.err != nil {
		ttl = minTTL // an absence of answers is worth a pause too (RFC 9520)
	}
	for _, rec := range r.answer.Records {
		bytes += size(rec)
	}
	e := &entry{key: k, result: r, until: c.now().Add(ttl), slots: 1 + bytes/512}
	if old, ok := c.entries[k]; ok {
		c.drop(old)
	}
	c.entries[k] = c.recent.PushFront(e)
	c.used += e.slots
	for c.used > c.limit {
		c.drop(c.recent.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	e := c.recent.Remove(el).(*entry)
	delete(c.entries, e.key)
	c.used -= e.slots
}
