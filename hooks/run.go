package hooks

import (
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
)

// Observer is told of every hook that was asked, in the order they were, by the goroutine that asked.
type Observer interface {
	Observe(observe.Step)
}

// Result is what the hooks of a stage came to.
type Result struct {
	// End is the verdict that ended the stage (reject, defer, close), or the only one at deliver; nil when the stage ran to its
	// end.
	End *Verdict
	By  string // the plugin that gave End

	Accept    *Verdict // the first accept
	Discard   *Verdict // the first discard
	DiscardBy string   // the plugin that gave it
	Hold      *Verdict // the first hold
	HoldBy    string
	Plan      *message.Plan
	Failed    bool   // a handler failed and its on_error was the answer
	DecidedBy string // the plugin of the first Accept, Discard, Hold or Plan
	Late      []Late // where the call asks for that
}

// Late is a reject or defer that is told later than it was given.
type Late struct {
	*Verdict
	Hook *Hook
}

// Holds tells whether the hook would be asked in the session as it is now.
func (l Late) Holds(s *message.Session) bool { return l.Hook.When.holds(s) }

// asked remembers a plugin whose facts others read.
type asked struct {
	plugin string
	failed bool
	task   *task // in the background, not ended yet as far as the session knows
}

const maxHistory = 100

// Run asks the hooks of c.Stage in order.
func (g *Generation) Run(c *Call) Result {
	var res Result
	c.renamed = nil
	if c.Stage == Queue {
		c.settle(nil)
	}
	chain := g.chains[c.Stage]
	if len(chain) == 0 {
		return res
	}
	start := g.now()
	for _, h := range chain {
		if !h.When.holds(c.Session) || c.Stage >= Mail && c.Stage <= Queue && c.Message.Injected.IsBy(h.Plugin) { // it would wait for itself
			continue
		}
		if len(h.reads) > 0 && c.settle(h.reads) {
			start = g.now()
		}
		switch run, failed := c.ready(h); {
		case failed:
			start = g.step(c, h, &res, nil, errSetter, start)
		case run && h.Background:
			g.begin(c, h, start)
		case run:
			v, err := c.ask(h, start)
			start = g.step(c, h, &res, v, err, start)
		default:
			continue
		}
		if res.End != nil && c.Late && res.End.Kind != Close {
			res.Late, res.End, res.By = append(res.Late, Late{res.End, h}), nil, ""
		}
		if res.End != nil {
			break
		}
	}
	if len(c.renamed) > 0 { // copies of the recipient are about to be made
		c.settle(nil)
	}
	return res
}

// RunPlugin asks only the hook of the plugin that a plan names in via.
func (g *Generation) RunPlugin(c *Call, name string) (Result, bool) {
	var res Result
	h := g.Plugin(c.Stage, name)
	if h == nil {
		return res, false
	}
	start := g.now()
	v, err := c.ask(h, start)
	g.step(c, h, &res, v, err, start)
	return res, true
}

var errSetter = fmt.Errorf("what it reads could not be had: the plugin that sets it failed")

// ready tells whether the facts that h reads are there (run), or their setter failed. A hook whose setter was not asked is
// passed over.
func (c *Call) ready(h *Hook) (run, failed bool) {
	for _, r := range h.reads {
		if r.optional || c.hasFact(r.fact) {
			continue
		}
		a := c.wasAsked(r.plugin)
		if a == nil {
			return false, false
		}
		if a.failed {
			return false, true
		}
	}
	return true, false
}

func (c *Call) hasFact(name string) bool {
	if _, ok := c.Session.Facts.Get(name); ok {
		return true
	}
	if c.Message != nil {
		if _, ok := c.Message.Facts.Get(name); ok {
			return true
		}
	}
	if c.Rcpt != nil {
		_, ok := c.Rcpt.Facts.Get(name)
		return ok
	}
	return false
}

func (c *Call) wasAsked(plugin string) *asked {
	find := func(list []asked) *asked {
		for i := len(list) - 1; i >= 0; i-- {
			if list[i].plugin == plugin {
				return &list[i]
			}
		}
		return nil
	}
	if c.Message != nil {
		if a := find(c.Message.asked); a != nil {
			return a
		}
	}
	return find(c.Asked)
}

