package queue

import (
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// What was agreed on with a sender counts in every state, also where nothing is tried: in a lane that waits, on a full disk, on
// hold. So it does not rest on attempts. Two things bring a message to review, which gives up whom no time is left for, and finds
// senders that are to be told of a delay:
//
//   - a time of its own is an appointment: an entry of the lane "terms", committed with the message and deleted with it;
//   - the times that all messages share follow from their arrival. A patrol walks through the messages from the oldest to where they
//     are too young, and so needs no entry for each.
//
// Whom an attempt is being made for is left to that attempt.

const (
	termsLane store.Lane = "terms" // of appointments: no next hop is called so

	patrolEvery = time.Minute
	patrolShare = 50                   // of its time that the patrol rests, at least
	patrolPause = 5 * time.Millisecond // after each page

	// What is due at a time is tried before anything is said of that time: where nobody does so in this span, the review does.
	reviewGrace = 30 * time.Second
)

// waits tells whether a recipient is still to be delivered to.
func waits(st store.RcptState) bool {
	return st.Result == 0 || st.Result == message.Deferred || st.Result == message.Held
}

// appointments are the entries by which a message comes to review at times of its own.
func (t *terms) appointments(warns []time.Duration) (entries []store.Entry) {
	at := func(when time.Time) {
		entries = place(entries, store.Entry{ID: t.env.ID, Lane: termsLane, At: store.WholeSecond(when.Truncate(time.Microsecond))}, 0)
	}
	if t.limited() {
		at(t.expires)
	}
	if alarm := t.alarm(); !alarm.IsZero() {
		at(alarm.Add(reviewGrace))
	}
	if !t.env.NotBefore.IsZero() {
		for _, warn := range warns {
			at(t.released.Add(warn + reviewGrace))
		}
	}
	for i := range entries {
		entries[i].Rcpts = nil
	}
	return entries
}

func (q *Queue) appointments(env *message.Envelope) []store.Entry {
	if _, by := smtp.Params(env.Params).Get("BY"); !by && env.Expires.IsZero() && env.NotBefore.IsZero() {
		return nil
	}
	set := q.Settings()
	terms := set.terms(env, "")
	return terms.appointments(set.warns())
}

// appoint is the change that makes the appointments of a message with its commit, if it has any.
func (q *Queue) appoint(env *message.Envelope) []store.Change {
	if entries := q.appointments(env); entries != nil {
		return []store.Change{{ID: env.ID, Add: entries}}
	}
	return nil
}

// appointed tells the waker.
func (q *Queue) appointed(also []store.Change) {
	for i := range also {
		for _, e := range also[i].Add {
			q.wake.at(e.Lane, e.At)
		}
	}
}

// parting takes the appointments along when a message is forgotten. One that is left, since the settings changed, finds nothing and
// goes when its time has come.
func (q *Queue) parting(env *message.Envelope, ch *store.Change) {
	if ch.Settled {
		ch.Del = append(ch.Del, q.appointments(env)...)
	}
}

// over tells whether a recipient is given up. Of one that is held, the time that all messages share does not count.
func (t *terms) over(now time.Time, held bool) bool {
	if t.limited() {
		return t.lapsed(now)
	}
	return !held && now.Sub(t.expires) >= reviewGrace
}

// last is what is said of a recipient that is given up: the last answer if there was one, unless the time was the message's own.
func (t *terms) last(st *store.RcptState) message.Outcome {
	o := message.Outcome{Result: message.Deferred, Host: st.Last.Host, Reply: smtp.NewReply(st.Last.Code, st.Last.Enhanced, st.Last.Text)}
	switch {
	case st.Last.Code/100 != 4:
		return lapse
	case t.limited():
		o = lapse
		o.Reply = smtp.NewReply(lapse.Reply.Code, lapse.Reply.Enhanced, lapse.Reply.Text[0]+"; the last answer was: "+st.Last.Text)
	default:
		o.Result = message.Failed
	}
	return o
}

// review does what the terms of a message ask for at this time.
func (q *Queue) review(f *flight) {
	now, set, m := q.now(), q.Settings(), f.msg
	now = q.earlier(now)
	j := &job{flight: f, review: true}
	m.mu.Lock()
	f.open = 1
	ch := store.Change{ID: m.id, Rev: m.state.Rev}
	for i := range m.state.Rcpts {
		st := &m.state.Rcpts[i]
		if !waits(*st) || m.isBegun(i) {
			continue
		}
		held := m.state.Held != "" || st.Result == message.Held
		terms := set.terms(m.env, q.siteOfLane(st.Lane, set.Shape))
		if terms.over(now, held) {
			j.rcpts, j.decided = append(j.rcpts, i), append(j.decided, terms.last(st))
		} else if !st.Owed && terms.owed(i, m.state, nil, terms.late(now, held), false) {
			st.Owed = true
			ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: *st})
		}
	}
	if len(j.rcpts) == 0 {
		q.submit(f, ch)
		m.mu.Unlock()
		return
	}
	if len(ch.Rcpts) > 0 { // somebody is held, and others are not
		f.open++
		q.submit(f, ch)
	}
	m.begins(j)
	m.mu.Unlock()
	gen := q.Current.Acquire()
	defer gen.Release()
	q.finish(gen, j, j.decided)
}

