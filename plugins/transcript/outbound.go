package transcript

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/queue"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// What comes of no client: the message that was kept last is routed and attempted, and the plugin is asked at tick, when the
// transcript says so.

type (
	routing struct{ who []smtp.Address }
	attempt struct{ who []smtp.Address }
	beat    struct{}
)

func outboundLines() []Line {
	return []Line{
		{"route", "route [RCPT ...]", "Asks the stage route for recipients of the message that was kept last; without RCPT for all. Nothing is sent.", func(p *parser, rest string) action {
			who, ok := p.rcpts(rest)
			if !ok {
				return nil
			}
			return &routing{who}
		}},
		{"attempt", "attempt [RCPT ...]", "Routes and attempts them, as the queue does when they are due: the plugin that the plan names delivers, or the next hop answers as given; then the stage of the outcome is asked.",
			func(p *parser, rest string) action {
				who, ok := p.rcpts(rest)
				if !ok {
					return nil
				}
				return &attempt{who}
			}},
		{"tick", "tick", "Asks the plugin's on.tick, once, whatever its interval. Time that passes asks nobody.", alone(&beat{})},
	}
}

func (p *parser) rcpts(rest string) (who []smtp.Address, ok bool) {
	list, err := words(rest)
	if err != nil {
		p.fail("%v", err)
		return nil, false
	}
	for _, w := range list {
		a, ok := p.address(w.text)
		if !ok {
			return nil, false
		}
		who = append(who, a)
	}
	return who, true
}

// mail is a message that was kept, as the queue would read it back.
type mail struct {
	env     *message.Envelope
	content message.Content // as the client sent it
	rcpts   []delivery
}

// delivery is what became of one recipient.
type delivery struct {
	attempts int
	first    time.Time
	last     message.Last
	plan     *message.Plan    // the latest
	outcome  *message.Outcome // the latest
	told     bool             // a plugin said that nobody is to be told
}

func (d *delivery) done() bool {
	return d.outcome != nil && d.outcome.Result != message.Deferred
}

func (m *mail) view() *hooks.MessageView {
	return &hooks.MessageView{Envelope: m.env, Content: m.env.Sent(m.content)}
}

func (m *mail) rcpt(view *hooks.MessageView, i int) *hooks.RcptView {
	d := &m.rcpts[i]
	return &hooks.RcptView{Rcpt: m.env.Rcpts[i], Message: view, Index: i, Attempts: d.attempts, FirstTry: d.first, Last: d.last}
}

// latest is the message that was kept, or delivered before its reply, last.
func (r *run) latest() (*mail, error) {
	ids := r.spool.all()
	if r.mail != nil && r.known == len(ids) {
		return r.mail, nil
	}
	if len(ids) == 0 {
		return nil, errors.New("no message was kept yet")
	}
	id := ids[len(ids)-1]
	env, _, err := r.spool.Load(r.ctx, id)
	if err != nil {
		return nil, err
	}
	content, err := r.spool.Open(r.ctx, id)
	if err != nil {
		return nil, err
	}
	r.mail, r.known = &mail{env: env, content: content, rcpts: make([]delivery, len(env.Rcpts))}, len(ids)
	return r.mail, nil
}

// note keeps what became of a message that was delivered before its reply.
func (r *run) note(m *mail, plan *message.Plan, out []message.Outcome) {
	for i := range out {
		m.rcpts[i].plan, m.rcpts[i].outcome = plan, &out[i]
	}
	r.mail, r.known = m, len(r.spool.all())
}

// some gives the places of recipients; all of them when nobody is named.
func (m *mail) some(who []smtp.Address) (places []int, err error) {
	if len(who) == 0 {
		for i := range m.env.Rcpts {
			places = append(places, i)
		}
		return places, nil
	}
	for _, a := range who {
		i := slices.IndexFunc(m.env.Rcpts, func(r *message.Rcpt) bool { return r.Address.Text == a.Text })
		if i < 0 {
			var names []string
			for _, r := range m.env.Rcpts {
				names = append(names, r.Address.Text)
			}
			return nil, fmt.Errorf("<%s> is no recipient of the message that was kept last; they are %s", a.Text, strings.Join(names, ", "))
		}
		places = append(places, i)
	}
	return places, nil
}

// toSend begins a line that routes.
func (r *run) toSend(who []smtp.Address) (*mail, []int, error) {
	if err := r.begin(); err != nil {
		return nil, nil, err
	}
	m, err := r.latest()
	if err != nil {
		return nil, nil, err
	}
	if m.env.Hold != "" {
		return nil, nil, fmt.Errorf("the message is held (%s), so the queue routes nobody", m.env.Hold)
	}
	places, err := m.some(who)
	return m, places, err
}

