package admin

import (
	"context"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/store/memory"
)

// gated is a store whose pages come when they are let through.
type gated struct {
	*memory.Store
	pages chan struct{}
	asked chan struct{}
}

func (g *gated) Scan(ctx context.Context, after store.Cursor, limit int) ([]store.Item, store.Cursor, error) {
	g.asked <- struct{}{}
	select {
	case <-g.pages:
		return g.Store.Scan(ctx, after, limit)
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// TestCensusOfALongQueue: nobody waits longer than they want to, one count runs at a time, what there is so far is shown, and a
// stop ends it.
func TestCensusOfALongQueue(t *testing.T) {
	w := newWorld(t, nil)
	for range scanPage + 1 {
		w.put(t, "", nil, "u@b.example")
	}
	g := &gated{w.store, make(chan struct{}), make(chan struct{}, 10)}
	c := NewCensus(g, func(store.ID) bool { return false }, func() time.Time { return noon })
	none := func(q QueueCounts, err error) {
		t.Helper()
		if err != nil || q.Counted != 0 || q.Messages != scanPage+1 {
			t.Errorf("%+v, %v", q, err)
		}
	}
	none(c.Count(t.Context(), time.Millisecond))
	none(c.Count(t.Context(), time.Millisecond))
	g.pages <- struct{}{} // the first page; the second is asked for when it was counted
	<-g.asked
	<-g.asked
	if q, err := c.Last(); err != nil || q.Counted != scanPage || q.Active != scanPage || q.Messages != scanPage+1 {
		t.Errorf("in the middle: %+v, %v", q, err)
	}
	g.pages <- struct{}{}
	q, err := c.Count(t.Context(), 20*time.Second)
	if err != nil || q.Counted != scanPage+1 || !q.CountedAt.Equal(noon) || q.Oldest == nil {
		t.Errorf("%+v, %v", q, err)
	}
	if len(g.asked) > 0 {
		t.Error("a second count ran beside the first")
	}

	c.mu.Lock()
	c.until = time.Time{} // out of date
	c.mu.Unlock()
	old, err := c.Count(t.Context(), time.Millisecond)
	if err != nil || old.Counted != q.Counted {
		t.Errorf("the last count does not stand in for the next: %+v, %v", old, err)
	}
	<-g.asked
	c.Stop()
	if _, err := c.Count(t.Context(), 20*time.Second); err == nil {
		t.Error("a count that was stopped passes for a whole one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if q, _ := c.Count(ctx, time.Second); q.Counted > scanPage+1 {
		t.Errorf("%+v", q)
	}
}