// entryOf is the entry by which a recipient is due, if any. m.mu is held.
func (m *msg) entryOf(i int) []store.Entry {
	if e, ok := entryOf(m.env, &m.state.Rcpts[i]); ok && m.state.Held == "" {
		return []store.Entry{e}
	}
	return nil
}

// patrol brings messages to review whose time is over, or whose senders are to be told that they are late, by the settings.
func (q *Queue) patrol() {
	var warned store.Cursor // up to here messages were looked at when they were late
	for rest := patrolEvery; ; {
		select {
		case <-q.stopping.Done():
			return
		case <-time.After(rest):
		}
		began, now, set := time.Now(), q.now(), q.Settings()
		least := set.leastExpire()
		q.walk(nil, func(it *store.Item) (bool, bool) {
			over := slices.ContainsFunc(it.State.Rcpts, func(st store.RcptState) bool {
				terms := set.terms(it.Envelope, q.siteOfLane(st.Lane, set.Shape))
				return waits(st) && terms.over(now, it.State.Held != "" || st.Result == message.Held)
			})
			return over, it.Envelope.ID.Time().Add(least).Before(now)
		})
		if warns := set.warns(); len(warns) > 0 {
			if set.special() {
				warned = nil // who came first is not late first
			}
			warned = q.walk(warned, func(it *store.Item) (bool, bool) {
				late, all := false, true
				for i := range it.State.Rcpts {
					st := &it.State.Rcpts[i]
					terms := set.terms(it.Envelope, q.siteOfLane(st.Lane, set.Shape))
					is := terms.late(now.Add(-reviewGrace), it.State.Held != "")
					late = late || is && waits(*st) && !st.Owed && !st.Warned
					all = all && (is || terms.released.After(it.Envelope.Arrived))
				}
				return late, all || set.special() && it.Envelope.ID.Time().Add(warns[0]).Before(now)
			})
		}
		rest = max(patrolEvery, patrolShare*time.Since(began))
	}
}

// walk looks at messages from a cursor on, the oldest first, until f says that one is too young, and brings those to review that it
// says are to be. It returns where to go on, at or before the place where it ended.
func (q *Queue) walk(from store.Cursor, f func(*store.Item) (review, older bool)) store.Cursor {
	for q.stopping.Err() == nil {
		items, next, err := q.Store.Scan(q.stopping, from, page)
		if err != nil {
			if q.stopping.Err() == nil {
				q.Log.Error("the queue cannot be searched for mail whose time is over; trying again", "error", err)
			}
			break
		}
		for i := range items {
			review, older := f(&items[i])
			if !older {
				return from
			}
			if !review {
				continue
			}
			if fl := q.flights.take(store.Entry{ID: items[i].Envelope.ID, Lane: termsLane, At: time.Unix(0, 0)}); fl != nil {
				q.routeFlight(fl) // not by a router: what waits there may be what there is too much of
			}
		}
		if next == nil {
			break
		}
		from = next
		time.Sleep(patrolPause)
	}
	return from
}
