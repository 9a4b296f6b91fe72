package queue

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// What is done by hand. Which entries lie on disk for a message follows from its state (entryOf), unless it is held: then there
// are none. So each command is one change that takes entries away and puts others in their place (order.go). It waits for the marks
// that are on their way, but never for an attempt: a job that has not begun goes on without those who were changed when it comes to
// its turn, and what an attempt came to is true and is kept, but for a message that was deleted.
//
// Many messages are changed in one write. Each is locked from the moment its state is read until the write is durable, as it would be
// alone; those with marks on their way are done after the others, one by one.

// Refused is the error when there is nothing to be done; it says why, with the message as subject: "is not held".
type Refused string

// Error gives the words.
func (r Refused) Error() string { return string(r) }

// Verb is what can be done by hand.
type Verb string

// The verbs. Hold stops all attempts of a message until Release; one that is under way ends as it would. Release lets a message go on
// that is held, or the chosen recipients that are: at once, or at NotBefore if they were never tried. A suspect is none any more. Retry makes the chosen recipients
// that wait for their next try due at once. Bounce fails the chosen ones for good, and the sender is told as always. Delete forgets a
// message, whatever became of it so far, or the chosen recipients; nobody is told. Reroute chooses the next hop of the chosen ones for all
// attempts to come, or leaves it to the plugins again.
const (
	Hold    Verb = "hold"
	Release Verb = "release"
	Retry   Verb = "retry"
	Bounce  Verb = "bounce"
	Delete  Verb = "delete"
	Reroute Verb = "reroute"
)

// Verbs lists them.
func Verbs() []Verb { return []Verb{Hold, Release, Retry, Bounce, Delete, Reroute} }

// Done is the verb's past: "held".
func (v Verb) Done() string {
	switch v {
	case Hold:
		return "held"
	case Retry:
		return "retried"
	case Bounce:
		return "bounced"
	}
	return string(v) + "d"
}

// Order is what is to be done with messages.
type Order struct {
	Verb   Verb
	Reason string     // of Hold, shown to people; the empty one becomes "by hand"
	Reply  smtp.Reply // of Bounce, told to the sender; the zero one becomes Returned
	Route  string     // of Reroute: a next hop as message.Plan.Hop names it; "": plugins choose again
	Dry    bool       // only find out what would be done
}

// Returned is the reply of a bounce by hand. 5.7.0 is what RFC 3463 section 3.8 has for a rule that is not described any closer.
func Returned() smtp.Reply { return smtp.NewReply(550, "5.7.0", "returned by the postmaster") }

// MaxHandle is how many messages may be handled at once.
const MaxHandle = 256

// Handled is what became of one message.
type Handled struct {
	ID    store.ID
	Rcpts []int // indexes of those it was about; empty: the message
	Err   error // Refused, store.ErrNotFound, ErrBusy, or what the store gives
}

// Handle carries out an order for up to MaxHandle messages, most of them in one durable write. The answers are in the order of chosen.
// When ctx ends, those that were not begun have its error.
func (q *Queue) Handle(ctx context.Context, o Order, chosen []Choice) []Handled {
	if o.Verb == Bounce && o.Reply.Code == 0 {
		o.Reply = Returned()
	}
	out := make([]Handled, len(chosen))
	if o.Verb == Bounce && !o.Dry {
		for i := range chosen {
			q.askBounced(&o, &chosen[i])
		}
	}
	b := batch{q: q, order: &o, out: out}
	var alone []int
	q.hands.Lock() // two batches that each hold messages the other wants would wait for ever
	for i := range chosen {
		out[i].ID = chosen[i].Envelope.ID
		if !b.add(&chosen[i], i) {
			alone = append(alone, i)
		}
	}
	alone = append(alone, b.write(ctx)...)
	q.hands.Unlock()
	slices.Sort(alone)
	for _, i := range alone {
		out[i].Rcpts, out[i].Err = q.handleAlone(ctx, &o, &chosen[i])
	}
	return out
}

