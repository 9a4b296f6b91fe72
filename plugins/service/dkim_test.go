package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/hooks"
)

// The Ed25519 key of RFC 8463 appendix A, and its record.
const (
	rfcKey    = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	rfcRecord = `TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`
)

const toSign = "From: Ann <ann@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"

// dkimRig has two keys for example.org.
func dkimRig(t *testing.T, needs *capability.Needs) (*outside, *resolvetest.Resolver) {
	t.Helper()
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "dkim/example.org"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"s1": rfcKey + "\n", "s2": "TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=\n", "bad": "bad"} {
		if err := os.WriteFile(filepath.Join(folder, "dkim/example.org", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dns := resolvetest.New(t, map[string][]string{
		"s1._domainkey.example.org": {rfcRecord},
		"s2._domainkey.example.org": {`TXT "v=DKIM1; k=ed25519; p=PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="`}, // RFC 8032 section 7.1, test 2
	})
	o := Options{Resolver: dns, Secrets: SecretFolder{func() string { return folder }}, Now: func() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }}
	out := newOutside(t, o, needs)
	out.content = mailText(toSign)
	return out, dns
}

func allDKIM() *capability.Needs {
	return &capability.Needs{DNS: true, Secrets: []string{"dkim/*"}, Read: capability.ReadBody, Edit: capability.EditHeaders}
}

// signing is what a plugin writes, with the secrets of these selectors.
func signing(selectors ...string) map[string]any {
	var keys []any
	for _, s := range selectors {
		keys = append(keys, map[string]any{"selector": s, "key": map[string]any{secretObject: "dkim/example.org/" + s}})
	}
	return map[string]any{"domain": "example.org", "keys": keys, "sign": []any{"Subject", "To"}, "oversign": []any{"Reply-To"}}
}

// TestDKIM: what dkim.sign gives is a field that dkim.verify passes, with all keys at once; a field that is added later breaks it, and
// what other plugins edit meanwhile is not what was received.
func TestDKIM(t *testing.T) {
	o, dns := dkimRig(t, allDKIM())
	var values []any
	o.in(func(c *Context) {
		got, err := do(t, c, "dkim.sign", signing("s1", "s2"))
		if err != nil {
			t.Fatal(err)
		}
		values = got.([]any)
	})
	if len(values) != 2 {
		t.Fatalf("%v", values)
	}
	field := func(i int) string { return "DKIM-Signature: " + values[i].(string) + "\r\n" }
	verify := func(text string, options ...any) map[string]any {
		t.Helper()
		o.content = mailText(text)
		var got any
		o.in(func(c *Context) {
			var err error
			if got, err = do(t, c, "dkim.verify", options...); err != nil {
				t.Fatal(err)
			}
		})
		return got.(map[string]any)
	}
	both := field(0) + field(1) + toSign
	r := verify(both)
	results := r["results"].([]any)
	if r["result"] != "pass" || len(results) != 2 || r["untried"] != int64(0) || len(dns.Asked()) != 2 {
		t.Fatalf("%v", r)
	}
	first := results[0].(map[string]any)
	if first["result"] != "pass" || first["domain"] != "example.org" || first["selector"] != "s1" || first["algorithm"] != "ed25519-sha256" || first["key_bits"] != int64(256) || len(first["b"].(string)) != 8 || first["identity"] != "@example.org" || first["reason"] != nil {
		t.Errorf("%v", first)
	}
	if _, err := message.SizeOf(r["results"]); err != nil {
		t.Errorf("it can be no fact: %v", err)
	}
	o.content = mailText("From: ann@example.org\r\nno field\r\nFrom: eve@example.org\r\n\r\n")
	o.in(func(c *Context) {
		if got, err := do(t, c, "dkim.sign", signing("s1")); err != nil || len(got.([]any)) != 0 {
			t.Errorf("a header with a line that is no field: %v, %v", got, err)
		}
	})
	for _, add := range []string{"From: eve@example.com\r\n", "Reply-To: eve@example.com\r\n"} {
		if r := verify(add + both); r["result"] != "fail" {
			t.Errorf("with %q: %v", add, r)
		}
	}
	if r := verify("To: bob@example.net\r\n" + both); r["result"] != "pass" {
		t.Errorf("a field that was not there and not oversigned: %v", r)
	}
	if r := verify(both, map[string]any{"signatures": int64(1)}); r["untried"] != int64(1) {
		t.Errorf("%v", r)
	}

	// an edit of another hook, before this one
	o.content = mailText(both)
	var got any
	handler := func(call *hooks.Call) (*hooks.Verdict, error) {
		o.c.Begin(call)
		defer o.c.Begin(nil)
		var err error
		got, err = do(t, o.c, "dkim.verify")
		return nil, err
	}
	editor := hooks.HandlerFunc(func(call *hooks.Call) (*hooks.Verdict, error) { return nil, call.SetHeader("Subject", "other") })
	gen, err := hooks.NewGeneration(1, []*hooks.Hook{
		{Plugin: "editor", Stage: hooks.Data, Order: 1, Handler: editor, Needs: allDKIM(), Timeout: time.Second},
		{Plugin: "vip", Stage: hooks.Data, Order: 2, Handler: hooks.HandlerFunc(handler), Needs: o.c.Needs, Timeout: 30 * time.Second}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	view := &hooks.MessageView{Envelope: &message.Envelope{Session: o.session}, Content: o.content}
	if res := gen.Run(&hooks.Call{Stage: hooks.Data, Session: o.session, Message: view}); res.Failed || got.(map[string]any)["result"] != "pass" {
		t.Errorf("%+v: %v", res, got)
	}
}

// TestDKIMRefused: what a plugin may not, or does wrong.
func TestDKIMRefused(t *testing.T) {
	with := func(change func(*capability.Needs)) *capability.Needs {
		n := allDKIM()
		change(n)
		return n
	}
	change := func(key string, v any) map[string]any {
		m := signing("s1")
		m[key] = v
		return m
	}
	for _, tt := range []struct {
		name  string
		needs *capability.Needs
		call  string
		args  []any
		text  string
		want  string
	}{
		{"no dns", with(func(n *capability.Needs) { n.DNS = false }), "dkim.verify", nil, toSign, "ask with needs = { dns = true }"},
		{"no body", with(func(n *capability.Needs) { n.Read = capability.ReadHeaders }), "dkim.verify", nil, toSign, `ask with needs = { read = "body" }`},
		{"no body to sign", with(func(n *capability.Needs) { n.Read = capability.ReadHeaders }), "dkim.sign", []any{signing("s1")}, toSign, `ask with needs = { read = "body" }`},
		{"no secrets", with(func(n *capability.Needs) { n.Secrets = nil }), "dkim.sign", []any{signing("s1")}, toSign, "ask with needs = { secrets"},
		{"other secrets", with(func(n *capability.Needs) { n.Secrets = []string{"api"} }), "dkim.sign", []any{signing("s1")}, toSign, `the secret "dkim/example.org/s1" is not granted`},
		{"no such secret", allDKIM(), "dkim.sign", []any{signing("s3")}, toSign, `there is no secret "dkim/example.org/s3"`},
		{"a secret that is no key", allDKIM(), "dkim.sign", []any{signing("bad")}, toSign, `the secret "dkim/example.org/bad" is no key that signs`},
		{"no domain", allDKIM(), "dkim.sign", []any{change("domain", nil)}, toSign, "domain is missing"},
		{"a domain that is none", allDKIM(), "dkim.sign", []any{change("domain", "org")}, toSign, "two labels"},
		{"an unknown key", allDKIM(), "dkim.sign", []any{change("keyz", 1)}, toSign, `did you mean "keys"`},
		{"no keys", allDKIM(), "dkim.sign", []any{change("keys", []any{})}, toSign, "keys must be a list of 1 to 10"},
		{"a key that is text", allDKIM(), "dkim.sign", []any{change("keys", []any{map[string]any{"selector": "s", "key": "x"}})}, toSign, "it is a secret, as"},
		{"a form that is none", allDKIM(), "dkim.sign", []any{change("canonicalization", "nofws")}, toSign, "canonicalization: c="},
		{"names that are none", allDKIM(), "dkim.sign", []any{change("sign", []any{"a b"})}, toSign, "is no name of a field"},
		{"names that are no list", allDKIM(), "dkim.sign", []any{change("oversign", "From")}, toSign, "oversign is no list"},
		{"a time that is none", allDKIM(), "dkim.sign", []any{change("expire", int64(0))}, toSign, "expire is 0"},
		{"no From", allDKIM(), "dkim.sign", []any{signing("s1")}, "Subject: x\r\n\r\n", "the message has no From"},
		{"options that there are not", allDKIM(), "dkim.verify", []any{map[string]any{"sigs": int64(1)}}, toSign, "unknown key"},
		{"too many signatures", allDKIM(), "dkim.verify", []any{map[string]any{"signatures": int64(51)}}, toSign, "from 1 to 50"},
		{"length that is no bool", allDKIM(), "dkim.verify", []any{map[string]any{"length": "yes"}}, toSign, "true or false"},
		{"too much time", allDKIM(), "dkim.verify", []any{map[string]any{"time": int64(61)}}, toSign, "at most 60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, _ := dkimRig(t, tt.needs)
			o.content = mailText(tt.text)
			o.in(func(c *Context) {
				if got, err := do(t, c, tt.call, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, %v; want %q", got, err, tt.want)
				}
			})
		})
	}
}

// TestDKIMKeyChanges: a key that is written anew signs from the next call on.
func TestDKIMKeyChanges(t *testing.T) {
	o, _ := dkimRig(t, allDKIM())
	sign := func() (value string) {
		o.in(func(c *Context) {
			got, err := do(t, c, "dkim.sign", signing("s1"))
			if err != nil {
				t.Fatal(err)
			}
			value = got.([]any)[0].(string)
		})
		return value
	}
	first := sign()
	if sign() != first {
		t.Error("the same key signs otherwise")
	}
	folder := o.c.host.Secrets.(SecretFolder).Folder()
	if err := os.WriteFile(filepath.Join(folder, "dkim/example.org/s1"), []byte("TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs="), 0o600); err != nil {
		t.Fatal(err)
	}
	if sign() == first {
		t.Error("the key that was there before still signs")
	}
	if n := len(o.c.host.signKeys.keys); n != 2 {
		t.Errorf("%d keys are kept", n)
	}
}
