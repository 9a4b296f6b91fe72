package queue

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// opened counts how often contents are read from the store.
type opened struct {
	store.Store
	n atomic.Int64
}

func (o *opened) Open(ctx context.Context, id store.ID) (store.BodyReader, error) {
	o.n.Add(1)
	return o.Store.Open(ctx, id)
}

// TestContentNotKept: content beyond the budget is not kept in memory but read again, and what was kept is given back.
func TestContentNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		from := &opened{Store: b.store}
		b.store = from
		b.start()
		b.send(nil, "kept@one.example")
		time.Sleep(time.Second)
		if n := from.n.Load(); n != 0 {
			t.Errorf("%d contents were read that were in memory", n)
		}
		if !b.q.budget.take(windowContent) {
			t.Fatal("the budget is not whole")
		}
		b.send(nil, "read@one.example")
		time.Sleep(time.Second)
		if n := from.n.Load(); n != 1 {
			t.Errorf("%d contents were read, want 1", n)
		}
		b.q.budget.give(windowContent)
		if used := b.q.budget.used.Load(); used != 0 {
			t.Errorf("%d bytes are not given back", used)
		}
		b.send(nil, "again@one.example")
		time.Sleep(time.Second)
		if n := from.n.Load(); n != 1 {
			t.Errorf("%d contents were read, want 1", n)
		}
		expect(t, "left", b.states())
		b.stop()
	})
}

// TestWindowFull: mail beyond the window waits on disk and goes when there is room.
func TestWindowFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.q.flights.n.Add(window) // taken by others
		b.send(nil, "u@one.example")
		time.Sleep(time.Minute)
		expect(t, "with no room", b.states(), "u@one.example fresh")
		b.q.flights.n.Add(-window)
		time.Sleep(time.Minute)
		expect(t, "with room", b.states())
		b.stop()
	})
}
