package queue

import (
	"context"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// Marks are written in batches: each costs a sync, and a crash before it costs a second delivery.
const (
	markBatch = 256
	markWait  = 2 * time.Millisecond
	markRetry = time.Second
)

// mark is one change on its way to the store.
type mark struct {
	flight *flight
	last   bool // of its flight
	write  bool // the change says something
	change store.Change
}

// writeMarks is the only writer of outcomes. A write that fails is tried again for as long as it takes: what was delivered
// must not be forgotten.
func (q *Queue) writeMarks() {
	defer q.marking.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	batch := make([]*mark, 0, markBatch)
	changes := make([]store.Change, 0, markBatch)
	for first := range q.marks {
		batch = append(batch[:0], first)
		timer.Reset(markWait)
	collect:
		for len(batch) < markBatch {
			select {
			case m, ok := <-q.marks:
				if !ok {
					break collect
				}
				batch = append(batch, m)
			case <-timer.C:
				break collect
			}
		}
		changes = changes[:0]
		for _, m := range batch {
			if m.write {
				changes = append(changes, m.change)
			}
		}
		q.write(changes)
		for _, m := range batch {
			if m.write {
				m.flight.msg.pending.Add(-1)
			}
			if slices.ContainsFunc(m.change.Rcpts, func(r store.RcptChange) bool { return r.Owed }) {
				q.notices.owed(m.change.ID)
			}
			for _, e := range m.change.Add {
				q.wake.at(e.Lane, e.At)
			}
			if m.last {
				q.land(m.flight)
			}
		}
		clear(batch)
		clear(changes)
	}
}

func (q *Queue) write(changes []store.Change) {
	if len(changes) == 0 {
		return
	}
	for {
		stale, err := q.Store.Update(context.Background(), q.own, changes...)
		for _, id := range stale {
			q.Log.Warn("message was changed or removed while it was attempted; the outcome is not kept", "id", id.String())
		}
		if err == nil {
			return
		}
		q.Log.Error("outcomes cannot be written; trying again", "messages", len(changes), "err", err)
		time.Sleep(markRetry)
	}
}