func (c *Call) note(a asked) {
	if c.Message != nil {
		c.Message.asked = append(c.Message.asked, a)
	} else {
		c.Asked = append(c.Asked, a)
	}
}

// ask calls the handler if its breaker lets it, contains its panic, and checks its verdict.
func (c *Call) ask(h *Hook, now time.Time) (v *Verdict, err error) {
	c.hook, c.deadline, c.edits = h, now.Add(h.Timeout), c.edits[:0]
	if c.probe, err = h.Breaker.Admit(now); err != nil {
		return nil, err
	}
	defer func() {
		if c.cancel != nil {
			c.cancel()
			c.ctx, c.cancel = nil, nil
		}
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if v, err = h.Handler.Handle(c); err != nil {
		return nil, err
	}
	if v == nil {
		return nil, nil
	}
	if h.Background {
		return nil, h.placed(fmt.Errorf("a hook in the background only sets facts; it answered %s", v.Kind))
	}
	if err := v.Check(c.Stage); err != nil {
		return nil, h.placed(err)
	}
	if err := c.granted(h, v); err != nil {
		return nil, h.placed(err)
	}
	return v, nil
}

// placed says which handler an error is about that was found after it returned.
func (h *Hook) placed(err error) error { return fmt.Errorf("%s: %w", h.Pos, err) }

// granted checks what a verdict needs beyond answering.
func (c *Call) granted(h *Hook, v *Verdict) error {
	switch {
	case v.Kind == Accept && c.Stage == Rcpt && v.Class == Relay && !h.Needs.Relay:
		return h.Needs.Refuse(relaying, "relay")
	case v.Kind == Accept && c.Stage == Auth && (v.Scram != "") != (c.Login.Kind == "scram"): // no password was seen, or one was to be looked at
		return fmt.Errorf("accept: scram is given for kind scram, and for no other; this login is of kind %s", c.Login.Kind)
	case v.Kind == RouteTo:
		via := v.Plan.Via
		v.Plan.Transport = !message.IsProtocol(via) && via != h.Plugin
		return MayRoute(h.Needs, v.Plan)
	}
	return nil
}

// step applies the answer of one hook to call and result, and tells the observer. It returns the time, which is the start of
// the next hook.
func (g *Generation) step(c *Call, h *Hook, res *Result, v *Verdict, err error, start time.Time) time.Time {
	var words []string
	var about []*RcptView // those that each is about, before an edit adds some
	if v != nil && v.Kind == Each {
		about = c.Rcpts()
	}
	if err == nil {
		if words, err = c.apply(); err != nil {
			err = h.placed(err)
		}
	}
	c.Unwrite()
	word, end := "", c.ended
	if end.IsZero() {
		end = g.now()
	}
	_, open := err.(*breaker.Open)
	switch {
	case open:
		word = "open, "
	case err != nil:
		word = "error, "
	}
	if !open && err != errSetter {
		h.Breaker.Ended(end, err, !end.Before(c.deadline), c.probe)
		h.Counts.count(v, err, end.Sub(start))
		if err != nil && h.Failed != nil {
			h.Failed(c, h, err)
		}
	}
	detail := ""
	if err != nil {
		detail = err.Error()
		v = h.onError(c.Stage)
		res.Failed = true
	}
	if h.setter && c.ended.IsZero() {
		c.note(asked{plugin: h.Plugin, failed: err != nil})
	}
	res.take(c, h, v)
	if v != nil && len(c.Session.History) < maxHistory && (c.Stage <= Queue || c.Stage == Disconnect) { // a stored session is shared
		c.Session.History = append(c.Session.History, message.Note{Stage: c.Stage.String(), Plugin: h.Plugin, Verdict: v.Kind.String(), Code: v.Code, Reason: v.Reason})
	}
	if c.Observer != nil || g.Answered != nil {
		word += v.Word()
		if err == nil && v != nil {
			detail = v.detail()
		}
		if v != nil && v.Kind == Each {
			detail = eachDetail(about, v.Each)
		}
		if h.Background {
			detail = strings.TrimSuffix("in the background: "+detail, ": ")
		}
		if c.Stage.Scope() == ScopeRcpt {
			detail = c.Rcpt.label(detail)
		}
		step := observe.Step{Time: start, Stage: c.Stage.String(), Plugin: h.Plugin, Generation: g.Number, Verdict: word,
			Micros: uint32(min(end.Sub(start).Microseconds(), 1<<32-1)), Edits: words, Detail: detail}
		if c.Observer != nil {
			c.Observer.Observe(step)
		}
		if g.Answered != nil {
			g.Answered(c, step)
		}
	}
	return end
}

// take adds one hook's verdict to what the stage came to.
func (res *Result) take(c *Call, h *Hook, v *Verdict) {
	if v == nil {
		return
	}
	first := func(to **Verdict) {
		if *to == nil {
			*to = v
			if res.DecidedBy == "" {
				res.DecidedBy = h.Plugin
			}
		}
	}
	switch v.Kind {
	case Each:
		if c.Stage == Data {
			c.Message.each(res, v.Each, h.Plugin)
			return
		}
		res.End, res.By = v, h.Plugin
	case Reject, Defer, Close:
		res.End, res.By = v, h.Plugin
	case Accept:
		first(&res.Accept)
		if c.Stage == Rcpt && c.Rcpt.Class == message.ClassNone {
			c.Rcpt.Class, c.Rcpt.By = v.Class, h.Plugin
		}
	case Discard:
		if first(&res.Discard); res.Discard == v {
			res.DiscardBy = h.Plugin
		}
	case Hold:
		if first(&res.Hold); res.Hold == v {
			res.HoldBy = h.Plugin
		}
	case RouteTo:
		if res.Plan == nil {
			res.Plan = &message.Plan{}
			if res.DecidedBy == "" {
				res.DecidedBy = h.Plugin
			}
		}
		res.Plan.Merge(v.Plan, h.Plugin)
	}
}

// onError is the answer of a hook whose handler failed.
func (h *Hook) onError(s Stage) *Verdict {
	if h.Background || h.OnError == Next || !s.Verdicts().Has(h.OnError) {
		return nil
	}
	v := &Verdict{Kind: h.OnError, Text: "a policy check failed, try again later", Enhanced: "4.3.0"}
	if h.OnError == Reject {
		v.Text, v.Enhanced = "a policy check failed", "5.3.0"
	}
	if v.Check(s) != nil {
		return nil
	}
	return v
}

// Word is the verdict in a record: "next", "reject 550 5.7.1", "accept local".
func (v *Verdict) Word() string {
	switch {
	case v == nil:
		return Next.String()
	case v.Code != 0:
		return fmt.Sprintf("%s %d %s", v.Kind, v.Code, v.Enhanced)
	case v.Class != "":
		return v.Kind.String() + " " + string(v.Class)
	}
	return v.Kind.String()
}

func (v *Verdict) detail() string {
	switch {
	case v.Plan != nil:
		return v.Plan.Lane()
	case v.Reason != "" && v.Text != "":
		return v.Reason + ": " + v.Text
	case v.Reason != "":
		return v.Reason
	}
	return v.Text
}

// MayRoute tells why a plan is more than the plugin was granted, and nil if it is not. It notes in the plan what may be private.
func MayRoute(n *capability.Needs, p *message.Plan) error {
	hops := p.Hops()
	for _, hop := range hops {
		if err := n.RefuseName("route to "+hop, "route", hop); err != nil {
			return err
		}
	}
	if name := p.Auth.Secret; name != "" {
		if err := n.RefuseName(fmt.Sprintf("the secret %q", name), "secrets", name); err != nil {
			return err
		}
	}
	p.Private = 0
	for i, hop := range hops {
		if (i > 0 || !p.Public) && n.AllowPrivate(func(n *capability.Needs) []string { return n.Route }, hop) {
			p.Private |= 1 << i
		}
	}
	return nil
}