// askBounced runs the stage bounced for those who are to fail: before the message is locked, since a plugin takes its time.
func (q *Queue) askBounced(o *Order, c *Choice) {
	gen := q.Current.Acquire()
	defer gen.Release()
	if len(gen.Chain(hooks.Bounced)) == 0 || c.Envelope.IsParcel() {
		return
	}
	m := &msg{id: c.Envelope.ID, env: c.Envelope, state: c.State}
	defer m.close()
	var steps recorded
	for _, i := range c.Rcpts {
		if !waits(c.State.Rcpts[i]) {
			continue
		}
		out := message.Outcome{Result: message.Failed, Reply: o.Reply}
		if Conclude(gen, &out, func(s hooks.Stage, out *message.Outcome) *hooks.Call {
			view := m.view(q)
			var rcpt hooks.RcptView
			m.rcptView(q, &rcpt, view, i)
			rcpt.Last = q.sorted(out.Last())
			return &hooks.Call{Stage: s, Session: m.env.Session, Message: view, Rcpt: &rcpt, Observer: &steps, Parent: q.stopping}
		}) {
			c.hush = append(c.hush, i)
		}
	}
	q.Records.Append(m.id.String(), steps.steps...)
}

// handleAlone carries out an order for one message.
func (q *Queue) handleAlone(ctx context.Context, o *Order, c *Choice) (whose []int, err error) {
	id := c.Envelope.ID
	err = q.aloneWith(ctx, id, func(m *msg) error {
		if m.state.Rev == 0 { // in memory it is there before it is committed
			if _, _, err := q.Store.Load(ctx, id); err != nil {
				return err
			}
		}
		s, err := q.situation(o, c, m)
		if err != nil || o.Dry {
			whose = s.whose
			return err
		}
		stale, err := q.Store.Update(ctx, q.own, s.ch)
		if err == nil && len(stale) > 0 {
			err = ErrBusy
		}
		if err != nil { // what counts is what the store holds now
			if _, now, e := q.Store.Load(ctx, id); e == nil {
				m.state = now
			}
			return err
		}
		q.handled(s)
		whose = s.whose
		return nil
	})
	return whose, err
}

// situation makes the change that an order comes to for a message whose lock is held.
func (q *Queue) situation(o *Order, c *Choice, m *msg) (*situation, error) {
	s := &situation{q: q, order: o, choice: c, msg: m, ch: store.Change{ID: m.id, Rev: m.state.Rev}, air: q.flights.air(m.id)}
	err := s.plan()
	q.parting(m.env, &s.ch)
	return s, err
}

// handled notes a change that is written.
func (q *Queue) handled(s *situation) {
	if s.ch.Held != nil {
		s.state.Held = *s.ch.Held
	}
	now, owed := q.now(), false
	for _, r := range s.ch.Rcpts {
		owed = owed || r.Owed && !s.ch.Settled
	}
	q.applied(s.env, s.state, s.ch)
	for _, e := range s.ch.Add {
		q.wake.at(e.Lane, e.At)
		if s.order.Verb == Retry {
			q.lanes.rouse(e.Lane)
		}
	}
	id, done, detail := s.env.ID, s.order.Verb.Done(), s.detail()
	if s.order.Verb == Bounce {
		class := q.sorted(message.Outcome{Reply: s.order.Reply}.Last()).Class
		for range s.whose {
			q.counts.outcome(message.Failed, class, now.Sub(s.env.Arrived))
		}
	}
	q.Records.Append(id.String(), observe.Step{Time: now, Stage: "control", Generation: q.Current.Number(), Verdict: done, Detail: detail})
	q.Log.Info(done+" by hand", "id", id.String(), "detail", detail)
	if owed {
		q.notices.owed(id)
	}
	if s.order.Verb == Release {
		q.Suspects.Forget(id)
	}
}

// detail says in words what was done.
func (s *situation) detail() string {
	words := "by hand"
	switch {
	case s.order.Verb == Hold && s.order.Reason != "":
		words += ": " + s.order.Reason
	case s.order.Verb == Reroute && s.order.Route == "":
		words += ": as plugins say"
	case s.order.Verb == Reroute:
		words += ": to " + s.order.Route
	case s.order.Verb == Bounce:
		words += ": " + s.order.Reply.Error()
	}
	for k, i := range s.whose {
		if k == maxNamed {
			return words + " ..."
		}
		words += " <" + s.env.Rcpts[i].Address.Text + ">"
	}
	return words
}

