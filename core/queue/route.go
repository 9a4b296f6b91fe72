package queue

import (
	"errors"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// job is one group of recipients of a flight that share a plan: one attempt.
type job struct {
	flight *flight
	rcpts  []int
	plan   *message.Plan
	lane   store.Lane
	site   string // whose limits count
	steps  recorded

	decided []message.Outcome // one for each of rcpts where no attempt is made: the stage route said so, or their time is over
	review  bool              // what is decided counts as no attempt
	next    *job              // of those of its message that were begun

	generation         uint64 // that made the plan
	la                 *lane
	why                *message.Outcome // it was not tried, if it was not; nil: there is no room
	connectionMessages int              // most over one connection, when it is attempted
	prefer             string           // a family of addresses, likewise
	turned             bool             // it goes by another way than the plugins' plan says, for a measure
	pace               *pace            // of its tenant, while it is attempted; nil: he is not slowed down
	tls                message.TLSLevel // where the plan says nothing, when it is attempted
	spare              []string         // sources of its pool that it may go by besides
	warmed             bool             // it is counted to the ramp of its source
}

// recorded collects the steps of one attempt.
type recorded struct{ steps []observe.Step }

// Observe implements hooks.Observer.
func (r *recorded) Observe(s observe.Step) { r.steps = append(r.steps, s) }

// route is one router: it takes flights and makes jobs of them.
func (q *Queue) route() {
	for {
		select {
		case <-q.stopping.Done():
			return
		case f := <-q.routes:
			q.routeInHand(f)
		}
	}
}

func (q *Queue) routeFlight(f *flight) {
	if err := f.load(q.stopping, q.Store); err != nil {
		ch := store.Change{ID: f.msg.id, Del: []store.Entry{f.entry}}
		switch {
		case errors.Is(err, store.ErrNotFound): // an entry without a message
			ch.Settled = true
			q.markAlone(f, ch)
			return
		case errors.Is(err, store.ErrDamaged):
			q.Log.Error("the record of a message is damaged; it is held", "id", f.msg.id.String(), "error", err)
			why := "the record is damaged"
			ch.Held = &why
			q.markAlone(f, ch)
			return
		}
		if q.stopping.Err() == nil {
			q.Log.Error("message cannot be loaded; it stays in the queue", "id", f.msg.id.String(), "error", err)
			q.wake.again(f.entry.Lane, time.Now().Add(time.Minute))
		}
		q.land(f)
		return
	}
	switch {
	case f.entry.Lane == termsLane:
		q.review(f)
		return
	case len(f.rcpts) == 0:
		q.mark(f) // held, or an entry that a crash left behind
		return
	}
	if q.holdSuspect(f) {
		return
	}
	gen := q.Current.Acquire()
	defer gen.Release()
	jobs, settled := q.plan(gen, f)
	f.msg.mu.Lock()
	f.open = len(jobs)
	if settled != nil {
		f.open++
	}
	f.msg.mu.Unlock()
	if settled != nil && q.begin(settled) {
		q.finish(gen, settled, settled.decided)
	}
	for _, j := range jobs {
		q.lanes.push(j)
	}
}

// markAlone writes the only change of a flight whose message could not be loaded.
func (q *Queue) markAlone(f *flight, ch store.Change) {
	f.msg.pending.Add(1)
	q.marks <- &mark{flight: f, last: true, write: true, change: ch}
}

// plan asks the stage route for each due recipient and groups them; settled are those whose outcome it decided.
func (q *Queue) plan(gen *hooks.Generation, f *flight) (jobs []*job, settled *job) {
	m := f.msg
	view := m.view(q)
	var rec recorded
	call := hooks.Call{Stage: hooks.Route, Session: m.env.Session, Message: view, Observer: &rec, Parent: q.stopping}
	var rcpt hooks.RcptView
	var own *job
	set := q.Settings()
	for _, i := range f.rcpts {
		m.rcptView(q, &rcpt, view, i)
		call.Rcpt = &rcpt
		var res hooks.Result
		plan, out := ParcelPlan(m.env), (*message.Outcome)(nil)
		if plan == nil {
			res = gen.Run(&call)
			plan, out = Decide(res, m.env.Rcpts[i])
		}
		if hop := m.rerouted(i); hop != nil {
			plan, out = byHand(hop, plan), nil
		}
		if out != nil && res.Failed && q.stopping.Err() != nil { // the plugin may have failed for that alone
			broken := interrupted
			out = &broken
		}
		if out != nil {
			if settled == nil {
				settled = &job{flight: f}
			}
			settled.rcpts = append(settled.rcpts, i)
			settled.decided = append(settled.decided, *out)
			continue
		}
		spare := set.draw(plan, m.id, m.env.Rcpts[i].Address.Domain)
		lane := laneOf(m.env, plan)
		rec.Observe(observe.Step{Time: q.now(), Stage: "route", Generation: gen.Number, Verdict: "route", Detail: "<" + m.env.Rcpts[i].Address.Text + "> to " + string(lane)})
		own = nil
		for _, j := range jobs {
			if j.lane == lane && j.plan.Equal(plan) && m.env.SameCopy(j.rcpts[0], i) {
				own = j
				break
			}
		}
		if own == nil {
			own = &job{flight: f, plan: plan, lane: lane, generation: gen.Number, spare: spare}
			jobs = append(jobs, own)
		}
		own.rcpts = append(own.rcpts, i)
	}
	if len(jobs) > 0 { // the steps go with the first attempt
		jobs[0].steps = rec
	} else if settled != nil {
		settled.steps = rec
	}
	return jobs, settled
}

// rerouted is the next hop that somebody chose for a recipient by hand; nil: nobody did.
func (m *msg) rerouted(i int) *message.Plan {
	m.mu.Lock()
	route := m.state.Rcpts[i].Route
	m.mu.Unlock()
	if route == "" {
		return nil
	}
	hop, err := message.ParseHop(route)
	if err != nil { // it was read before it was stored
		return nil
	}
	return hop
}

// byHand is a plan in which the next hop is that which somebody chose, whatever the plugins said. What they said of the rest stays.
func byHand(hop, plan *message.Plan) *message.Plan {
	if plan == nil {
		return hop
	}
	p := *plan
	p.Via, p.Transport, p.Hosts, p.MX, p.Private, p.Auth = hop.Via, hop.Transport, hop.Hosts, hop.MX, hop.Private, message.Auth{} // what plugins name is for their own
	p.Site, p.SiteBy = "", ""                                                                                                     // that of the next hop counts
	return &p
}

// interrupted is what becomes of a recipient whose plugin was broken off because the queue stops; see unfinished.
var interrupted = message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.2", "the attempt was interrupted")}

// view is the message as hooks see it in the queue.
func (m *msg) view(q *Queue) *hooks.MessageView {
	return &hooks.MessageView{Envelope: m.env, Load: func() (message.Content, error) {
		c, err := m.body(q.stopping, q.Store)
		if err != nil {
			return nil, err
		}
		return m.env.Sent(c), nil
	}}
}

func (m *msg) rcptView(q *Queue, v *hooks.RcptView, view *hooks.MessageView, i int) {
	m.mu.Lock()
	st := m.state.Rcpts[i]
	m.mu.Unlock()
	*v = hooks.RcptView{Rcpt: m.env.Rcpts[i], Message: view, Index: i, Attempts: int(st.Attempts), FirstTry: st.First, Last: q.sorted(st.Last)}
}

// sorted is an outcome with its class, as plugins see it.
func (q *Queue) sorted(last message.Last) message.Last {
	set := q.Settings()
	last.Class = string(set.Classes.Of(last.Code, last.Enhanced, last.Text))
	return last
}
