package service

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

type fields = map[string]any

func TestDMARC(t *testing.T) {
	zone := map[string][]string{
		"bank.example": {"A 192.0.2.1"}, "_dmarc.bank.example": {`TXT "v=DMARC1; p=reject; sp=quarantine; t=y; x=y; fo=9"`},
		"_dmarc.down.example": {"!servfail"}, "_dmarc.wrong.example": {`TXT "v=DMARC1;"`},
	}
	from := func(value string) mailText { return mailText("From: " + value + "\r\n\r\nhello\r\n") }
	needs := capability.Needs{DNS: true, Read: capability.ReadHeaders}
	for _, tt := range []struct {
		name    string
		content mailText
		args    fields
		needs   *capability.Needs
		want    fields
		err     string
	}{
		{name: "pass", content: from("ceo@bank.example"), args: fields{"spf": "pass", "spf_domain": "mail.bank.example", "dkim": []any{}},
			want: fields{"result": "pass", "reason": "spf vouches for mail.bank.example", "threat": false, "from": "bank.example", "domain": "bank.example", "organization": "bank.example", "tag": "p", "requested": "reject", "policy": "quarantine",
				"aligned": "spf", "aligned_domain": "mail.bank.example", "testing": true, "faults": []any{`fo is "9"`}}},
		{name: "fail", content: from("a@a.bank.example"), args: fields{"spf": "fail", "spf_domain": "bank.example", "dkim": []any{fields{"result": "pass", "domain": "evil.example"}}},
			want: fields{"result": "fail", "reason": "no authenticated domain is aligned", "threat": false, "from": "a.bank.example", "domain": "bank.example", "organization": "bank.example", "tag": "sp", "requested": "quarantine", "policy": "none",
				"testing": true, "faults": []any{`fo is "9"`}}},
		{name: "nothing is known", content: from("a@other.example"), args: fields{}, want: fields{"result": "none", "reason": "there is no record", "threat": false, "from": "other.example"}},
		{name: "a threat", content: from("a@bank.example, a@evil.example"), args: fields{}, want: fields{"result": "permerror", "reason": "From has addresses of several domains", "threat": true}},
		{name: "a wrong record", content: from("a@wrong.example"), args: fields{}, want: fields{"result": "permerror", "reason": "the record of wrong.example: it has neither p nor rua", "threat": false, "from": "wrong.example", "domain": "wrong.example"}},
		{name: "the DNS fails", content: from("a@down.example"), args: fields{"spf": "pass", "spf_domain": "down.example"}, want: fields{"result": "temperror", "threat": false, "from": "down.example"}},
		{name: "an unknown key", content: from("a@bank.example"), args: fields{"helo": "x"}, err: `unknown key "helo"`},
		{name: "spf is a table", content: from("a@bank.example"), args: fields{"spf": fields{}}, err: "spf is a table; it must be a string"},
		{name: "dkim is a text", content: from("a@bank.example"), args: fields{"dkim": "pass"}, err: "dkim is not a list of tables"},
		{name: "dkim is a list of texts", content: from("a@bank.example"), args: fields{"dkim": []any{"pass"}}, err: "dkim is not a list of tables"},
		{name: "a result is a number", content: from("a@bank.example"), args: fields{"dkim": []any{fields{"result": int64(1)}}}, err: "dkim: result is a number"},
		{name: "without the DNS", content: from("a@bank.example"), args: fields{}, needs: &capability.Needs{Read: capability.ReadHeaders}, err: "needs = { dns = true }"},
		{name: "without the header", content: from("a@bank.example"), args: fields{}, needs: &capability.Needs{DNS: true}, err: `read = "headers"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.needs == nil {
				tt.needs = &needs
			}
			o := newOutside(t, Options{Resolver: resolvetest.New(t, zone)}, tt.needs)
			o.content = tt.content
			o.in(func(c *Context) {
				got, err := do(t, c, "dmarc.check", tt.args)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("%v, want %q", err, tt.err)
					}
					return
				}
				m, _ := got.(fields)
				if m["result"] == "temperror" && m["reason"] != nil {
					delete(m, "reason")
				}
				if err != nil || !reflect.DeepEqual(m, tt.want) {
					t.Errorf("got  %#v, %v\nwant %#v", got, err, tt.want)
				}
			})
		})
	}
}

// TestDMARCBudget: what a plugin may not ask any more is its failure, and no temperror.
func TestDMARCBudget(t *testing.T) {
	needs := &capability.Needs{DNS: true, Read: capability.ReadHeaders}
	o := newOutside(t, Options{Resolver: resolvetest.New(t, nil)}, needs)
	o.content = mailText("From: a@a.b.c.d.e.f.g.bank.example\r\n\r\n")
	o.in(func(c *Context) {
		c.lookups = maxCallLookups - 3
		if _, err := do(t, c, "dmarc.check", fields{}); err == nil || !strings.Contains(err.Error(), "questions in one hook call") {
			t.Errorf("%v", err)
		}
	})
	left := 3000
	o.c = NewHost(Options{Resolver: resolvetest.New(t, nil)}).Context("vip", needs, func(steps, _ int) error {
		if left -= steps; left < 0 {
			return errors.New("over budget")
		}
		return nil
	})
	o.in(func(c *Context) {
		left = 3 * lookupSteps
		if _, err := do(t, c, "dmarc.check", fields{}); err == nil || !strings.Contains(err.Error(), "over budget") {
			t.Errorf("%v", err)
		}
	})
}

func TestAuthres(t *testing.T) {
	const ours = "mx1.example.org"
	const header = "Authentication-Results: mx1.example.org; spf=pass\r\nAuthentication-Results: mx.elsewhere.example; spf=pass\r\nSubject: x\r\nauthentication-results:\r\n (x) \"MX1\\.example.org\"; none\r\n\r\n"
	compose := func(list any, more ...any) []any { return append([]any{"authres.compose", list}, more...) }
	for _, tt := range []struct {
		name string
		call []any
		want any
		err  string
	}{
		{name: "none", call: compose([]any{}), want: "mx1.example.org; none"},
		{name: "another name", call: compose([]any{}, "example.org"), want: "example.org; none"},
		{name: "a result", call: compose([]any{fields{"method": "spf", "result": "pass", "properties": []any{[]any{"smtp.mailfrom", "a@b.example"}, []any{"smtp.helo"}}}}), want: "mx1.example.org;\r\n\tspf=pass smtp.mailfrom=a@b.example"},
		{name: "without properties", call: compose([]any{fields{"method": "dkim", "result": "none", "properties": fields{}}}), want: "mx1.example.org;\r\n\tdkim=none"},
		{name: "no table", call: compose([]any{"spf"}), err: "result 1: it is not a table"},
		{name: "no method", call: compose([]any{fields{"result": "pass"}}), err: "result 1: method is missing"},
		{name: "an unknown key", call: compose([]any{fields{"method": "spf", "result": "pass", "why": "x"}}), err: `result 1: unknown key "why"`},
		{name: "no pairs", call: compose([]any{fields{"method": "spf", "result": "pass", "properties": []any{"x"}}}), err: "result 1: properties is not a list of pairs"},
		{name: "a name without a dot", call: compose([]any{fields{"method": "spf", "result": "pass", "properties": []any{[]any{"mailfrom", "x"}}}}), err: "result 1: properties is not a list of pairs as"},
		{name: "forged", call: []any{"authres.forged"}, want: []any{int64(1), int64(3)}},
		{name: "forged, of others", call: []any{"authres.forged", []any{"mx.elsewhere.example"}}, want: []any{int64(2)}},
		{name: "of nobody", call: []any{"authres.forged", []any{}}, want: []any{}},
		{name: "too many names", call: []any{"authres.forged", slices.Repeat([]any{"mx.example"}, 101)}, err: "names has 101 names; the most is 100"},
		{name: "no names", call: []any{"authres.forged", []any{int64(1)}}, err: "names is not a list of names"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOutside(t, Options{Hostname: func() string { return ours }}, &capability.Needs{Read: capability.ReadHeaders})
			o.content = mailText(header)
			o.in(func(c *Context) {
				got, err := do(t, c, tt.call[0].(string), tt.call[1:]...)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("%v, want %q", err, tt.err)
					}
				} else if err != nil || !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got  %#v, %v\nwant %#v", got, err, tt.want)
				}
			})
		})
	}
	o := newOutside(t, Options{Hostname: func() string { return ours }}, &capability.Needs{Read: capability.ReadHeaders})
	o.content = mailText(strings.TrimSuffix(header, "\r\n") + "no field\r\nAuthentication-Results: mx1.example.org; none\r\nAuthentication-Results: mx.elsewhere.example; none\r\n\r\n")
	o.in(func(c *Context) {
		for name, want := range map[string][]any{ours: {int64(0), int64(1), int64(3)}, "mx.elsewhere.example": {int64(0), int64(2)}, "mx3.example.org": {}} {
			if got, err := do(t, c, "authres.forged", []any{name}); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("behind a line that is no field, of %s: %v, %v, want %v", name, got, err, want)
			}
		}
	})
	o = newOutside(t, Options{}, &capability.Needs{})
	o.content = mailText(header)
	o.in(func(c *Context) {
		if _, err := do(t, c, "authres.compose", []any{}); err == nil || !strings.Contains(err.Error(), "give a name") {
			t.Errorf("%v", err)
		}
		if _, err := do(t, c, "authres.forged", []any{ours}); err == nil || !strings.Contains(err.Error(), "headers") {
			t.Errorf("%v", err)
		}
	})
}
