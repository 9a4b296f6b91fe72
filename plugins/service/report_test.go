package service

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// mailText is a content in memory.
type mailText string

func (m mailText) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(m)).ReadAt(p, off)
}
func (m mailText) Size() int64   { return int64(len(m)) }
func (m mailText) Bytes() []byte { return []byte(m) }

const bounced = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
	"Reporting-MTA: dns; mx.example.net\r\n\r\nOriginal-Recipient: rfc822; a@example.com\r\nFinal-Recipient: rfc822; u@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
	"Diagnostic-Code: smtp; 550 5.1.1 user unknown\r\nRemote-MTA: dns; mx.example.com\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <1@example.org>\r\n\r\n--b--\r\n"

const complained = "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n" +
	"Feedback-Type: abuse\r\nOriginal-Mail-From: <n@example.org>\r\nReported-Domain: example.org\r\n\r\n--b--\r\n"

func TestReport(t *testing.T) {
	own, err := bounce.ParseRule("policy 5.1.1 user unknown")
	if err != nil {
		t.Fatal(err)
	}
	type m = map[string]any
	delivery := func(class string) m {
		return m{"kind": "delivery", "more": false, "reporting_mta": "mx.example.net", "original": m{"message_id": "<1@example.org>"},
			"recipients": []any{m{"recipient": "u@example.com", "original": "a@example.com", "action": "failed", "status": "5.1.1", "code": int64(550), "diagnostic": "user unknown", "remote": "mx.example.com", "class": class}}}
	}
	for _, tt := range []struct {
		name    string
		own     []bounce.Rule
		content message.Content
		read    capability.Reading
		budget  int
		want    any
		err     string
	}{
		{name: "a bounce", content: mailText(bounced), read: capability.ReadBody, want: delivery("bad-mailbox")},
		{name: "rules of the operator's own", own: []bounce.Rule{own}, content: mailText(bounced), read: capability.ReadBody, want: delivery("policy")},
		{name: "a complaint", content: mailText(complained), read: capability.ReadBody, want: m{"kind": "feedback", "more": false, "recipients": []any{}, "original": m{}, "feedback": "abuse", "mail_from": "n@example.org",
			"incidents": int64(1), "domains": []any{"example.org"}, "uris": []any{}, "authentication_results": []any{}}},
		{name: "other mail", content: mailText("Subject: hello\r\n\r\nhello\r\n"), read: capability.ReadBody},
		{name: "before data", read: capability.ReadBody, err: "report.parse: there is no content yet: it is there from data on"},
		{name: "without the body", content: mailText(bounced), read: capability.ReadHeaders, err: "read"},
		{name: "too much for the budget", content: mailText(bounced + strings.Repeat("x\r\n", 1<<20)), read: capability.ReadBody, budget: 60_000, err: "over budget"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{}
			if tt.own != nil {
				o.Classes = func() *bounce.Table { return bounce.New(tt.own) }
			}
			left := tt.budget
			needs := &capability.Needs{Read: tt.read}
			c := NewHost(o).Context("vip", needs, func(steps, _ int) error {
				if left -= steps; tt.budget > 0 && left < 0 {
					return errors.New("over budget")
				}
				return nil
			})
			var got any
			handler := hooks.HandlerFunc(func(call *hooks.Call) (*hooks.Verdict, error) {
				c.Begin(call)
				got, err = do(t, c, "report.parse")
				return nil, nil
			})
			g, failed := hooks.NewGeneration(1, []*hooks.Hook{{Plugin: "vip", Stage: hooks.Data, Timeout: hooks.DefaultTimeout, Needs: needs, Handler: handler}}, nil)
			if failed != nil {
				t.Fatal(failed)
			}
			session := &message.Session{Role: message.RoleMX}
			g.Run(&hooks.Call{Stage: hooks.Data, Session: session, Message: &hooks.MessageView{Envelope: &message.Envelope{Session: session}, Content: tt.content}})
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
			case err != nil || !reflect.DeepEqual(got, tt.want):
				t.Errorf("got  %#v, %v\nwant %#v", got, err, tt.want)
			}
		})
	}
}
