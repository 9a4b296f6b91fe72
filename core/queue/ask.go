package queue

import (
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// What the plugins' answers on the way out come to. These functions know no queue, so tests of plugins use them too.

// Decide turns what the stage route came to into a plan or an outcome.
func Decide(res hooks.Result, r *message.Rcpt) (*message.Plan, *message.Outcome) {
	if v := res.End; v != nil {
		out := &message.Outcome{Result: message.Failed, Reply: v.Reply(), After: v.After}
		if v.Kind == hooks.Defer {
			out.Result = message.Deferred
		}
		return nil, out
	}
	if v := res.Discard; v != nil {
		return nil, &message.Outcome{Result: message.Discarded, Reply: smtp.NewReply(250, "2.0.0", "discarded by "+res.DiscardBy+": "+v.Reason)}
	}
	if v := res.Hold; v != nil {
		return nil, &message.Outcome{Result: message.Held, Reply: smtp.NewReply(250, "2.0.0", "held by "+res.HoldBy+": "+v.Reason)}
	}
	plan := res.Plan
	if plan == nil {
		plan = &message.Plan{}
	}
	if err := plan.Check(); err != nil { // the plugins' answers were right each, but do not go together
		return nil, &message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.5", "the plugins' routes do not go together: "+err.Error())}
	}
	if ByPlugin(plan) || plan.Transport {
		return plan, nil
	}
	if len(plan.Hosts) == 0 && plan.MX == "" {
		if r.Class == message.ClassLocal {
			return nil, &message.Outcome{Result: message.Deferred,
				Reply: smtp.NewReply(451, "4.3.5", "no plugin said where local mail for "+r.Address.Domain+" goes; `route` would")}
		}
		plan.MX = r.Address.Domain
	}
	return plan, nil
}

// ByPlugin tells whether a plan names a plugin that delivers.
func ByPlugin(p *message.Plan) bool {
	return !p.Transport && !message.IsProtocol(p.Via)
}

// Hand asks the plugin that the plan of c.Delivery names, and returns one outcome for each recipient.
func Hand(gen *hooks.Generation, c *hooks.Call) []message.Outcome {
	via, n := c.Delivery.Plan.Via, len(c.Delivery.Rcpts)
	res, ok := gen.RunPlugin(c, via)
	if !ok {
		return all(n, message.Outcome{Result: message.Deferred,
			Reply: smtp.NewReply(451, "4.3.5", "the plugin "+via+", which the route names, is not loaded or has no deliver")})
	}
	if res.Failed && c.Parent.Err() != nil { // it may have failed for that alone
		return all(n, interrupted)
	}
	if res.End != nil && res.End.Kind == hooks.Each {
		out := make([]message.Outcome, n)
		for k := range out {
			out[k] = message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.0", via+" gave no verdict for this recipient")}
			if k < len(res.End.Each) && res.End.Each[k] != nil { // no word on him is none that he has it
				out[k] = delivered(res.End.Each[k], via)
			}
		}
		return out
	}
	if res.Accept != nil && res.End == nil {
		return all(n, delivered(res.Accept, via))
	}
	if res.End == nil {
		return all(n, message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.0", via+" gave no verdict")})
	}
	return all(n, delivered(res.End, via))
}

// delivered is the outcome of a verdict at deliver.
func delivered(v *hooks.Verdict, via string) message.Outcome {
	switch {
	case v.Kind == hooks.Accept:
		return message.Outcome{Result: message.Delivered, Host: "plugin:" + via, Reply: smtp.NewReply(250, "2.0.0", "delivered by "+via)}
	case v.Kind == hooks.Reject:
		return message.Outcome{Result: message.Failed, Host: "plugin:" + via, Reply: v.Reply()}
	}
	return message.Outcome{Result: message.Deferred, Host: "plugin:" + via, Reply: v.Reply(), After: v.After}
}

func all(n int, o message.Outcome) []message.Outcome {
	out := make([]message.Outcome, n)
	for i := range out {
		out[i] = o
	}
	return out
}

// Conclude runs the stage of a recipient's outcome, which may change it. call makes the question to a stage. told: a plugin
// said that nobody is to be told of the failure.
func Conclude(gen *hooks.Generation, o *message.Outcome, call func(hooks.Stage, *message.Outcome) *hooks.Call) (told bool) {
	ask := func(s hooks.Stage) (res hooks.Result, c *hooks.Call) {
		if len(gen.Chain(s)) > 0 {
			c = call(s, o)
			res = gen.Run(c)
		}
		return res, c
	}
	if o.Result == message.Deferred {
		if res, c := ask(hooks.Deferred); c != nil {
			switch v := res.End; {
			case v == nil:
			case v.Kind == hooks.Defer:
				o.After = v.After
			case res.Failed && c.Parent.Err() != nil: // the plugin may have failed for that alone
			case v.Kind == hooks.Reject:
				o.Result, o.Reply = message.Failed, v.Reply()
			}
		}
	}
	switch o.Result {
	case message.Delivered:
		ask(hooks.Delivered)
	case message.Failed:
		res, _ := ask(hooks.Bounced)
		return res.Discard != nil
	}
	return false
}
