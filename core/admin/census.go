package admin

import (
	"context"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// Census counts the queue by looking at all of it, when somebody asks. Nothing is kept in step with the queue, so nothing can go out
// of step. What that costs is bounded instead: one count runs at a time, a long one rests between pages, and its answer serves
// for twenty times as long as it worked.
type Census struct {
	store  store.Store
	active func(store.ID) bool
	now    func() time.Time
	stop   context.CancelFunc
	ctx    context.Context

	mu      sync.Mutex
	last    QueueCounts   // of the last count that was finished
	err     error         // what ended that one early
	until   time.Time     // it serves so long
	done    chan struct{} // of the count that runs; nil: none does
	partial QueueCounts   // what that one has so far
}

// Costs of a count.
const (
	countTime   = 2 * time.Second        // the longest that a command waits for one
	countAtOnce = 200 * time.Millisecond // of work, after which it rests
	countRest   = 4                      // times as long as each page took
	countServes = 20                     // times as long as it worked
)

// NewCensus makes a Census of a store; active tells which messages are being routed or attempted.
func NewCensus(st store.Store, active func(store.ID) bool, now func() time.Time) *Census {
	c := &Census{store: st, active: active, now: now}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Stop ends a count that runs; none is begun any more.
func (c *Census) Stop() {
	c.stop()
	c.mu.Lock()
	done := c.done
	c.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Count is the queue as of the last count. One that is out of date is made anew and waited for, but not longer than patience: then
// what there is is the answer, the last count or the part of the first one. The error is that of the store.
func (c *Census) Count(ctx context.Context, patience time.Duration) (QueueCounts, error) {
	c.mu.Lock()
	if c.done == nil && c.ctx.Err() == nil && !time.Now().Before(c.until) {
		c.done = make(chan struct{})
		c.partial = QueueCounts{}
		go c.run(c.done)
	}
	done := c.done
	c.mu.Unlock()
	if done != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		case <-ctx.Done():
			return QueueCounts{}, ctx.Err()
		}
	}
	return c.Last()
}

// Last is the last count, or the part of the first one that there is.
func (c *Census) Last() (QueueCounts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.last
	if q.CountedAt.IsZero() {
		q = c.partial
	}
	q.Messages = max(c.store.Health().Depth, q.Counted)
	return q, c.err
}

// run counts once.
func (c *Census) run(done chan struct{}) {
	defer close(done)
	q := QueueCounts{CountedAt: c.now().UTC()}
	v := viewer{active: c.active, now: c.now()}
	var worked time.Duration
	page := time.Now()
	err := scan(c.ctx, c.store, func(items []store.Item) error {
		for _, it := range items {
			q.add(v.message(it), it)
		}
		took := time.Since(page)
		worked += took
		c.mu.Lock()
		c.partial = q
		c.mu.Unlock()
		if worked > countAtOnce {
			select {
			case <-time.After(countRest * took):
			case <-c.ctx.Done():
			}
		}
		page = time.Now()
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = nil
	c.err, c.until = err, time.Now().Add(countServes*worked)
	if err == nil {
		c.last = q
	}
}

// add counts one message.
func (q *QueueCounts) add(m Message, it store.Item) {
	q.Counted++
	if q.Oldest == nil {
		q.Oldest = &m.Arrived
	}
	q.States.add(m.State)
	for i, r := range m.Recipients {
		if i >= len(it.State.Rcpts) || it.State.Rcpts[i].Open() {
			q.Recipients.add(r.State)
		}
	}
	if m.State == StateDeferred && q.OldestDeferred == nil {
		q.OldestDeferred = &m.Arrived
	}
}

func (s *States) add(state string) {
	switch state {
	case StateActive:
		s.Active++
	case StateDeferred:
		s.Deferred++
	case StateHeld:
		s.Held++
	case StateFailed:
		s.Failed++
	}
}
