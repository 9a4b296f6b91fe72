package server

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/hooks"
)

// TestRejectAtRcpt: what plugins say before RCPT is told there, as long as it holds.
func TestRejectAtRcpt(t *testing.T) {
	stranger := false
	asked := 0
	hs := byName()
	for i, h := range hs {
		if h.Stage == hooks.Helo || h.Stage == hooks.Mail {
			hs[i].When.User = &stranger
		}
	}
	listed := hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Defer, Text: "you are listed"} })
	listed.Plugin, listed.When.User = "list", &stranger
	after := hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict { asked++; return nil })
	after.Plugin, after.Order = "after", 60
	login := hook(hooks.Helo, func(c *hooks.Call) *hooks.Verdict { // what AUTH does
		if c.Session.Helo == "joe.example" {
			c.Session.User = "joe"
		}
		return nil
	})
	login.Plugin, login.Order = "login", 90
	r := newRig(t, append(hs, listed, after, login)...)
	r.at.RejectAtRcpt = true
	c := dial(t, r.listen(t))
	for _, d := range []struct{ say, want string }{
		{"", "220 "},
		{"EHLO reject.example", "250 "},
		{"MAIL FROM:<a@client.example>", "250 "},
		{"RCPT TO:<u@example.org>", "451 4.7.1 you are listed"},
		{"RCPT TO:<v@example.org>", "451 4.7.1 you are listed"},
		{"DATA", "554 5.5.1"},
		{"RSET", "250 "},
		{"EHLO joe.example", "250 "},
		{"MAIL FROM:<reject@client.example>", "250 "}, // asked of strangers only
		{"RCPT TO:<u@example.org>", "250 "},
		{"RCPT TO:<reject@example.org>", "550 5.7.1"}, // at RCPT itself
		{"RSET", "250 "},
		{"MAIL FROM:<a@client.example>", "250 "},
		{"RCPT TO:<u@example.org>", "250 "},
		{"DATA", "354"},
		{"a: 1\r\n.", "250 2.0.0 queued"},
		{"MAIL FROM:<data-reject@client.example>", "250 "}, // after it, too
		{"RCPT TO:<u@example.org>", "250 "},
		{"DATA", "354"},
		{"a: 1\r\n.", "550 5.7.1"},
	} {
		if d.say != "" {
			c.send(d.say + "\r\n")
		}
		c.want(d.want)
	}
	c.conn.Close()
	r.settle(t)
	if asked != 1 {
		t.Errorf("the plugin behind the one that refuses was asked %d times", asked)
	}
	told := 0
	for _, steps := range r.records.steps {
		for _, s := range steps {
			if s.Stage == "rcpt" && strings.HasSuffix(s.Detail, "@example.org>: list said so at connect") && s.Verdict == "defer 451 4.7.1" {
				told++
			}
		}
	}
	if told != 2 {
		t.Errorf("%d recipients are on record", told)
	}

	// A name or a sender that is refused is refused at RCPT until there is another; a close is not delayed.
	r = newRig(t, byName()...)
	r.at.RejectAtRcpt = true
	c = dial(t, r.listen(t))
	for _, d := range []struct{ say, want string }{
		{"", "220 "},
		{"EHLO reject.example", "250 "},
		{"MAIL FROM:<defer@client.example>", "250 "},
		{"RCPT TO:<u@example.org>", "550 5.7.1"},
		{"EHLO client.example", "250 "},
		{"MAIL FROM:<defer@client.example>", "250 "},
		{"RCPT TO:<u@example.org>", "451 4.7.1"},
		{"RSET", "250 "},
		{"MAIL FROM:<a@client.example>", "250 "},
		{"RCPT TO:<u@example.org>", "250 "},
		{"RSET", "250 "},
		{"MAIL FROM:<close@client.example>", "421 "},
		{"", "closed"},
	} {
		if d.say != "" {
			c.send(d.say + "\r\n")
		}
		c.want(d.want)
	}
}
