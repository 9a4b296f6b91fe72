package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/dsn"
	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// Notices tell senders that mail failed, is late, or, where they asked for that, was delivered (RFC 3461, RFC 3464). That one is owed is part of the recipient's state, written with
// the outcome; the notice and the end of the debt are one commit. So a crash neither forgets a notice nor sends it twice.
const (
	maxNotices  = 10_000 // ids waiting; more are found again by looking at all messages
	noticeRetry = time.Minute
)

// Notify begins to send notices by way of submit, those first that are owed since before. Until then debts are kept.
func (q *Queue) Notify(submit Submit) {
	q.notices.submit = submit
	q.group.Go(q.notices.loop)
}

// Submitted is what became of a notice that was handed in.
type Submitted struct {
	ID    message.ID
	Reply smtp.Reply // 250: it is committed; 5yz: a plugin refused it; else it is tried again later
}

// Submit hands a notice to intake: from the null sender to one recipient. The content is made once the id is known.
type Submit func(ctx context.Context, to smtp.Address, params smtp.Params, of *message.Notice, content func(message.ID) ([]byte, error)) Submitted

type notices struct {
	q      *Queue
	submit Submit
	mu     sync.Mutex
	ready  []store.ID
	later  map[store.ID]time.Time
	rescan bool
	kick   chan struct{}
}

func (n *notices) init(q *Queue) {
	n.q, n.kick, n.later, n.rescan = q, make(chan struct{}, 1), map[store.ID]time.Time{}, true
}

// owed says that the message has a notice to be sent.
func (n *notices) owed(id store.ID) {
	n.mu.Lock()
	if len(n.ready) < maxNotices {
		n.ready = append(n.ready, id)
	} else {
		n.rescan = true
	}
	n.mu.Unlock()
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *notices) loop() {
	tick := time.NewTicker(noticeRetry)
	defer tick.Stop()
	for {
		for id, ok := n.next(); ok; id, ok = n.next() {
			slot := n.q.Suspects.Begin(id)
			err := n.q.notify(n.q.stopping, id)
			n.q.Suspects.End(slot)
			if err != nil && n.q.stopping.Err() == nil {
				n.q.Log.Warn("a notice to a sender cannot be sent now; trying again", "id", id.String(), "error", err)
				n.mu.Lock()
				if len(n.later) < maxNotices {
					n.later[id] = time.Now().Add(noticeRetry)
				} else {
					n.rescan = true
				}
				n.mu.Unlock()
			}
		}
		select {
		case <-n.q.stopping.Done():
			return
		case <-n.kick:
		case <-tick.C:
		}
	}
}

// next takes an id that is to be looked at now.
func (n *notices) next() (id store.ID, ok bool) {
	if n.q.stopping.Err() != nil {
		return id, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.ready) == 0 {
		now := time.Now()
		for id, at := range n.later {
			if !at.After(now) {
				delete(n.later, id)
				n.ready = append(n.ready, id)
			}
		}
	}
	if len(n.ready) == 0 && n.rescan {
		n.rescan = false
		n.mu.Unlock()
		found, whole := n.scan()
		n.mu.Lock()
		n.ready, n.rescan = append(n.ready, found...), n.rescan || !whole
	}
	if len(n.ready) == 0 {
		return id, false
	}
	id, n.ready = n.ready[0], n.ready[1:]
	return id, true
}

// scan looks at all messages for those that owe a notice.
func (n *notices) scan() (found []store.ID, whole bool) {
	var cursor store.Cursor
	for {
		items, next, err := n.q.Store.Scan(n.q.stopping, cursor, page)
		if err != nil {
			if n.q.stopping.Err() == nil {
				n.q.Log.Error("the queue cannot be searched for notices that are owed; trying again", "error", err)
			}
			return found, false
		}
		for _, it := range items {
			if slices.ContainsFunc(it.State.Rcpts, func(r store.RcptState) bool { return r.Owed }) {
				if len(found) >= maxNotices {
					return found, false
				}
				found = append(found, it.Envelope.ID)
			}
		}
		if next == nil {
			return found, true
		}
		cursor = next
	}
}

