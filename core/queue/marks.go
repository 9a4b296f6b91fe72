package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// Marks are written in batches: each costs a sync, and a crash before it costs a second delivery. A mark waits for others no
// longer than markWait from when it was made, the write before it included: so it is durable within 5 ms where a synced write
// takes no more than half of that.
const (
	markBatch = 256
	markWait  = time.Millisecond // the store takes up to as much for a commit to share its sync
	markRetry = time.Second
	markTries = 10
)

// mark is one change on its way to the store.
type mark struct {
	flight *flight
	at     time.Time // when it was made
	last   bool      // of its flight
	write  bool      // the change says something
	change store.Change
}

// writeMarks is the only writer of outcomes.
func (q *Queue) writeMarks() {
	defer q.marking.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	batch := make([]*mark, 0, markBatch)
	changes := make([]store.Change, 0, markBatch)
	for first := range q.marks {
		batch = q.gather(append(batch[:0], first), timer)
		began := time.Now()
		changes = changes[:0]
		for _, m := range batch {
			if m.write {
				changes = append(changes, m.change)
			}
		}
		q.write(changes)
		q.counts.wrote(began, len(changes))
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

// gather adds what comes until the first of the batch has waited long enough, and at least what is there.
func (q *Queue) gather(batch []*mark, timer *time.Timer) []*mark {
	until := batch[0].at.Add(markWait)
	for len(batch) < markBatch {
		select {
		case m, ok := <-q.marks:
			if !ok {
				return batch
			}
			batch = append(batch, m)
			continue
		default:
		}
		wait := time.Until(until)
		if wait <= 0 {
			break
		}
		timer.Reset(wait)
		select {
		case m, ok := <-q.marks:
			if !ok {
				return batch
			}
			batch = append(batch, m)
		case <-timer.C:
		}
	}
	return batch
}

// write writes changes that are to be written together. When that fails they are tried one by one, so that one that cannot be
// written holds up no other; a full or busy store is waited for.
func (q *Queue) write(changes []store.Change) {
	if len(changes) == 0 || q.update(changes) == nil {
		return
	}
	for i := range changes {
		for n := 1; ; n++ {
			err := q.update(changes[i : i+1])
			if err == nil {
				break
			}
			if n >= markTries && !errors.Is(err, store.ErrFull) && !errors.Is(err, store.ErrBusy) {
				q.Log.Error("an outcome cannot be written and is lost; the message is tried again after a restart", "id", changes[i].ID.String(), "error", err)
				break
			}
			time.Sleep(markRetry)
		}
	}
}

func (q *Queue) update(changes []store.Change) error {
	stale, err := q.Store.Update(context.Background(), q.own, changes...)
	for _, id := range stale {
		q.Log.Warn("message was changed or removed while it was attempted; the outcome is not kept", "id", id.String())
	}
	if err != nil {
		q.Log.Error("outcomes cannot be written; trying again", "messages", len(changes), "error", err)
	}
	return err
}
