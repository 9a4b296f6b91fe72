package intake

import (
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// shorts are replies by their codes.
func shorts(replies []smtp.Reply) string {
	var s []string
	for _, r := range replies {
		s = append(s, strings.SplitN(r.Error(), " ", 3)[0]+" "+r.Enhanced)
	}
	return strings.Join(s, ", ")
}

// In LMTP each recipient has its reply; a verdict on one concerns no other.
func TestEachInLMTP(t *testing.T) {
	no, later := hooks.Verdict{Kind: hooks.Reject, Text: "no"}, hooks.Verdict{Kind: hooks.Defer, Text: "later"}
	hold, drop := hooks.Verdict{Kind: hooks.Hold, Reason: "odd"}, hooks.Verdict{Kind: hooks.Discard, Reason: "unread"}
	type each = map[string]hooks.Verdict
	for _, c := range []struct {
		name  string
		first each
		then  each
		whole *hooks.Verdict // of a third plugin
		each  string
		kept  string
	}{
		{"nothing said", each{}, each{}, nil, "250 2.0.0, 250 2.0.0, 250 2.0.0", "a b c"},
		{"each its own", each{"a": no, "b": later}, each{}, nil, "550 5.7.1, 451 4.7.1, 250 2.0.0", "c"},
		{"by two", each{"a": no}, each{"c": later}, nil, "550 5.7.1, 250 2.0.0, 451 4.7.1", "b"},
		{"nobody is left", each{"a": no, "b": later}, each{"c": no}, nil, "550 5.7.1, 451 4.7.1, 550 5.7.1", ""},
		{"held and discarded", each{"a": hold, "b": drop}, each{}, nil, "250 2.0.0, 250 2.0.0, 250 2.0.0", "c a=odd"},
		{"held, then refused", each{"a": hold}, each{"a": no}, nil, "550 5.7.1, 250 2.0.0, 250 2.0.0", "b c"},
		{"the rest refused", each{"b": no}, each{}, &later, "451 4.7.1, 550 5.7.1, 451 4.7.1", ""},
		{"the rest discarded", each{"b": no}, each{}, &drop, "250 2.0.0, 550 5.7.1, 250 2.0.0", ""},
		{"the rest held", each{"b": no}, each{}, &hold, "250 2.0.0, 550 5.7.1, 250 2.0.0", "a c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hs := []*hooks.Hook{local, eachBy("first", c.first), eachBy("then", c.then)}
			if c.whole != nil {
				hs = append(hs, says("whole", hooks.Data, *c.whole))
				hs[3].Order = 70
			}
			hs[2].Order = 60
			r := newRig(t, hs...)
			r.session.Role = message.RoleLMTP
			_, ans := r.run(body, "a@example.org", "b@example.org", "c@example.org")
			if got := shorts(ans.Each); got != c.each {
				t.Errorf("replies %s, want %s", got, c.each)
			}
			var kept []string
			if env := r.stored(); env != nil {
				for _, rcpt := range env.Rcpts {
					s := rcpt.Address.Local
					if rcpt.Hold != "" {
						s += "=" + rcpt.Hold
					}
					kept = append(kept, s)
				}
			}
			if got := strings.Join(kept, " "); got != c.kept {
				t.Errorf("kept is %q, want %q", got, c.kept)
			}
		})
	}
}

// There are as many replies as RCPTs were answered 250, whatever became of their recipients (RFC 2033 section 4.2).
func TestRepliesInLMTP(t *testing.T) {
	many := hook("many", hooks.Rcpt, func(c *hooks.Call) (*hooks.Verdict, error) {
		switch c.Rcpt.Address.Local {
		case "gone":
			return &hooks.Verdict{Kind: hooks.Discard}, nil
		case "never":
			return &hooks.Verdict{Kind: hooks.Reject}, nil
		case "list":
			return nil, c.Rename(addr(t, "x@example.org"), addr(t, "y@example.org"))
		case "alias":
			return nil, c.Rename(addr(t, "a@example.org"))
		}
		return nil, nil
	})
	no := hooks.Verdict{Kind: hooks.Reject, Text: "no"}
	r := newRig(t, many, local, eachBy("first", map[string]hooks.Verdict{"a": no, "x": no}))
	r.session.Role = message.RoleLMTP
	codes, ans := r.run(body, "a@example.org", "gone@example.org", "a@example.org", "never@example.org", "list@example.org", "alias@example.org", "b@example.org", "list@example.org")
	if codes != "250 250 250 250 550 250 250 250 250 250" {
		t.Errorf("codes %s", codes)
	}
	if got, want := shorts(ans.Each), "550 5.7.1, 250 2.0.0, 550 5.7.1, 250 2.0.0, 550 5.7.1, 250 2.0.0, 250 2.0.0"; got != want {
		t.Errorf("replies %s, want %s", got, want)
	}
	var kept []string
	for _, rcpt := range r.stored().Rcpts {
		kept = append(kept, rcpt.Address.Local+rcpt.Hold)
	}
	if got := strings.Join(kept, ", "); got != "y, b, xrefused by first: 550 5.7.1 no" { // of several, one that is refused is nobody's reply
		t.Errorf("kept is %s", got)
	}

	r = newRig(t, local)
	r.session.Role = message.RoleLMTP
	r.set.MaxRcpts = 3
	if codes, ans := r.run(body, slices.Repeat([]string{"a@example.org"}, 5)...); codes != "250 250 250 250 452 452 250" || len(ans.Each) != 3 {
		t.Errorf("%s, %d replies", codes, len(ans.Each))
	}
	if codes, ans := r.run(strings.Repeat("x", 11_000), "a@example.org", "b@example.org"); codes != "250 250 250 552" || shorts(ans.Each) != "552 5.3.4, 552 5.3.4" {
		t.Errorf("%s, %s", codes, shorts(ans.Each))
	}
}