// notify sends what a message owes: one notice for all recipients of whom it says the same.
func (q *Queue) notify(ctx context.Context, id store.ID) error {
	env, state, err := q.Store.Load(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, kind := range dsn.Kinds() {
		if of := debts(env, state, kind); of != nil {
			if err := q.tell(ctx, kind, env, state, of); err != nil {
				return err
			}
		}
	}
	return nil
}

// debts are the recipients of whom the sender is to be told that; nil: there are none.
func debts(env *message.Envelope, state *store.State, kind dsn.Kind) *message.Notice {
	of := &message.Notice{Of: env.ID}
	for i := range state.Rcpts {
		if r := &state.Rcpts[i]; r.Owed && noticeKind(env, i, r) == kind {
			of.Rcpts = append(of.Rcpts, i)
		}
	}
	if len(of.Rcpts) == 0 {
		return nil
	}
	return of
}

// tellAtOnce tells the sender of what was delivered before the reply. Nothing is stored that could owe it later, so it is tried
// once.
func (q *Queue) tellAtOnce(ctx context.Context, env *message.Envelope, content message.Content, plan *message.Plan, out []message.Outcome) {
	set, state, now := q.Settings(), store.Begin(env), q.now()
	terms := set.terms(env, "")
	for i := range out {
		if st := &state.Rcpts[i]; out[i].Result == message.Delivered {
			st.Result, st.Last, st.Tried, st.Lane = message.Delivered, out[i].Last(), now, plan.Lane()
			st.Owed = q.notices.submit != nil && terms.owed(i, state, &out[i], false, false)
		}
	}
	for _, kind := range dsn.Kinds() {
		of := debts(env, state, kind)
		if of == nil {
			continue
		}
		sub := q.notices.submit(ctx, env.Sender, noticeParams(terms.asked, env.Sender), nil, func(id message.ID) ([]byte, error) {
			return q.compose(kind, id, now, env, state, of, env.Sent(content))
		})
		if sub.Reply.Code/100 == 2 {
			q.noticed(of, noticeSent, kind.String()+" notice to <"+env.Sender.Text+"> as "+sub.ID.String())
		} else {
			q.noticed(of, noticeDiscarded, kind.String()+" notice to <"+env.Sender.Text+"> was refused: "+sub.Reply.Error())
		}
	}
}

func (q *Queue) tell(ctx context.Context, kind dsn.Kind, env *message.Envelope, state *store.State, of *message.Notice) error {
	now := q.now()
	if dsn.Owed(env.Sender) {
		set := q.Settings()
		sub := q.notices.submit(ctx, env.Sender, noticeParams(set.terms(env, "").asked, env.Sender), of, func(id message.ID) ([]byte, error) {
			if content, err := q.Store.Open(ctx, env.ID); err == nil {
				defer content.Close()
				return q.compose(kind, id, now, env, state, of, env.Sent(content))
			}
			return q.compose(kind, id, now, env, state, of, nil)
		})
		code := sub.Reply.Code
		if code/100 != 5 {
			if code/100 == 2 {
				q.noticed(of, noticeSent, kind.String()+" notice to <"+env.Sender.Text+"> as "+sub.ID.String())
				return nil
			}
			if of.Over {
				return nil
			}
			if code == 0 {
				return errors.New("it is not known whether it was queued")
			}
			return sub.Reply
		}
		q.noticed(of, noticeDiscarded, kind.String()+" notice to <"+env.Sender.Text+"> was refused: "+sub.Reply.Error())
	}
	// Nobody is told: the debt ends all the same.
	return q.alone(ctx, of.Of, func(env *message.Envelope, state *store.State) error {
		ch, err := told(of, state)
		if err != nil {
			return nil // somebody was faster
		}
		q.parting(env, &ch)
		if _, err := q.Store.Update(ctx, q.own, ch); err != nil {
			return err
		}
		q.applied(env, state, ch)
		return nil
	})
}

func (q *Queue) noticed(of *message.Notice, verdict, detail string) {
	q.counts.notice(verdict)
	q.Records.Append(of.Of.String(), observe.Step{Time: time.Now(), Stage: "notice", Generation: q.Current.Number(), Verdict: verdict, Detail: detail})
	q.Log.Info("notice "+verdict, "id", of.Of.String(), "detail", detail)
}

// compose writes the notice. The original goes along with its header, or all of it where that was asked for; nil where it cannot be
// read.
func (q *Queue) compose(kind dsn.Kind, id message.ID, now time.Time, env *message.Envelope, state *store.State, of *message.Notice, original message.Content) ([]byte, error) {
	set := q.Settings()
	r := dsn.Report{ID: id, Date: now, Kind: kind, ReportingMTA: set.Hostname, Message: env.ID, Arrived: env.Arrived, Sender: env.Sender}
	terms := set.terms(env, "")
	r.EnvelopeID, r.Global = terms.asked.EnvelopeID, terms.asked.UTF8
	r.ReturnFull = kind == dsn.Failed && terms.asked.Return == esmtp.Full && !terms.asked.RequireTLS // RFC 8689 section 5
	for _, i := range of.Rcpts {
		st := &state.Rcpts[i]
		rc := dsn.NewRcpt(kind, env.Rcpts[i], st.Last, st.Tried)
		here := set.terms(env, q.siteOfLane(st.Lane, set.Shape))
		rc.WillRetryUntil = here.expires
		r.Rcpts = append(r.Rcpts, rc)
	}
	r.Original = original
	return r.Compose()
}

// errTold: nothing was written.
var errTold = fmt.Errorf("%w: the sender is not to be told any more", store.ErrBusy)

// told is the change that ends a debt.
func told(of *message.Notice, state *store.State) (store.Change, error) {
	ch := store.Change{ID: of.Of, Rev: state.Rev, Settled: true}
	for i := range state.Rcpts {
		st := state.Rcpts[i]
		if slices.Contains(of.Rcpts, i) {
			if !st.Owed {
				return ch, errTold
			}
			st.Owed, st.Warned = false, waits(st)
			ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: st})
		}
		if st.Open() {
			ch.Settled = false
		}
	}
	return ch, nil
}

// applied takes a change that was written outside the marks into the state in memory. It is called within alone.
func (q *Queue) applied(env *message.Envelope, state *store.State, ch store.Change) {
	for _, r := range ch.Rcpts {
		state.Rcpts[r.Index] = r.RcptState
	}
	state.Rev++
	if ch.Settled {
		q.flights.settled(env.ID)
		q.keys.settled(env)
	}
}

// commitNotice commits a notice together with the end of the debt. The debt may have ended while the notice was written: the recipient had the mail,
// or somebody deleted it.
func (q *Queue) commitNotice(ctx context.Context, env *message.Envelope, body store.BodyWriter) error {
	of, begun := env.Notice, false
	err := q.alone(ctx, of.Of, func(about *message.Envelope, state *store.State) error {
		ch, err := told(of, state)
		if err != nil {
			return err
		}
		q.parting(about, &ch)
		begun = true
		if err := q.Store.Commit(ctx, env, body, append(q.appoint(env), ch)...); err != nil {
			return err
		}
		q.applied(about, state, ch)
		return nil
	})
	if !begun && errors.Is(err, store.ErrNotFound) {
		err = errTold
	}
	of.Over = errors.Is(err, errTold)
	return err
}
