package intake

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// eachBy is a plugin that says of recipients what their mailboxes stand for.
func eachBy(name string, verdicts map[string]hooks.Verdict) *hooks.Hook {
	return hook(name, hooks.Data, func(c *hooks.Call) (*hooks.Verdict, error) {
		v := &hooks.Verdict{Kind: hooks.Each}
		for _, r := range c.Rcpts() {
			var e *hooks.Verdict
			if say, ok := verdicts[r.Address.Local]; ok {
				e = &say
			}
			v.Each = append(v.Each, e)
		}
		return v, nil
	})
}

func TestEach(t *testing.T) {
	no, later := hooks.Verdict{Kind: hooks.Reject, Text: "no"}, hooks.Verdict{Kind: hooks.Defer, Text: "later"}
	hold, drop := hooks.Verdict{Kind: hooks.Hold, Reason: "odd"}, hooks.Verdict{Kind: hooks.Discard, Reason: "unread"}
	type each = map[string]hooks.Verdict
	for _, c := range []struct {
		name  string
		first each
		then  each
		whole *hooks.Verdict // of a third plugin
		reply string
		kept  string // recipients with why they are held
	}{
		{"nothing said", each{}, each{}, nil, "250 2.0.0 queued", "a b c"},
		{"one refused", each{"b": no}, each{}, nil, "250 2.0.0 queued", "a c b=refused by first: 550 5.7.1 no"},
		{"two refused by two", each{"b": no}, each{"c": no}, nil, "250 2.0.0 queued", "a b=refused by first: 550 5.7.1 no c=refused by then: 550 5.7.1 no"},
		{"all refused", each{"a": no, "b": no, "c": {Kind: hooks.Reject, Code: 554}}, each{}, nil, "550 5.7.1 no", ""},
		{"the last refused later", each{"a": no, "b": no}, each{"c": {Kind: hooks.Reject, Text: "nor you"}}, nil, "550 5.7.1 nor you", ""},
		{"one deferred", each{"a": no, "b": later}, each{}, nil, "451 4.7.1 later", ""},
		{"one held", each{"b": hold}, each{}, nil, "250 2.0.0 queued", "a c b=odd"},
		{"held without a reason", each{"b": {Kind: hooks.Hold}}, each{"b": hold}, nil, "250 2.0.0 queued", "a c b=held by first"},
		{"one discarded", each{"b": drop}, each{}, nil, "250 2.0.0 queued", "a c"},
		{"discarded, then held", each{"b": drop}, each{"b": hold}, nil, "250 2.0.0 queued", "a c b=odd"},
		{"held, then discarded", each{"b": hold}, each{"b": drop}, nil, "250 2.0.0 queued", "a c b=odd"},
		{"held, then refused", each{"b": hold}, each{"b": no}, nil, "250 2.0.0 queued", "a c b=refused by then: 550 5.7.1 no"},
		{"discarded, then refused", each{"b": drop}, each{"b": no}, nil, "250 2.0.0 queued", "a c b=refused by then: 550 5.7.1 no"},
		{"some refused, others discarded", each{"a": no, "b": no, "c": drop}, each{}, nil, "250 2.0.0 queued", "a=refused by first: 550 5.7.1 no b=refused by first: 550 5.7.1 no"},
		{"all discarded", each{"a": drop, "b": drop, "c": drop}, each{}, nil, "250 2.0.0 ok", ""},
		{"all held", each{"a": hold, "b": hold, "c": hold}, each{}, nil, "250 2.0.0 queued", "a=odd b=odd c=odd"},
		{"the whole discarded, one held", each{"b": hold}, each{}, &drop, "250 2.0.0 queued", "b=odd"},
		{"the whole discarded, one refused", each{"b": no}, each{}, &drop, "250 2.0.0 queued", "b=refused by first: 550 5.7.1 no"},
		{"the whole held, one discarded", each{"b": drop}, each{}, &hold, "250 2.0.0 queued", "a c"},
		{"the whole refused", each{"b": drop, "c": hold}, each{}, &no, "550 5.7.1 no", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := ""
			hs := []*hooks.Hook{local, eachBy("first", c.first), eachBy("then", c.then), edits("watch", hooks.Queue, func(c *hooks.Call) error {
				for _, r := range c.Message.Rcpts {
					seen += r.Address.Local
				}
				return nil
			})}
			if c.whole != nil {
				hs = append(hs, says("whole", hooks.Data, *c.whole))
			}
			hs[2].Order, hs[len(hs)-1].Order = 60, 70
			r := newRig(t, hs...)
			_, ans := r.run(body, "a@example.org", "b@example.org", "c@example.org")
			if !strings.HasPrefix(ans.Reply.Error(), c.reply) {
				t.Errorf("reply %q", ans.Reply.Error())
			}
			var kept []string
			if env := r.stored(); env != nil {
				for _, rc := range env.Rcpts {
					kept = append(kept, strings.TrimSuffix(rc.Address.Local+"="+rc.Hold, "="))
					if strings.HasPrefix(rc.Hold, "refused") && strings.Contains(seen, rc.Address.Local) {
						t.Errorf("a later plugin saw %q", seen)
					}
				}
				if (env.Hold != "") != (c.whole == &hold) {
					t.Errorf("the whole is held: %q", env.Hold)
				}
			}
			if got := strings.Join(kept, " "); got != c.kept {
				t.Errorf("kept %q", got)
			}
		})
	}
}

