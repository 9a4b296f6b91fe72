package hooks

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// A hook in the background is called on a goroutine of its own, with copies of the objects as they were when it was its turn, so
// it and the session never touch the same memory. What it set is taken over by the session's goroutine: when a hook that
// reads one of its facts is about to be asked, at the latest before the stage queue. Then it is also counted and recorded.

// maxBackground bounds the calls in the background of one session. One more waits for all of them first.
const maxBackground = 16

// task is one such call.
type task struct {
	hook   *Hook
	call   *Call // with the copies
	of     Call  // what they are copies of
	owners message.Owners
	gen    *Generation // held until it ends
	start  time.Time
	err    error
	cancel context.CancelFunc
	done   chan struct{}
}

// begin calls h in the background.
func (g *Generation) begin(c *Call, h *Hook, start time.Time) {
	if len(c.tasks()) >= maxBackground {
		c.settle(nil)
	}
	t := &task{hook: h, of: *c, gen: g, start: start, owners: message.Owners{}, done: make(chan struct{})}
	t.copy()
	t.call.Parent, t.cancel = context.WithCancel(cmp.Or(c.Parent, context.Background()))
	g.refs.Add(1) // the caller holds it, too
	go func() {
		defer g.Release()
		defer close(t.done)
		defer t.cancel()
		_, t.err = t.call.ask(h, start)
		t.call.ended = g.now()
	}()
	c.note(asked{plugin: h.Plugin, task: t})
}

func (t *task) copy() {
	t.call = &Call{Stage: t.of.Stage, Session: t.of.Session.Clone(t.owners)}
	if m := t.of.Message; m != nil {
		env := m.Envelope.Clone(t.owners)
		env.Session = t.call.Session
		t.call.Message = &MessageView{Envelope: env, Content: m.Content, header: m.header}
	}
	if r := t.of.Rcpt; r != nil {
		of, own := *r, *r // the view is used again for the next recipient
		own.Rcpt, own.Message = r.Rcpt.Clone(t.owners), t.call.Message
		t.of.Rcpt, t.call.Rcpt = &of, &own
	}
}

// tasks are those in the lists, in the order they began.
func tasks(lists ...[]asked) (out []*asked) {
	for _, list := range lists {
		for i := range list {
			if list[i].task != nil {
				out = append(out, &list[i])
			}
		}
	}
	return out
}

func (c *Call) tasks() []*asked {
	if c.Message == nil {
		return tasks(c.Asked)
	}
	return tasks(c.Asked, c.Message.asked)
}

// settle waits for the tasks that set one of the facts, or for all where none is given, and takes over what they set. It tells
// whether there were any.
func (c *Call) settle(facts []read) (waited bool) {
	for _, a := range c.tasks() {
		t := a.task
		if facts != nil && !slices.ContainsFunc(facts, func(r read) bool { return t.hook.sets(r.fact) }) {
			continue
		}
		<-t.done
		t.call.Session, t.call.Message, t.call.Rcpt, t.call.Observer = t.of.Session, t.of.Message, t.of.Rcpt, c.Observer
		for i := range t.call.edits {
			t.call.edits[i].facts = t.owners[t.call.edits[i].facts]
		}
		var res Result
		t.gen.step(t.call, t.hook, &res, nil, t.err, t.start)
		a.task, a.failed, waited = nil, res.Failed, true
	}
	return waited
}

// Abandon breaks off what runs in the background for the session, and waits for it: nobody will read it.
func (c *Call) Abandon() { abandon(tasks(c.Asked)) }

// Abandon does so with what runs for the message. Afterwards nothing reads its content.
func (m *MessageView) Abandon() { abandon(tasks(m.asked)) }

func abandon(list []*asked) {
	for _, a := range list {
		a.task.cancel()
	}
	for _, a := range list {
		<-a.task.done
		a.task = nil
	}
}