func (a *routing) do(r *run) error {
	m, places, err := r.toSend(a.who)
	if err != nil {
		return err
	}
	gen := r.current.Acquire()
	defer gen.Release()
	for _, i := range places {
		r.route(gen, m, i)
	}
	return nil
}

func (*beat) do(r *run) error {
	if err := r.begin(); err != nil {
		return err
	}
	gen := r.current.Acquire()
	defer gen.Release()
	call := hooks.Call{Stage: hooks.Tick, Tick: &hooks.TickView{Time: r.clock.Now()}, Parent: r.ctx}
	if _, ok := gen.RunPlugin(&call, r.plugin); !ok {
		return errors.New("the plugin has no on.tick")
	}
	return nil
}

// route asks the stage route for one recipient.
func (r *run) route(gen *hooks.Generation, m *mail, i int) {
	d := &m.rcpts[i]
	if d.plan = queue.ParcelPlan(m.env); d.plan != nil {
		return
	}
	view := m.view()
	call := hooks.Call{Stage: hooks.Route, Session: m.env.Session, Message: view, Rcpt: m.rcpt(view, i), Parent: r.ctx}
	d.plan, d.outcome = queue.Decide(gen.Run(&call), m.env.Rcpts[i])
}

func (a *attempt) do(r *run) error {
	m, places, err := r.toSend(a.who)
	if err != nil {
		return err
	}
	r.shaped.attempted()
	places = slices.DeleteFunc(places, func(i int) bool { return len(a.who) == 0 && (m.rcpts[i].done() || m.env.Rcpts[i].Hold != "") })
	gen := r.current.Acquire()
	defer gen.Release()
	var groups [][]int // recipients with the same plan travel together
	for _, i := range places {
		r.route(gen, m, i)
		plan := m.rcpts[i].plan
		if plan == nil {
			continue
		}
		k := slices.IndexFunc(groups, func(g []int) bool { return m.rcpts[g[0]].plan.Equal(plan) && m.env.SameCopy(g[0], i) })
		if k < 0 {
			k, groups = len(groups), append(groups, nil)
		}
		groups[k] = append(groups[k], i)
	}
	for _, g := range groups {
		for k, o := range r.try(r.ctx, gen, m, g, m.rcpts[g[0]].plan) {
			m.rcpts[g[k]].outcome = &o
		}
	}
	for _, i := range places {
		r.conclude(gen, m, i)
	}
	if !slices.ContainsFunc(m.rcpts, func(d delivery) bool { return !d.done() }) {
		r.spool.settled(m.env)
	}
	return nil
}

// try attempts recipients that share a plan.
func (r *run) try(ctx context.Context, gen *hooks.Generation, m *mail, places []int, plan *message.Plan) []message.Outcome {
	if queue.ByPlugin(plan) {
		view := m.view()
		view.Content = m.env.SentTo(m.content, places[0])
		d := &hooks.DeliveryView{Message: view, Plan: plan, Number: 1}
		for _, i := range places {
			d.Number = max(d.Number, m.rcpts[i].attempts+1)
			d.Rcpts = append(d.Rcpts, m.rcpt(view, i))
		}
		if err := queue.Unpack(d, m.content); err != nil {
			panic(err) // it was packed here
		}
		return queue.Hand(gen, &hooks.Call{Stage: hooks.Deliver, Session: m.env.Session, Message: view, Delivery: d, Parent: ctx})
	}
	r.mu.Lock()
	o := message.Outcome{Result: message.Deferred, Reply: r.hop, Host: r.replier()}
	r.mu.Unlock()
	switch o.Reply.Code / 100 {
	case 2:
		o.Result = message.Delivered
	case 5:
		o.Result = message.Failed
	}
	return slices.Repeat([]message.Outcome{o}, len(places))
}

// conclude takes one recipient's outcome through its stage.
func (r *run) conclude(gen *hooks.Generation, m *mail, i int) {
	d := &m.rcpts[i]
	if !m.env.IsParcel() {
		d.told = queue.Conclude(gen, d.outcome, func(s hooks.Stage, o *message.Outcome) *hooks.Call {
			view := m.view()
			rcpt := m.rcpt(view, i)
			rcpt.Last = r.sorted(o.Last())
			rcpt.Attempts++
			rcpt.Way = r.way(d.plan)
			return &hooks.Call{Stage: s, Session: m.env.Session, Message: view, Rcpt: rcpt, Parent: r.ctx}
		})
	}
	d.attempts++
	if d.first.IsZero() {
		d.first = r.clock.Now()
	}
	d.last = r.sorted(d.outcome.Last())
}

// sorted is an outcome with its class, as the queue tells it.
func (r *run) sorted(last message.Last) message.Last {
	last.Class = string(bounce.New(nil).Of(last.Code, last.Enhanced, last.Text))
	return last
}
