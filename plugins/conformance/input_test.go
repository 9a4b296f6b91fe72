package conformance

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

const letter = "Subject: one\r\nX-A: 1\r\nX-A: 2\r\n folded\r\n\r\nbody\r\n"

func address(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// after is what a call left: all that edits can change.
func after(t *testing.T, c *hooks.Call) string {
	m := c.Message
	if m == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "from %q tenant %q priority %d after %s until %s added %q renamed %v\n", m.Sender.Text, m.Tenant, m.Priority, m.NotBefore.UTC(), m.Expires.UTC(), m.Added, c.Renamed())
	for _, r := range m.Rcpts {
		fmt.Fprintf(&b, "to %+v\n", *r)
	}
	h, err := m.Header()
	if err != nil {
		t.Fatal(err)
	}
	if h != nil {
		for _, f := range h.Fields("") {
			b.Write(f.Raw)
		}
		fmt.Fprint(&b, m.Content)
	}
	return b.String()
}

// input is what a stage is asked with: every field has a value, or, if bare, only those that must.
func input(t testing.TB, s hooks.Stage, bare bool) *hooks.Call {
	t.Helper()
	sess := &message.Session{ID: "s1", Role: message.RoleMX, Listener: "mx", Origin: "smtp"}
	env := &message.Envelope{Session: sess}
	to, other := &message.Rcpt{Address: address(t, "u@example.org"), Original: address(t, "alias@example.org")}, &message.Rcpt{Address: address(t, "v@example.net"), Original: address(t, "v@example.net")}
	env.Rcpts = []*message.Rcpt{to, other}
	view := &hooks.MessageView{Envelope: env}
	rcpt := &hooks.RcptView{Rcpt: to, Message: view}
	plan, login := &message.Plan{}, &hooks.LoginView{Session: sess, Kind: "scram"}
	if !bare {
		sess.IP, sess.LocalIP, sess.Port, sess.LocalPort = netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::1"), 4000, 25
		sess.Helo, sess.ESMTP, sess.User, sess.Groups, sess.Early, sess.Errors = "client.example", true, "alice", []string{"a", "b"}, true, 3
		sess.TLS = &message.TLS{Version: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256", SNI: "mx.example.org", Client: "CN=client.example"}
		sess.History = []message.Note{{Stage: "connect", Plugin: "dnsbl", Verdict: "hold", Code: 250, Reason: "listed"}}
		env.Sender, env.Params, env.Size, env.Tenant = address(t, "User@A.Example"), []smtp.Param{{Key: "SIZE", Value: "10"}}, 51, "acme"
		to.Params, to.Class = []smtp.Param{{Key: "NOTIFY", Value: "NEVER"}}, hooks.Local
		rcpt.Way = message.Way{Hop: "mx:example.org", Source: "pool", Site: "mx.example.org"}
		rcpt.Attempts, rcpt.FirstTry = 2, time.Date(2026, 1, 1, 0, 0, 0, 250_000_000, time.UTC)
		rcpt.Last = message.Last{Code: 451, Enhanced: "4.2.1", Host: "mx.example.org", Text: "busy"}
		*plan = message.Plan{Via: "p", Hosts: []string{"a.example:25", "b.example:25"}, MX: "example.org", Helo: "me.example", Sender: &env.Sender, Source: "pool", Site: "bulk", TLS: message.TLSRequired}
		*login = hooks.LoginView{Session: sess, Mechanism: "PLAIN", Name: "alice", Kind: "password", Secret: "secret",
			Certificate: map[string]any{"subject": "CN=alice", "issuer": "CN=authority", "names": []any{"alice@example.org"}, "fingerprint": "00ff"}}
		for _, f := range []*message.Facts{&sess.Facts, &env.Facts, &to.Facts} {
			if err := f.Set("p.known", "fact"); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := &hooks.Call{Stage: s, Session: sess}
	if s >= hooks.Data && !bare {
		view.Content, view.MaxSize = messagetest.Text(letter), 1<<20
		view.Draft = func(context.Context, int64) (message.Draft, error) { return &messagetest.Draft{}, nil }
	}
	switch s.Scope() {
	case hooks.ScopeLogin:
		c.Login = login
	case hooks.ScopeMessage:
		c.Message = view
	case hooks.ScopeRcpt:
		c.Message, c.Rcpt = view, rcpt
	case hooks.ScopeDelivery:
		second := &hooks.RcptView{Rcpt: other, Message: view, Index: 1}
		c.Message, c.Delivery = view, &hooks.DeliveryView{Message: view, Plan: plan, Number: 2, Rcpts: []*hooks.RcptView{second}}
		if !bare {
			c.Delivery.Parcel = &message.Parcel{From: "q", Key: "k", Content: []any{int64(1), "x"}}
		}
	case hooks.ScopeTick:
		c.Tick = &hooks.TickView{Time: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}
	}
	return c
}
