package hooks

import (
	"cmp"
	"slices"

	"github.com/stagepost/stagepost/core/message"
)

// Rcpts are the recipients that an each of this call is about, in order: the delivery's, or the message's.
func (c *Call) Rcpts() []*RcptView {
	switch c.Stage {
	case Deliver:
		return c.Delivery.Rcpts
	case Data:
		return c.Message.rcpts()
	}
	return nil
}

// each carries out one plugin's verdicts on the recipients of a message at data; see message.Ballot.
func (m *MessageView) each(res *Result, verdicts []*Verdict, plugin string) {
	var refusal *Verdict
	rcpts := slices.Clone(m.Rcpts)
	for i, v := range verdicts[:min(len(verdicts), len(rcpts))] {
		switch r := rcpts[i]; {
		case v == nil:
		case (v.Kind == Defer || v.Kind == Reject) && m.Ballot.Tell(r, v.Reply()):
			m.Rcpts = slices.DeleteFunc(m.Rcpts, func(o *message.Rcpt) bool { return o == r })
			if len(m.Rcpts) == 0 {
				res.End, res.By = v, plugin
			}
		case v.Kind == Defer:
			res.End, res.By = v, plugin
			return
		case v.Kind == Reject:
			refusal = cmp.Or(refusal, v)
			if m.Ballot.Refuse(m.Envelope, r, "refused by "+plugin+": "+v.Reply().Error()) {
				res.End, res.By = refusal, plugin
			}
		case v.Kind == Hold:
			m.Ballot.Hold(r, cmp.Or(v.Reason, "held by "+plugin))
		case v.Kind == Discard:
			m.Ballot.Discard(r)
		}
	}
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
