package queue

import (
	"context"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
)

// What is done by hand. Which entries lie on disk for a message follows from its state (entryOf), unless it is held: then there
// are none. So each command is one change that takes entries away and puts others in their place. It waits for the marks that
// are on their way, but never for an attempt: a job that has not begun is given up when it comes to its turn, and what an
// attempt came to is true and is kept, but for a message that was deleted.

// Refused is the error when there is nothing to be done; it says why, with the message as subject: "is not held".
type Refused string

// Error gives the words.
func (r Refused) Error() string { return string(r) }

// Hold stops all attempts of a message until Release; one that is under way ends as it would. why is shown to people; the empty
// one becomes "by hand". Besides Refused, the errors of Hold, Release, Retry and Delete are store.ErrNotFound, ErrBusy, and
// what the store gives.
func (q *Queue) Hold(ctx context.Context, id store.ID, why string) error {
	detail := "by hand: " + why
	if why == "" {
		why, detail = "by hand", "by hand"
	}
	return q.byHand(ctx, id, "held", detail, func(env *message.Envelope, state *store.State, _ []store.Entry) (store.Change, error) {
		if state.Held != "" {
			return store.Change{}, Refused("is held already: " + state.Held)
		}
		return store.Change{Held: &why, Del: entriesOf(env, state)}, nil
	})
}

// Release lets a message go on that is held, or has recipients that are. All of them are due at once, or at NotBefore if they
// were never tried. A suspect is none any more.
func (q *Queue) Release(ctx context.Context, id store.ID) error {
	return q.byHand(ctx, id, "released", "by hand", func(env *message.Envelope, state *store.State, air []store.Entry) (store.Change, error) {
		var ch store.Change
		whole := state.Held != ""
		if whole {
			none := ""
			ch.Held = &none
		}
		at := soonest(air)
		for i := range state.Rcpts {
			r := state.Rcpts[i]
			e, isDue := entryOf(env, &r)
			switch {
			case r.Result != message.Held && !(whole && isDue):
			case isDue && has(air, e):
				// Its attempt began before the hold and will say what comes next. The entry that the hold took is for a crash.
				ch.Add = place(ch.Add, e, i)
			default:
				when := at
				if r.Result == 0 && env.NotBefore.After(at) {
					when = store.WholeSecond(env.NotBefore)
				}
				move(&ch, &r, i, when)
			}
		}
		if !whole && len(ch.Rcpts) == 0 {
			return ch, Refused("is not held")
		}
		q.Suspects.Forget(id)
		return ch, nil
	})
}

// Retry makes the recipients that wait for their next try due at once. Those in an attempt are left alone.
func (q *Queue) Retry(ctx context.Context, id store.ID) error {
	return q.byHand(ctx, id, "retried", "by hand", func(env *message.Envelope, state *store.State, air []store.Entry) (store.Change, error) {
		var ch store.Change
		if state.Held != "" {
			return ch, Refused("is held; release it first")
		}
		flying, held := false, false
		at := soonest(air)
		for i := range state.Rcpts {
			r := state.Rcpts[i]
			e, isDue := entryOf(env, &r)
			switch {
			case isDue && has(air, e):
				flying = true
			case r.Result == message.Deferred:
				ch.Del = place(ch.Del, e, i)
				move(&ch, &r, i, at)
			case r.Result == message.Held:
				held = true
			}
		}
		switch {
		case len(ch.Rcpts) > 0:
			return ch, nil
		case flying:
			return ch, Refused("is being tried right now")
		case held:
			return ch, Refused("is held; release it first")
		}
		return ch, Refused("has no recipient that waits to be tried again")
	})
}

// Delete forgets a message, whatever became of it so far. Nobody is told.
func (q *Queue) Delete(ctx context.Context, id store.ID) error {
	return q.byHand(ctx, id, "deleted", "by hand", func(env *message.Envelope, state *store.State, _ []store.Entry) (store.Change, error) {
		ch := store.Change{Settled: true, Del: entriesOf(env, state)}
		q.parting(env, &ch)
		return ch, nil
	})
}

