package queue

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// finish takes a job's outcomes through the stages delivered, deferred and bounced, and hands the change to the marks. The
// flight ends with its last job.
func (q *Queue) finish(gen *hooks.Generation, j *job, outcomes []message.Outcome) {
	now := q.now()
	m, f := j.flight.msg, j.flight
	set := q.Settings()
	told := make([]bool, len(outcomes)) // a plugin said that nobody is to be told
	site := j.site
	if site == "" && len(j.rcpts) > 0 {
		m.mu.Lock()
		site = q.siteOfLane(m.state.Rcpts[j.rcpts[0]].Lane, set.Shape)
		m.mu.Unlock()
	}
	terms := set.terms(m.env, site)
	terms.ahead(m, &set)
	now = q.earlier(now)
	for k := range outcomes {
		if q.unfinished(&outcomes[k]) {
			continue
		}
		told[k] = q.ask(gen, j, j.rcpts[k], &outcomes[k], terms.expires, now)
	}
	m.mu.Lock()
	m.ends(j)
	ch := store.Change{ID: m.id, Rev: m.state.Rev}
	for k, i := range j.rcpts {
		if q.unfinished(&outcomes[k]) {
			f.keep = true
			continue
		}
		st := &m.state.Rcpts[i]
		if j.review {
			ch.Del = append(ch.Del, m.entryOf(i)...)
		}
		q.settle(st, &outcomes[k], j, now, &terms)
		if st.Owed = terms.owed(i, m.state, &outcomes[k], terms.late(now, st.Result == message.Held), told[k]); st.Owed {
			st.Lane = j.lane // the notice tells by which way it went
		}
		ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: *st})
		if st.Result == message.Deferred {
			ch.Add = due(ch.Add, m, st, i)
		}
	}
	ch.Del = slices.DeleteFunc(ch.Del, m.due) // another recipient may be due by it
	if m.state.Held != "" && !slices.ContainsFunc(m.state.Rcpts, waits) {
		none := "" // nobody is left to be released
		ch.Held, m.state.Held = &none, none
	}
	q.submit(f, ch)
	m.mu.Unlock()
	q.report(j, outcomes)
}

// unfinished tells whether the attempt was broken off because the queue stops, before anything was decided: the recipient
// stays as it was.
func (q *Queue) unfinished(o *message.Outcome) bool {
	return o.Result == message.Deferred && o.Host == "" && !o.Unknown && q.stopping.Err() != nil
}

// ask runs the stage of an outcome, which may change it.
func (q *Queue) ask(gen *hooks.Generation, j *job, i int, o *message.Outcome, expires, now time.Time) (told bool) {
	if o.Result == message.Deferred && !now.Before(expires) {
		o.Result = message.Failed // and the last answer stays what it was
	}
	if j.flight.msg.env.IsParcel() {
		return false
	}
	return Conclude(gen, o, func(s hooks.Stage, o *message.Outcome) *hooks.Call {
		m := j.flight.msg
		view := m.view(q)
		var rcpt hooks.RcptView
		m.rcptView(q, &rcpt, view, i)
		rcpt.Last = q.sorted(o.Last())
		rcpt.Attempts++
		rcpt.Way = wayOf(j)
		return &hooks.Call{Stage: s, Session: m.env.Session, Message: view, Rcpt: &rcpt, Observer: &j.steps, Parent: q.stopping}
	})
}

// wayOf is by which way a job went, as far as it got.
func wayOf(j *job) message.Way {
	hop, source, named := message.SplitLane(j.lane)
	return message.Way{Hop: hop, Source: source, Site: cmp.Or(named, j.site)}
}

// settle moves a recipient's state by an outcome.
func (q *Queue) settle(st *store.RcptState, o *message.Outcome, j *job, now time.Time, terms *terms) {
	st.Result, st.Last = o.Result, o.Last()
	if !j.review {
		if st.Attempts < math.MaxUint16 {
			st.Attempts++
		}
		if st.First.IsZero() {
			st.First = now
		}
		st.Tried = now
	}
	st.Next, st.Lane = time.Time{}, ""
	if o.Result == message.Deferred {
		st.Lane = j.lane
		st.Next = terms.next(terms.times.retryAt(now, int(st.Attempts), o.After), now)
	}
}

// due adds the recipient to the entry of its lane and time.
func due(entries []store.Entry, m *msg, st *store.RcptState, i int) []store.Entry {
	return place(entries, store.Entry{ID: m.id, Lane: st.Lane, At: st.Next}, i)
}

