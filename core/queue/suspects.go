package queue

import (
	"errors"
	"fmt"
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/core/suspects"
)

// A suspect was in hand when a server before this one crashed (core/suspects). It is tried beside all other mail, a few
// suspects at once after one strike and one at a time after two; so when the process crashes again, few get another strike,
// and one alone the third, with which it is held. An hour after it was tried and nothing happened the strikes are forgotten.
const (
	probers   = 32
	probation = time.Hour
)

// doubts are the flights of suspects that wait for their turn.
type doubts struct {
	few chan *flight // after one strike
	one chan *flight // after more
}

// startProbing sorts out who was suspected before the start, if anybody was.
func (q *Queue) startProbing() {
	ids := q.Suspects.Suspects()
	if len(ids) == 0 {
		return
	}
	known := 0
	for _, id := range ids {
		slot := q.Suspects.Begin(id)
		_, _, err := q.Store.Load(q.stopping, id)
		q.Suspects.End(slot)
		if errors.Is(err, store.ErrNotFound) {
			q.Suspects.Forget(id)
		} else {
			known++
		}
	}
	if known == 0 {
		return
	}
	q.Log.Warn("messages that were being worked on when the server crashed are tried a few at a time", "messages", known)
	q.doubts = doubts{few: make(chan *flight, window), one: make(chan *flight, window)}
	q.group.Go(func() { q.probe(q.doubts.one) })
	for range probers {
		q.group.Go(func() { q.probe(q.doubts.few) })
	}
}

// way is where a flight found on disk goes to be routed.
func (q *Queue) way(id store.ID) chan<- *flight {
	switch n := q.Suspects.Strikes(id); {
	case n == 0 || q.doubts.few == nil:
		return q.routes
	case n == 1:
		return q.doubts.few
	}
	return q.doubts.one
}

// probe takes one suspect after the other from its routing to its landing.
func (q *Queue) probe(from <-chan *flight) {
	for {
		select {
		case <-q.stopping.Done():
			return
		case f := <-from:
			id := f.msg.id
			f.landed = make(chan struct{})
			q.routeInHand(f)
			select {
			case <-q.stopping.Done():
				return
			case <-f.landed:
			}
			time.AfterFunc(probation, func() {
				if q.stopping.Err() == nil && q.Suspects.Strikes(id) < suspects.MaxStrikes {
					q.Suspects.Forget(id)
				}
			})
		}
	}
}

// routeInHand routes a flight; a crash meanwhile is its strike.
func (q *Queue) routeInHand(f *flight) {
	slot := q.Suspects.Begin(f.msg.id)
	q.routeFlight(f)
	q.Suspects.End(slot)
}

// holdSuspect holds the message of a flight if the server crashed too often with it in hand.
func (q *Queue) holdSuspect(f *flight) bool {
	m := f.msg
	n := q.Suspects.Strikes(m.id)
	if n < suspects.MaxStrikes {
		return false
	}
	why := fmt.Sprintf("the server crashed %d times while it worked on this message", n)
	m.mu.Lock()
	ch := store.Change{ID: m.id, Rev: m.state.Rev, Held: &why, Del: entriesOf(m.env, m.state)}
	m.state.Held = why
	f.open = 1
	q.submit(f, ch)
	m.mu.Unlock()
	q.Log.Error("a message is held: "+why, "id", m.id.String())
	q.Records.Append(m.id.String(), observe.Step{Time: q.now(), Stage: "control", Generation: q.Current.Number(), Verdict: "held", Detail: why})
	return true
}