// byHand makes and writes one change of a message. air are the entries of its flights.
func (q *Queue) byHand(ctx context.Context, id store.ID, verdict, detail string, plan func(env *message.Envelope, state *store.State, air []store.Entry) (store.Change, error)) error {
	return q.alone(ctx, id, func(env *message.Envelope, state *store.State) error {
		if state.Rev == 0 { // in memory it is there before it is committed
			if _, _, err := q.Store.Load(ctx, id); err != nil {
				return err
			}
		}
		ch, err := plan(env, state, q.flights.air(id))
		if err != nil {
			return err
		}
		ch.ID, ch.Rev = id, state.Rev
		stale, err := q.Store.Update(ctx, q.own, ch)
		if err == nil && len(stale) > 0 {
			err = ErrBusy
		}
		if err != nil { // what counts is what the store holds now
			if _, now, e := q.Store.Load(ctx, id); e == nil {
				*state = *now
			}
			return err
		}
		if ch.Held != nil {
			state.Held = *ch.Held
		}
		q.applied(env, state, ch)
		for _, e := range ch.Add {
			q.wake.at(e.Lane, e.At)
		}
		q.Records.Append(id.String(), observe.Step{Time: time.Now(), Stage: "control", Generation: q.Current.Number(), Verdict: verdict, Detail: detail})
		q.Log.Info(verdict+" by hand", "id", id.String(), "detail", detail)
		return nil
	})
}

// air lists the entries of a message's flights.
func (t *table) air(id store.ID) (entries []store.Entry) {
	s := &t.shards[id[9]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.msgs[id]; m != nil {
		for _, f := range m.flights {
			if !f.visit {
				entries = append(entries, f.entry)
			}
		}
	}
	return entries
}

// soonest is when a recipient may be due that is tried at once: after every entry the waker may have in its hands, and not at
// the time of a flight, which takes its entry along when it lands.
func soonest(air []store.Entry) time.Time {
	at := time.Now().Truncate(time.Second).Add(time.Second)
	for slices.ContainsFunc(air, func(e store.Entry) bool { return e.At.Equal(at) }) {
		at = at.Add(time.Second)
	}
	return at
}

// move makes a recipient due at a time, in the lane where it was.
func move(ch *store.Change, r *store.RcptState, i int, at time.Time) {
	r.Result, r.Next = message.Deferred, at
	ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: *r})
	ch.Add = place(ch.Add, store.Entry{Lane: r.Lane, At: at}, i)
}

// entryOf is the entry by which a recipient is due; ok is false when it is not.
func entryOf(env *message.Envelope, r *store.RcptState) (e store.Entry, ok bool) {
	switch r.Result {
	case 0:
		return store.FirstEntry(env), true
	case message.Deferred:
		return store.Entry{ID: env.ID, Lane: r.Lane, At: r.Next}, true
	}
	return e, false
}

// entriesOf are all entries of a message that is not held.
func entriesOf(env *message.Envelope, state *store.State) (entries []store.Entry) {
	for i := range state.Rcpts {
		if e, ok := entryOf(env, &state.Rcpts[i]); ok {
			entries = place(entries, e, i)
		}
	}
	return entries
}

// place adds a recipient to the entry of this lane and time.
func place(entries []store.Entry, e store.Entry, i int) []store.Entry {
	k := slices.IndexFunc(entries, func(o store.Entry) bool { return sameKey(o, e) })
	if k < 0 {
		k, entries = len(entries), append(entries, e)
	}
	entries[k].Rcpts = append(entries[k].Rcpts, uint16(i))
	return entries
}

// due tells whether anybody is due by the entry. m.mu is held.
func (m *msg) due(e store.Entry) bool {
	for i := range m.state.Rcpts {
		if o, ok := entryOf(m.env, &m.state.Rcpts[i]); ok && sameKey(o, e) {
			return true
		}
	}
	return false
}

// sameKey tells whether two entries of one message are the same one on disk.
func sameKey(a, b store.Entry) bool { return a.Lane == b.Lane && a.At.Equal(b.At) }

func has(entries []store.Entry, e store.Entry) bool {
	return slices.ContainsFunc(entries, func(o store.Entry) bool { return sameKey(o, e) })
}

// begin begins to decide on the recipients of a job, or gives it up without an outcome if its message was held or deleted, or their
// time was over, since it was routed.
func (q *Queue) begin(j *job) bool {
	m := j.flight.msg
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.settled && m.state.Held == "" {
		if j.claim(); len(j.rcpts) > 0 {
			m.begins(j)
			return true
		}
	}
	q.submit(j.flight, store.Change{ID: m.id, Rev: m.state.Rev})
	return false
}