func TestEachIsInTheRecord(t *testing.T) {
	r := newRig(t, local, eachBy("p", map[string]hooks.Verdict{"a": {Kind: hooks.Reject, Text: "no"}, "c": {Kind: hooks.Hold, Reason: "odd"}}))
	r.run(body, "a@example.org", "b@example.org", "c@example.org")
	for _, steps := range r.records {
		i := slices.IndexFunc(steps, func(s observe.Step) bool { return s.Plugin == "p" })
		if got, want := steps[i].Verdict+": "+steps[i].Detail, "each: <a@example.org> reject 550 5.7.1 no; <c@example.org> hold odd"; got != want {
			t.Errorf("record: %s", got)
		}
	}
}

// Recipients that a plugin adds beside an each are not in it, and are added once.
func TestEachBesideAddedRecipients(t *testing.T) {
	r := newRig(t, local, hook("p", hooks.Data, func(c *hooks.Call) (*hooks.Verdict, error) {
		for _, to := range []string{"x@example.org", "b@example.org", "x@example.org"} {
			if err := c.AddRcpt(addr(t, to), hooks.Local); err != nil {
				return nil, err
			}
		}
		return &hooks.Verdict{Kind: hooks.Each, Each: []*hooks.Verdict{{Kind: hooks.Reject}, nil}}, nil
	}))
	r.run(body, "a@example.org", "b@example.org")
	var kept []string
	for _, rc := range r.stored().Rcpts {
		kept = append(kept, fmt.Sprint(rc.Address.Local, rc.Hold != ""))
	}
	if got := strings.Join(kept, " "); got != "bfalse xfalse atrue" {
		t.Errorf("kept %s", got)
	}
}

// Before the reply nobody who is held gets the message.
func TestEachBeforeTheReply(t *testing.T) {
	for _, c := range []struct {
		outcomes []message.Outcome
		reply    string
		kept     string
	}{
		{[]message.Outcome{{Result: message.Delivered}}, "250 2.0.0 delivered", "a"},
		{[]message.Outcome{{Result: message.Failed, Reply: smtp.NewReply(550, "5.1.1", "unknown")}}, "550 5.1.1 unknown", ""},
	} {
		r := newRig(t, local, eachBy("p", map[string]hooks.Verdict{"a": {Kind: hooks.Reject, Text: "no"}}),
			says("now", hooks.Queue, hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Hosts: []string{"a.example:25"}}}))
		r.queue.outcomes = c.outcomes
		_, ans := r.run(body, "a@example.org", "b@example.org")
		kept := ""
		if env := r.stored(); env != nil {
			for _, rc := range env.Rcpts {
				kept += rc.Address.Local
			}
		}
		if ans.Reply.Error() != c.reply || kept != c.kept {
			t.Errorf("reply %q, kept %q", ans.Reply.Error(), kept)
		}
	}
}