// overflow moves a job that its lane had no room for to the lane's place on disk.
func (q *Queue) overflow(j *job) {
	now := store.WholeSecond(q.now())
	m := j.flight.msg
	m.mu.Lock()
	ch := store.Change{ID: m.id, Rev: m.state.Rev}
	j.claim()
	for _, i := range j.rcpts {
		st := &m.state.Rcpts[i]
		st.Result, st.Lane, st.Next = message.Deferred, j.lane, now
		if j.why != nil && st.Last.Code == 0 {
			st.Last = j.why.Last()
		}
		ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: *st})
		ch.Add = due(ch.Add, m, st, i)
	}
	q.submit(j.flight, ch)
	m.mu.Unlock()
}

// park leaves a job to the disk, in its lane's own place.
func (q *Queue) park(j *job) {
	q.lay(j)
	q.lanes.done(j)
}

// lay is park for a job that its worker gives up itself.
func (q *Queue) lay(j *job) {
	if j.flight.entry.Lane == j.lane {
		q.skip(j)
	} else {
		q.overflow(j)
	}
}

// crowded leaves a job to the disk for lack of room. Where that is its own entry nobody finds it before the flight has landed.
func (q *Queue) crowded(j *job) {
	m := j.flight.msg
	m.mu.Lock()
	j.flight.left = j.flight.entry.Lane == j.lane
	m.mu.Unlock()
	q.park(j)
}

// skip gives a job up without an attempt; its entry stays.
func (q *Queue) skip(j *job) {
	m := j.flight.msg
	m.mu.Lock()
	j.flight.keep = true
	q.submit(j.flight, store.Change{ID: m.id, Rev: m.state.Rev})
	m.mu.Unlock()
}

// submit hands one job's change to the marks; with the last job of the flight its entry goes. m.mu is held, so that the
// changes of a message are written in order.
func (q *Queue) submit(f *flight, ch store.Change) {
	m := f.msg
	f.open--
	if m.state.Held != "" { // by hand, meanwhile: Release makes the entries, from the state
		ch.Add = nil
	}
	switch last := f.open <= 0; {
	case !last || f.keep:
	case m.due(f.entry): // a retry within the same second, or somebody who was held and released
		f.again = true
	default:
		ch.Del = append(ch.Del, f.entry)
		ch.Settled = true
		for i := range m.state.Rcpts {
			if m.state.Rcpts[i].Open() {
				ch.Settled = false
			}
		}
	}
	if m.settled = m.settled || ch.Settled; ch.Settled {
		q.keys.settled(m.env)
		q.parting(m.env, &ch)
	}
	mk := &mark{flight: f, at: time.Now(), last: f.open <= 0, change: ch}
	if len(ch.Rcpts) > 0 || len(ch.Del) > 0 {
		mk.write = true
		m.state.Rev++
		m.pending.Add(1)
	}
	q.marks <- mk
}

// mark ends a flight for which there is nothing to do.
func (q *Queue) mark(f *flight) {
	f.msg.mu.Lock()
	f.open = 1
	q.submit(f, store.Change{ID: f.msg.id, Rev: f.msg.state.Rev})
	f.msg.mu.Unlock()
}

// report writes the record and one log line a recipient.
func (q *Queue) report(j *job, outcomes []message.Outcome) {
	m := j.flight.msg
	id := m.id.String()
	now := q.now()
	for k, i := range j.rcpts {
		o := &outcomes[k]
		class := ""
		if o.Result == message.Deferred || o.Result == message.Failed {
			class = q.sorted(o.Last()).Class
		}
		q.counts.outcome(o.Result, class, now.Sub(m.env.Arrived))
		rcpt := m.env.Rcpts[i].Address.Text
		said := o.Reply.Error()
		if o.Result == message.Failed && o.Reply.Temporary() {
			said = "given up, it was not delivered in time; the last answer was: " + said
		}
		detail := "<" + rcpt + "> " + said
		if o.Host != "" {
			detail = "<" + rcpt + "> by " + o.Host + ": " + said
		}
		if class != "" {
			detail += " (" + class + ")"
		}
		j.steps.Observe(observe.Step{Time: now, Stage: "outcome", Generation: q.Current.Number(), Verdict: o.Result.String(), Detail: detail})
		if m.env.IsParcel() && o.Result == message.Failed {
			in := m.env.Injected
			q.Log.Warn("a parcel was given up", "id", id, "plugin", in.By, "via", in.Via, "key", in.Key, "reply", said)
			continue
		}
		line := []any{"id", id, "rcpt", rcpt, "host", o.Host, "reply", said, "delay", now.Sub(m.env.Arrived).Round(time.Millisecond).Seconds()}
		if class != "" {
			line = append(line, "class", class)
		}
		q.Log.Info(o.Result.String(), line...)
	}
	q.Records.Append(id, j.steps.steps...)
}
