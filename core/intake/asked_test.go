package intake

import (
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// TestAsked: what the client asks for with MAIL is in the envelope, as are all parameters as they came; a plugin has the last word.
func TestAsked(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	mail := smtp.Params{{Key: "HOLDFOR", Value: "60"}, {Key: "BY", Value: "120;R"}, {Key: "MT-PRIORITY", Value: "-4"}}
	for _, c := range []struct {
		name     string
		params   smtp.Params
		schedule *hooks.Schedule
		want     message.Envelope
	}{
		{name: "nothing"},
		{name: "all", params: mail, want: message.Envelope{NotBefore: noon.Add(time.Minute), Expires: noon.Add(2 * time.Minute), Priority: -4}},
		{name: "to be told", params: smtp.Params{{Key: "BY", Value: "120;N"}}},
		{name: "a plugin", params: mail, schedule: &hooks.Schedule{NotBefore: new(noon.Add(time.Hour)), Priority: new(2)},
			want: message.Envelope{NotBefore: noon.Add(time.Hour), Expires: noon.Add(2 * time.Minute), Priority: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, local, edits("s", hooks.Mail, func(call *hooks.Call) error {
				if c.schedule != nil {
					return call.Schedule(*c.schedule)
				}
				return nil
			}))
			tx, ans := r.begin(c.params...)
			if tx == nil {
				t.Fatal(ans.Reply)
			}
			rcpt := smtp.Params{{Key: "NOTIFY", Value: "NEVER"}}
			if ans := tx.Rcpt(t.Context(), addr(t, "u@example.org"), rcpt); ans.Reply.Code != 250 {
				t.Fatal(ans.Reply)
			}
			tx.Write([]byte(body))
			if ans := tx.Finish(t.Context()); ans.Reply.Code != 250 {
				t.Fatal(ans.Reply)
			}
			env := r.stored()
			if !env.NotBefore.Equal(c.want.NotBefore) || !env.Expires.Equal(c.want.Expires) || env.Priority != c.want.Priority ||
				len(env.Params) != len(c.params) || len(env.Rcpts[0].Params) != 1 {
				t.Errorf("stored %+v", env)
			}
		})
	}
	r := newRig(t, local)
	for _, bad := range mail {
		bad.Value = "x"
		if tx, ans := r.begin(bad); tx != nil || ans.Reply.Code != 501 || ans.Reply.Enhanced != "5.5.4" {
			t.Errorf("%v: %v", bad, ans.Reply)
		}
	}
}

// TestUTF8: one mailbox is one recipient, however it is written; what this server adds to a message does not need SMTPUTF8.
func TestUTF8(t *testing.T) {
	r := newRig(t, local)
	tx, ans := r.begin(smtp.Param{Key: "SMTPUTF8"})
	if tx == nil {
		t.Fatal(ans.Reply)
	}
	for _, text := range []string{"\u00fc@example.org", "u\u0308@example.org", "\u00fc@\uff25xample\u3002org"} {
		to, err := smtp.ParseUTF8Address(text)
		if err != nil {
			t.Fatal(err)
		}
		if ans := tx.Rcpt(t.Context(), to, nil); ans.Reply.Code != 250 {
			t.Fatal(text, ans.Reply)
		}
	}
	tx.Write([]byte(body))
	tx.Finish(t.Context())
	env := r.stored()
	if len(env.Rcpts) != 1 || env.Rcpts[0].Address != (smtp.Address{Text: "\u00fc@example.org", Local: "\u00fc", Domain: "example.org"}) {
		t.Errorf("recipients %+v", env.Rcpts)
	}
	sent := r.sent()
	if !strings.Contains(sent, " with UTF8SMTP id ") || strings.ContainsFunc(sent, func(r rune) bool { return r > '~' }) {
		t.Errorf("sent %q", sent)
	}
}
