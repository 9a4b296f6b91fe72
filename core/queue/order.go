package queue

import (
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// situation is a message at the moment of an order, and the change that comes of it. The message's lock is held.
type situation struct {
	q      *Queue
	order  *Order
	choice *Choice
	*msg
	air   []store.Entry // of its flights
	ch    store.Change
	whose []int // recipients the change is about; empty: the message
}

const (
	refusedFlying Refused = "is being tried right now"
	refusedHeld   Refused = "is held; release it first"
	refusedNobody Refused = "has no such recipient for whom something is to be done"
)

// plan makes the change. Of whom an attempt is being made for, that attempt decides.
func (s *situation) plan() error {
	switch s.order.Verb {
	case Hold:
		return s.hold()
	case Release:
		return s.release()
	case Retry:
		return s.retry()
	case Bounce:
		return s.bounce()
	case Delete:
		return s.delete()
	case Reroute:
		return s.reroute()
	}
	return Refused("cannot be handled so: " + string(s.order.Verb))
}

func (s *situation) hold() error {
	if s.state.Held != "" {
		return Refused("is held already: " + s.state.Held)
	}
	why := s.order.Reason
	if why == "" {
		why = "by hand"
	}
	s.ch.Held, s.ch.Del = &why, entriesOf(s.env, s.state)
	return nil
}

func (s *situation) release() error {
	whole := s.state.Held != ""
	if whole {
		none := ""
		s.ch.Held = &none
	}
	at := soonest(s.q.now(), s.air)
	for i := range s.state.Rcpts {
		r := s.state.Rcpts[i]
		e, isDue := entryOf(s.env, &r)
		switch {
		case !(r.Result == message.Held && s.chosen(i)) && !(whole && isDue):
		case isDue && has(s.air, e):
			// Its attempt began before the hold and will say what comes next. The entry that the hold took is for a crash.
			s.ch.Add = place(s.ch.Add, e, i)
		default:
			when := at
			if r.Result == 0 && s.env.NotBefore.After(at) {
				when = store.WholeSecond(s.env.NotBefore)
			}
			r.Result, r.Next = message.Deferred, when
			s.set(i, r)
			s.ch.Add = place(s.ch.Add, store.Entry{Lane: r.Lane, At: when}, i)
		}
	}
	if !whole && len(s.ch.Rcpts) == 0 {
		return Refused("is not held")
	}
	if whole {
		s.whose = nil
	}
	return nil
}

func (s *situation) retry() error {
	if s.state.Held != "" {
		return refusedHeld
	}
	flying, held := false, false
	at := soonest(s.q.now(), s.air)
	for _, i := range s.choice.Rcpts {
		r := s.state.Rcpts[i]
		e, isDue := entryOf(s.env, &r)
		switch {
		case isDue && has(s.air, e):
			flying = true
		case r.Result == message.Deferred:
			r.Next = at
			s.set(i, r)
		case r.Result == message.Held:
			held = true
		}
	}
	switch {
	case len(s.ch.Rcpts) > 0:
		return s.rearrange()
	case flying:
		return refusedFlying
	case held:
		return refusedHeld
	}
	return Refused("has no recipient that waits to be tried again")
}

func (s *situation) bounce() error {
	flying := false
	now, set := s.q.now(), s.q.Settings()
	terms, after := set.terms(s.env, ""), s.after()
	for _, i := range s.choice.Rcpts {
		r := s.state.Rcpts[i]
		switch {
		case s.isBegun(i):
			flying = true
		case waits(r):
			o := message.Outcome{Result: message.Failed, Reply: s.order.Reply}
			r.Result, r.Last, r.Tried, r.Next = o.Result, o.Last(), now, time.Time{}
			after.Rcpts[i] = r
			r.Owed = terms.owed(i, after, &o, false, slices.Contains(s.choice.hush, i))
			s.set(i, r)
		}
	}
	return s.rearrangeOr(flying)
}

func (s *situation) delete() error {
	flying, left := false, false
	for i := range s.state.Rcpts {
		r := s.state.Rcpts[i]
		switch {
		case !r.Open():
		case !s.chosen(i):
			left = true
		case s.isBegun(i):
			flying = true
		default:
			r.Result, r.Owed, r.Next = message.Discarded, false, time.Time{}
			s.set(i, r)
		}
	}
	if s.choice.Part && left {
		return s.rearrangeOr(flying)
	}
	s.whose, s.ch.Rcpts, s.ch.Settled, s.ch.Del = nil, nil, true, entriesOf(s.env, s.state)
	return nil
}

// reroute notes the next hop. Who waits is due there at once; whom an attempt is being made for goes there with the next one, if any.
func (s *situation) reroute() error {
	if s.env.IsParcel() {
		return Refused("is a parcel, which its plugin alone can take")
	}
	at, same := soonest(s.q.now(), s.air), false
	for _, i := range s.choice.Rcpts {
		r := s.state.Rcpts[i]
		switch _, isDue := entryOf(s.env, &r); {
		case !waits(r):
			continue
		case r.Route == s.order.Route:
			same = true
			continue
		case isDue && s.order.Route != "" && !s.isBegun(i) && !s.env.NotBefore.After(at):
			r.Result, r.Lane, r.Next = message.Deferred, s.order.Route, at
		}
		r.Route = s.order.Route
		s.set(i, r)
	}
	switch {
	case len(s.ch.Rcpts) > 0:
		return s.rearrange()
	case same && s.order.Route == "":
		return Refused("has no next hop that was chosen by hand")
	case same:
		return Refused("goes there already")
	}
	return refusedNobody
}

// chosen tells whether a recipient is meant.
func (s *situation) chosen(i int) bool { return !s.choice.Part || slices.Contains(s.choice.Rcpts, i) }

func (s *situation) set(i int, r store.RcptState) {
	s.ch.Rcpts = append(s.ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: r})
	s.whose = append(s.whose, i)
}

