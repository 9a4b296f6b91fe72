package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// attempt tries one job and records what came of it. A crash meanwhile is a strike of its message.
func (q *Queue) attempt(j *job) []message.Outcome {
	slot := q.Suspects.Begin(j.flight.msg.id)
	outcomes := q.try(j)
	q.Suspects.End(slot)
	return outcomes
}

// try returns nil where nothing was tried.
func (q *Queue) try(j *job) []message.Outcome {
	if !q.own.Valid(leaseMargin) {
		q.skip(j)
		return nil
	}
	if q.parked(j) || q.turned(j) || q.overflows(j) {
		return nil
	}
	began, gen := time.Now(), q.Current.Acquire()
	defer gen.Release()
	m := j.flight.msg
	content, err := m.body(q.stopping, q.Store)
	if !q.begin(j) {
		q.unwarm(j, nil)
		return nil
	}
	set := q.Settings()
	if terms := set.terms(m.env, ""); terms.lapsed(q.now()) {
		q.unwarm(j, nil)
		q.finish(gen, j, all(len(j.rcpts), lapse))
		return nil
	}
	var outcomes []message.Outcome
	switch {
	case errors.Is(err, store.ErrDamaged):
		q.Log.Error("content is damaged; the message is held", "id", m.id.String())
		outcomes = all(len(j.rcpts), message.Outcome{Result: message.Held, Reply: smtp.NewReply(451, "4.3.0", "the stored content is damaged")})
	case err != nil:
		q.Log.Error("content cannot be read", "id", m.id.String(), "error", err)
		outcomes = all(len(j.rcpts), message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.0", "the stored content cannot be read")})
	default:
		outcomes = q.send(q.stopping, gen, m.view(q), content, j)
	}
	q.unwarm(j, outcomes)
	q.counts.attempted(time.Since(began), outcomes)
	q.finish(gen, j, outcomes)
	return outcomes
}

// send attempts a job by its plan: the plugin that via names, or the sender. The view is this attempt's own.
func (q *Queue) send(ctx context.Context, gen *hooks.Generation, view *hooks.MessageView, content message.Content, j *job) []message.Outcome {
	if !ByPlugin(j.plan) {
		set := q.Settings()
		return q.Sender.Send(ctx, &deliver.Job{Env: view.Envelope, Content: content, Rcpts: j.rcpts, Plan: j.plan, Again: j.again(), Record: j.steps.Observe, ConnectionMessages: j.connectionMessages, Prefer: j.prefer, TLS: j.tls, HostTLS: set.hostTLS})
	}
	view.Content = view.SentTo(content, j.rcpts[0])
	d := &hooks.DeliveryView{Message: view, Plan: j.plan, Number: 1}
	for _, i := range j.rcpts {
		r := &hooks.RcptView{Rcpt: view.Rcpts[i], Message: view, Index: i}
		if j.flight != nil {
			j.flight.msg.rcptView(q, r, view, i)
		}
		d.Number = max(d.Number, r.Attempts+1)
		d.Rcpts = append(d.Rcpts, r)
	}
	if err := Unpack(d, content); err != nil {
		q.Log.Error("a parcel cannot be read", "id", view.ID.String(), "error", err)
		return all(len(j.rcpts), message.Outcome{Result: message.Held, Reply: smtp.NewReply(451, "4.3.0", "the stored content cannot be read")})
	}
	call := hooks.Call{Stage: hooks.Deliver, Session: view.Session, Message: view, Delivery: d, Observer: &j.steps, Parent: ctx}
	return Hand(gen, &call)
}

// Relay delivers a message that is not in the queue, before its reply: the stage queue answered route. The caller commits
// what was not delivered, or refuses.
func (q *Queue) Relay(ctx context.Context, gen *hooks.Generation, env *message.Envelope, content message.Content, plan *message.Plan, obs hooks.Observer) []message.Outcome {
	out := make([]message.Outcome, len(env.Rcpts))
	var jobs []*job
	set, sites := q.Settings(), map[store.Lane]string{}
	for i, r := range env.Rcpts {
		p := *plan
		if _, o := Decide(hooks.Result{Plan: &p}, r); o != nil {
			out[i] = *o
			continue
		}
		spare := set.draw(&p, env.ID, r.Address.Domain)
		lane := laneOf(env, &p)
		site, known := sites[lane]
		if !known {
			site = q.SiteOf(ctx, lane)
			sites[lane] = site
		}
		if q.suspensions.of(env, i, lane, site) != nil {
			out[i] = suspendedReply()
			continue
		}
		k := 0
		for k < len(jobs) && !(jobs[k].plan.Equal(&p) && env.SameCopy(jobs[k].rcpts[0], i)) {
			k++
		}
		if k == len(jobs) {
			jobs = append(jobs, &job{plan: &p, site: site, spare: spare})
		}
		jobs[k].rcpts = append(jobs[k].rcpts, i)
	}
	for _, j := range jobs {
		for k, o := range q.sendAtOnce(ctx, gen, env, content, j, &set) {
			out[j.rcpts[k]] = o
		}
		for _, s := range j.steps.steps {
			obs.Observe(s)
		}
	}
	q.tellAtOnce(ctx, env, content, plan, out)
	return out
}

// sendAtOnce attempts a job of Relay within the limits of its site that say what an attempt is like and whether there may be one. How many run
// at once is for the sessions that bring mail.
func (q *Queue) sendAtOnce(ctx context.Context, gen *hooks.Generation, env *message.Envelope, content message.Content, j *job, set *Settings) []message.Outcome {
	l, _ := q.measures.table.Load().limits(set.limits(j.site), siteKey{j.site, j.plan.Source}, "")
	if c := q.outside(l.Window, time.Now()); c != nil {
		return all(len(j.rcpts), c.why)
	}
	w := set.warmup(j.plan.Source)
	for ; w != nil && !q.ramps.take(w, j.plan.Source, j.site); w = set.warmup(j.plan.Source) {
		if len(j.spare) == 0 {
			return all(len(j.rcpts), shut(warmedUp(j.plan.Source)))
		}
		j.plan.Source, j.spare = j.spare[0], j.spare[1:]
	}
	j.warmed = w != nil
	j.connectionMessages, j.prefer, j.tls = l.ConnectionMessages, l.Prefer, l.TLS
	outcomes := q.send(ctx, gen, &hooks.MessageView{Envelope: env}, content, j)
	q.unwarm(j, outcomes)
	return outcomes
}

// unwarm gives a message back to the ramp of its source that nobody answered for.
func (q *Queue) unwarm(j *job, outcomes []message.Outcome) {
	if j.warmed && !slices.ContainsFunc(outcomes, func(o message.Outcome) bool { return o.Host != "" || o.Unknown }) {
		q.ramps.giveBack(j.plan.Source, j.site)
	}
}

// again tells whether a recipient of the job may have been tried before: only what was just accepted was not.
func (j *job) again() bool {
	if j.flight == nil {
		return false
	}
	m := j.flight.msg
	m.mu.Lock()
	defer m.mu.Unlock()
	return !j.flight.fresh || slices.ContainsFunc(j.rcpts, func(i int) bool { return m.state.Rcpts[i].Attempts > 0 })
}

// retryAt is when a recipient that was deferred for the n-th time (from 1) is tried again.
func (t *Times) retryAt(now time.Time, n int, after time.Duration) time.Time {
	if after <= 0 {
		after = t.Retry[min(n, len(t.Retry))-1]
	}
	return store.WholeSecond(now.Add(after))
}
