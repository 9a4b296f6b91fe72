package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

func newAPI(t *testing.T) *API {
	t.Helper()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestDeclarations: each method has a shape, each edit is a method, each method that edits has a number.
func TestDeclarations(t *testing.T) {
	a := newAPI(t)
	named := map[string]bool{"fact": true}
	for _, m := range a.methods {
		if takes := slices.ContainsFunc(m.Shape, func(a Arg) bool { return a.Type == Function }); m.Edits() != slices.Contains(hooks.Edits(), m.Name) && !takes || m.Edits() && m.Edit() < 0 {
			t.Errorf("%s.%s: edits %v, number %d; hooks.Edits and edits in plugins/api must both have it", m.Object, m.Name, m.Edits(), m.Edit())
		}
		named[m.Name] = true
	}
	for _, name := range hooks.Edits() {
		if !named[name] {
			t.Errorf("the edit %s is no method of an object", name)
		}
	}
	for _, k := range keys {
		if arg, err := Key(k.Name); err != nil || arg.Doc == "" {
			t.Errorf("the named argument %s says nothing: %v", k.Name, err)
		}
	}
}

// in runs do as a handler that is granted everything, and returns what it came to.
func in(t *testing.T, s hooks.Stage, do func(c *hooks.Call) (*hooks.Verdict, error)) (*hooks.Call, hooks.Result, error) {
	t.Helper()
	a, err := smtp.ParseAddress("u@example.org")
	if err != nil {
		t.Fatal(err)
	}
	session := &message.Session{Role: message.RoleMX}
	env := &message.Envelope{Session: session, Sender: a, Rcpts: []*message.Rcpt{{Address: a, Original: a}, {Address: a, Original: a}}}
	m := &hooks.MessageView{Envelope: env}
	c := &hooks.Call{Stage: s, Session: session, Message: m}
	switch s.Scope() {
	case hooks.ScopeRcpt:
		c.Rcpt = &hooks.RcptView{Rcpt: env.Rcpts[0], Message: m}
	case hooks.ScopeDelivery:
		c.Delivery = &hooks.DeliveryView{Message: m, Rcpts: []*hooks.RcptView{{Rcpt: env.Rcpts[0], Message: m}, {Rcpt: env.Rcpts[1], Message: m}}}
	}
	var failed error
	h := &hooks.Hook{Plugin: "p", Stage: s, Timeout: hooks.DefaultTimeout, Needs: &capability.Needs{Edit: 7, Read: capability.ReadBody, Relay: true, Route: []string{"mx", "*"}},
		Handler: hooks.HandlerFunc(func(c *hooks.Call) (v *hooks.Verdict, err error) {
			v, failed = do(c)
			return v, failed
		})}
	g, err := hooks.NewGeneration(1, []*hooks.Hook{h}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s == hooks.Deliver {
		res, _ := g.RunPlugin(c, "p")
		return c, res, failed
	}
	return c, g.Run(c), failed
}

func TestEdits(t *testing.T) {
	a := newAPI(t)
	at, err := smtp.ParseAddress("other@example.net")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method string
		stage  hooks.Stage
		args   []any
		want   string // of the error; "" = none
	}{
		{"message.add_header", hooks.Mail, []any{"X-A", []byte("b")}, ""},
		{"message.add_header", hooks.Mail, []any{"X-A"}, "add_header: text is missing or nil; call it as add_header(name: string, text: string)"},
		{"message.add_header", hooks.Mail, []any{int64(5), "b"}, "add_header: name is a number; it must be a string"},
		{"message.add_header", hooks.Mail, []any{"X-A", "b", "c"}, "add_header: 3 arguments are too many; call it as add_header(name: string, text: string)"},
		{"rcpt.add_header", hooks.Data, []any{"X-A", "b"}, ""},
		{"rcpt.add_header", hooks.Mail, []any{"X-A", "b"}, "add_header works at data, not at mail"},
		{"message.remove_header", hooks.Data, []any{"X-A", 1.5}, "remove_header: n is a number; it must be an integer"},
		{"message.remove_header", hooks.Data, []any{"X-A", int64(0)}, "remove_header: n is 0; fields are counted from 1"},
		{"message.set_sender", hooks.Data, []any{""}, ""},
		{"message.set_sender", hooks.Data, []any{&at}, ""},
		{"message.set_sender", hooks.Data, []any{"no address"}, `set_sender: address: "no address" is not an address`},
		{"message.set_sender", hooks.Data, []any{true}, "set_sender: address is a boolean; it must be an address"},
		{"message.add_rcpt", hooks.Data, []any{"w@example.org", "local"}, ""},
		{"message.add_rcpt", hooks.Data, []any{"w@example.org", "friend"}, `add_rcpt: class is "friend"; it must be "local" or "relay"`},
		{"rcpt.rename", hooks.Rcpt, []any{[]any{"w@example.org", &at}}, ""},
		{"rcpt.rename", hooks.Rcpt, []any{"w@example.org"}, ""},
		{"rcpt.rename", hooks.Rcpt, []any{map[string]any{}}, "rename: to 0 addresses; it may be 1 to 100"},
		{"rcpt.rename", hooks.Rcpt, []any{slices.Repeat([]any{"w@example.org"}, 500)}, "rename: to 101 addresses; it may be 1 to 100"},
		{"rcpt.rename", hooks.Rcpt, []any{[]any{"w@example.org", int64(1)}}, "rename: address: item 2 is a number"},
		{"message.schedule", hooks.Mail, []any{map[string]any{"tenant": "t", "priority": 3.0, "not_before": 100.5, "expires": int64(200)}}, ""},
		{"message.schedule", hooks.Mail, []any{map[string]any{"prioritty": int64(3)}}, `schedule has no "prioritty"; did you mean priority?`},
		{"message.schedule", hooks.Mail, []any{map[string]any{"priority": int64(300)}}, "schedule: priority is 300; it may be -9 to 9"},
		{"message.schedule", hooks.Mail, []any{map[string]any{"priority": "high"}}, "schedule: priority is a string; it must be an integer"},
		{"message.schedule", hooks.Mail, []any{"x"}, "schedule takes a table of names, as in schedule{tenant = ...}, not a string"},
		{"message.schedule", hooks.Mail, nil, "schedule: fields is missing or nil"},
	} {
		_, _, err := in(t, tt.stage, func(c *hooks.Call) (*hooks.Verdict, error) {
			object, name, _ := strings.Cut(tt.method, ".")
			m := a.Method(object, name)
			var o any = c.Message
			if object == "rcpt" {
				if o = c.Rcpt; c.Rcpt == nil {
					o = &hooks.RcptView{Rcpt: c.Message.Rcpts[0], Message: c.Message}
				}
			}
			return nil, m.Do(c, o, tt.args)
		})
		if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && !strings.Contains(got, tt.want) {
			t.Errorf("%s%v: %v, want %q", tt.method, tt.args, err, tt.want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	a := newAPI(t)
	m := func(kv ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i].(string)] = kv[i+1]
		}
		return out
	}
	kind := func(k hooks.Kind) int64 { return int64(k) }
	for _, tt := range []struct {
		stage hooks.Stage
		v     any
		want  string // the verdict, or "!" and a part of the error
	}{
		{hooks.Rcpt, m("kind", kind(hooks.Next)), "next"},
		{hooks.Rcpt, m("kind", kind(hooks.Next), "text", "x"), "!next takes no names"},
		{hooks.Rcpt, m("kind", kind(hooks.Accept), "class", "local"), "accept local"},
		{hooks.Rcpt, m("kind", kind(hooks.Accept), "class", "friend"), `!accept: class is "friend"; it must be "local" or "relay"`},
		{hooks.Rcpt, m("kind", kind(hooks.Reject), "code", int64(551), "text", []byte("gone"), "delay", 0.5), "reject 551 gone"},
		{hooks.Rcpt, m("kind", kind(hooks.Reject), "code", int64(5)), "!code 5 is not an SMTP code"},
		{hooks.Rcpt, m("kind", kind(hooks.Reject), "delay", -1.0), "!reject: delay: it is -1 seconds"},
		{hooks.Rcpt, m("kind", kind(hooks.Reject), "txt", "x"), `!reject has no "txt"; did you mean text?`},
		{hooks.Rcpt, m("kind", kind(hooks.Discard), "reason", "spam"), "discard"},
		{hooks.Route, m("kind", kind(hooks.RouteTo), "hosts", []any{"a.example:25", int64(1)}), "!route: hosts: item 2 is a number"},
		{hooks.Route, m("kind", kind(hooks.RouteTo), "hosts", "a.example:25", "sender", "x@example.org"), "route"},
		{hooks.Deliver, m("kind", kind(hooks.Each), "verdicts", []any{nil, m("kind", kind(hooks.Reject), "text", "no")}), "each - reject"},
		{hooks.Deliver, m("kind", kind(hooks.Each), "verdicts", []any{nil}), "!one for each of the 2 recipients"},
		{hooks.Deliver, m("kind", kind(hooks.Each), "verdicts", []any{m("kind", kind(hooks.Each)), nil}), "!verdict 1: it is an each itself"},
		{hooks.Rcpt, m("kind", kind(hooks.Each), "verdicts", []any{}), "!rcpt takes accept"},
		{hooks.Rcpt, m("kind", int64(99)), "!kind must be a number"},
		{hooks.Rcpt, "reject", "!a verdict is a map, not a string"},
	} {
		var v *hooks.Verdict
		_, _, err := in(t, tt.stage, func(c *hooks.Call) (_ *hooks.Verdict, err error) {
			v, err = a.Verdict(c, tt.v)
			return v, err
		})
		got := "next"
		switch {
		case err != nil:
			got = "!" + err.Error()
		case v != nil:
			got = strings.TrimSpace(v.Kind.String() + " " + string(v.Class))
			if v.Kind == hooks.Reject {
				got = fmt.Sprintf("reject %d %s", v.Code, v.Text)
			}
			for _, e := range v.Each {
				if e == nil {
					got += " -"
				} else {
					got += " " + e.Kind.String()
				}
			}
		}
		if !strings.HasPrefix(got, tt.want) && (tt.want[0] != '!' || err == nil || !strings.Contains(got, tt.want[1:])) {
			t.Errorf("%s %v: %q, want %q", tt.stage, tt.v, got, tt.want)
		}
	}
	for _, k := range hooks.Verdicts()[1:] {
		f := a.Form(k.Kind)
		_, _, err := in(t, hooks.Data, func(c *hooks.Call) (*hooks.Verdict, error) { return f.Of(c, int64(5)) })
		if err == nil || !strings.Contains(err.Error(), k.Name+" takes") {
			t.Errorf("%s 5: %v", k.Name, err)
		}
	}
}