func (s *situation) rearrangeOr(flying bool) error {
	switch {
	case len(s.ch.Rcpts) > 0:
		return s.rearrange()
	case flying:
		return refusedFlying
	}
	return refusedNobody
}

// after is what will be known of the recipients.
func (s *situation) after() *store.State {
	after := &store.State{Rcpts: slices.Clone(s.state.Rcpts)}
	for _, r := range s.ch.Rcpts {
		after.Rcpts[r.Index] = r.RcptState
	}
	return after
}

// rearrange finds the entries that go and come because of what becomes of recipients, and whether anybody is left. Entries of flights
// stay: a flight takes its own along when it lands.
func (s *situation) rearrange() error {
	after := s.after()
	s.ch.Settled = !slices.ContainsFunc(after.Rcpts, func(r store.RcptState) bool { return r.Open() })
	if s.state.Held != "" {
		if !slices.ContainsFunc(after.Rcpts, waits) {
			none := "" // nobody is left to be released
			s.ch.Held = &none
		}
		return nil
	}
	old, next := entriesOf(s.env, s.state), entriesOf(s.env, after)
	for _, e := range old {
		if !has(s.air, e) && !same(next, e) {
			s.ch.Del = append(s.ch.Del, e)
		}
	}
	for _, e := range next {
		if !has(s.air, e) && !same(old, e) {
			s.ch.Add = append(s.ch.Add, e)
		}
	}
	return nil
}

// same tells whether the entry is there, for the same recipients.
func same(entries []store.Entry, e store.Entry) bool {
	return slices.ContainsFunc(entries, func(o store.Entry) bool { return sameKey(o, e) && slices.Equal(o.Rcpts, e.Rcpts) })
}

// soonest is when a recipient may be due that is tried at once: after every entry the waker may have in its hands, and not at
// the time of a flight, which takes its entry along when it lands.
func soonest(now time.Time, air []store.Entry) time.Time {
	at := now.Truncate(time.Second).Add(time.Second)
	for slices.ContainsFunc(air, func(e store.Entry) bool { return e.At.Equal(at) }) {
		at = at.Add(time.Second)
	}
	return at
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