const maxNamed = 20 // recipients that a record names

// batch is changes of different messages that are written together.
type batch struct {
	q      *Queue
	order  *Order
	out    []Handled
	parts  []part
	ch     []store.Change
	locked map[store.ID]bool
}

type part struct {
	index  int
	visit  *flight
	loaded bool // env and state of the message came with the choice
	*situation
}

// add takes a message in; false: it must be handled alone.
func (b *batch) add(c *Choice, index int) bool {
	id := c.Envelope.ID
	if b.locked[id] {
		return false
	}
	visit := b.q.flights.visit(id)
	m := visit.msg
	m.mu.Lock()
	p := part{index: index, visit: visit}
	if m.pending.Load() > 0 || m.settled {
		b.leave(&p)
		return false
	}
	if m.env == nil {
		m.env, m.state, p.loaded = c.Envelope, c.State, true
	}
	var err error
	p.situation, err = b.q.situation(b.order, c, m)
	if b.out[index].Err = err; err != nil || b.order.Dry {
		if err == nil {
			b.out[index].Rcpts = p.whose
		}
		b.forget(&p)
		b.leave(&p)
		return true
	}
	b.parts, b.ch = append(b.parts, p), append(b.ch, p.ch)
	if b.locked == nil {
		b.locked = map[store.ID]bool{}
	}
	b.locked[id] = true
	return true
}

// forget drops a state that may be out of date.
func (b *batch) forget(p *part) {
	if m := p.visit.msg; p.loaded {
		m.env, m.state = nil, nil
	}
}

func (b *batch) leave(p *part) {
	p.visit.msg.mu.Unlock()
	b.q.flights.end(p.visit)
}

// write writes all of it, and gives back those that must be handled alone.
func (b *batch) write(ctx context.Context) (alone []int) {
	if len(b.parts) == 0 {
		return nil
	}
	stale, err := []store.ID(nil), ctx.Err()
	if err == nil {
		stale, err = b.q.Store.Update(ctx, b.q.own, b.ch...)
	}
	for i := range b.parts {
		p := &b.parts[i]
		switch {
		case err != nil:
			b.out[p.index].Err = err
			b.reload(ctx, p)
		case slices.Contains(stale, p.env.ID):
			alone = append(alone, p.index)
			b.reload(ctx, p)
		default:
			b.out[p.index].Rcpts = p.whose
			b.q.handled(p.situation)
		}
		b.leave(p)
	}
	return alone
}

// reload: what counts is what the store holds now.
func (b *batch) reload(ctx context.Context, p *part) {
	if b.forget(p); p.loaded {
		return
	}
	if _, now, err := b.q.Store.Load(ctx, p.env.ID); err == nil {
		*p.visit.msg.state = *now
	}
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

// begin begins to decide on the recipients of a job, or gives it up without an outcome if its message was held or deleted, or they
// were changed by hand or their time was over, since it was routed.
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

// ParseReply reads what a bounce is to say: a text, behind a code of 5yz and an enhanced one if those are given.
func ParseReply(s string) (smtp.Reply, error) {
	r := Returned()
	text := strings.TrimSpace(s)
	if word, rest, _ := strings.Cut(text, " "); len(word) == 3 && isNumber(word) {
		if word[0] != '5' {
			return r, errors.New("a bounce is for good: its reply has a code of 5yz")
		}
		r.Code, text = int(word[0]-'0')*100+int(word[1]-'0')*10+int(word[2]-'0'), strings.TrimSpace(rest)
	}
	if word, rest, _ := strings.Cut(text, " "); strings.HasPrefix(word, "5.") && strings.Count(word, ".") == 2 && isNumber(strings.ReplaceAll(word, ".", "")) {
		r.Enhanced, text = word, strings.TrimSpace(rest)
	}
	if text == "" {
		return r, errors.New(`a reply needs a text: "550 5.1.1 no such user here"`)
	}
	if len(text) > message.MaxLastText {
		return r, errors.New("a reply is too long")
	}
	r.Text = []string{text}
	if err := r.Check(); err != nil {
		return r, errors.New("a reply is one line of ASCII, with a code of 5yz if any: " + err.Error())
	}
	return r, nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