func TestRelayInLMTP(t *testing.T) {
	route := says("route", hooks.Queue, hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{MX: "example.org"}})
	outcome := func(r message.Result, code int, enhanced string) message.Outcome {
		o := message.Outcome{Result: r}
		if code > 0 {
			o.Reply = smtp.NewReply(code, enhanced, "so it is")
		}
		return o
	}
	hold := hooks.Verdict{Kind: hooks.Hold, Reason: "odd"}
	for _, c := range []struct {
		name     string
		outcomes []message.Outcome
		each     string
		verdicts map[string]hooks.Verdict
		kept     int
	}{
		{"delivered", []message.Outcome{outcome(message.Delivered, 250, "2.1.5"), outcome(message.Delivered, 250, "")}, "250 2.1.5, 250 2.0.0", nil, 0},
		{"one is not", []message.Outcome{outcome(message.Delivered, 250, "2.1.5"), outcome(message.Failed, 554, "5.2.2")}, "250 2.1.5, 550 5.2.2", nil, 0},
		{"none is", []message.Outcome{outcome(message.Deferred, 0, ""), outcome(message.Failed, 554, "5.2.2")}, "451 4.4.0, 550 5.2.2", nil, 0},
		{"no outcome", nil, "451 4.4.0, 451 4.4.0", nil, 0},
		{"one is held", []message.Outcome{outcome(message.Failed, 550, "5.1.1")}, "250 2.0.0, 550 5.1.1", map[string]hooks.Verdict{"a": hold}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, local, route, eachBy("first", c.verdicts))
			r.session.Role = message.RoleLMTP
			r.queue.outcomes = c.outcomes
			_, ans := r.run(body, "a@example.org", "b@example.org")
			if got := shorts(ans.Each); got != c.each {
				t.Errorf("replies %s, want %s", got, c.each)
			}
			n := 0
			if env := r.stored(); env != nil {
				n = len(env.Rcpts)
			}
			if n != c.kept {
				t.Errorf("%d are kept, want %d", n, c.kept)
			}
		})
	}
}

// What is submitted gets the fields that it must have, before it is signed.
func TestSubmissionIsCompleted(t *testing.T) {
	const date, id = "Date: Sun, 01 Mar 2026 12:00:00 +0000\r\n", "Message-ID: <"
	for _, c := range []struct {
		role    message.Role
		content string
		want    []string
	}{
		{message.RoleSubmission, body, []string{"Date", "Message-ID"}},
		{message.RoleSubmission, "date: x\r\n" + body, []string{"Message-ID"}},
		{message.RoleSubmission, "MESSAGE-ID: <x@client.example>\r\nDate: x\r\n" + body, nil},
		{message.RoleMX, body, nil},
		{message.RoleLMTP, body, nil},
	} {
		seen := ""
		r := newRig(t, local, edits("sign", hooks.Queue, func(c *hooks.Call) error {
			h, err := c.Message.Header()
			for _, f := range [...]string{"Date", "Message-ID"} {
				seen += strings.Repeat(f+" ", h.Count(f))
			}
			return err
		}))
		r.session.Role = c.role
		if codes, _ := r.run(c.content, "a@example.org"); codes != "250 250 250" {
			t.Fatalf("%s %q: %s", c.role, c.content, codes)
		}
		sent := r.sent()
		own := strings.TrimSuffix(sent, c.content)
		if !strings.HasSuffix(sent, c.content) || strings.Contains(own, date) != slices.Contains(c.want, "Date") ||
			strings.Contains(own, id+r.stored().ID.String()+"@mx.example.org>\r\n") != slices.Contains(c.want, "Message-ID") {
			t.Errorf("%s: sent is\n%s", c.role, sent)
		}
		if c.role == message.RoleSubmission && seen != "Date Message-ID " {
			t.Errorf("at queue there are %q", seen)
		}
		record := ""
		for _, steps := range r.records {
			for _, s := range steps {
				if s.Verdict == "completed" {
					record += s.Detail + "; "
				}
			}
		}
		if strings.Count(record, " was missing; ") != len(c.want) {
			t.Errorf("%s: the record says %q", c.role, record)
		}
	}
}
