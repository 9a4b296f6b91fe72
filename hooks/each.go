package hooks

import (
	"slices"

	"github.com/stagepost/stagepost/core/message"
)

// SMTP has one reply for all recipients of a content, so verdicts on single ones cannot all be told. What each at data does
// follows from that:
//
//   - One is deferred: the whole message is, since who comes again comes with all recipients. It ends the stage, as defer does.
//   - One is refused: it drops out, and hooks that are asked later do not see it. When nobody is left, that is the reply, and
//     the stage ends. Else the client hears 250, so the refused one must not be lost without a word: it is queued and held.
//   - One is held or discarded: others go on, and later hooks are still asked. Hold beats discard, and a refusal both.

// Rcpts are the recipients that an each of this call is about, in order: the delivery's, or the message's.
func (c *Call) Rcpts() []*RcptView {
	switch {
	case c.Stage == Deliver:
		return c.Delivery.Rcpts
	case c.Stage == Data:
		return c.Message.rcpts()
	}
	return nil
}

// each carries out one plugin's verdicts on the recipients of a message at data.
func (m *MessageView) each(res *Result, verdicts []*Verdict, plugin string) {
	var refusal *Verdict
	rcpts := slices.Clone(m.Rcpts)
	for i, v := range verdicts[:min(len(verdicts), len(rcpts))] {
		switch r := rcpts[i]; {
		case v == nil:
		case v.Kind == Defer:
			res.End, res.By = v, plugin
			return
		case v.Kind == Reject:
			if refusal == nil {
				refusal = v
			}
			r.Hold = "refused by " + plugin + ": " + v.Reply().Error()
			m.refused = append(m.refused, r)
			m.Rcpts = slices.DeleteFunc(m.Rcpts, func(o *message.Rcpt) bool { return o == r })
		case v.Kind == Hold && r.Hold == "":
			if r.Hold = v.Reason; v.Reason == "" {
				r.Hold = "held by " + plugin
			}
		case v.Kind == Discard:
			if m.dropped == nil {
				m.dropped = map[*message.Rcpt]bool{}
			}
			m.dropped[r] = true
		}
	}
	if len(m.Rcpts) == 0 && refusal != nil {
		res.End, res.By = refusal, plugin
	}
}

// Settle divides the recipients by what plugins said of them at data: those that go on stay, discarded ones are gone, and the
// others are returned, whose Hold says why.
func (m *MessageView) Settle(discard bool) (held []*message.Rcpt) {
	m.Rcpts = slices.DeleteFunc(m.Rcpts, func(r *message.Rcpt) bool {
		if r.Hold != "" {
			held = append(held, r)
		}
		return r.Hold != "" || discard || m.dropped[r]
	})
	return append(held, m.refused...)
}

// eachDetail says for a record what was answered, and of whom.
func eachDetail(rcpts []*RcptView, verdicts []*Verdict) string {
	detail := ""
	for i, v := range verdicts[:min(len(verdicts), len(rcpts))] {
		if v == nil {
			continue
		}
		if len(detail) > MaxReason {
			return detail + "; ..."
		}
		if detail != "" {
			detail += "; "
		}
		detail += rcpts[i].label(v.Word() + " " + v.detail())
	}
	return detail
}
