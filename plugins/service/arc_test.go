package service

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/plugins/mailauth/dkim"
)

// TestARC seals a message twice, as two systems do, and verifies it at each step.
func TestARC(t *testing.T) {
	key, err := dkim.NewPrivateKey("ed25519", 0)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	record, err := key.Record()
	if err != nil {
		t.Fatal(err)
	}
	dns := resolvetest.New(t, map[string][]string{"s._domainkey.b.example": {fmt.Sprintf("TXT %q", record)}, "down._domainkey.b.example": {"!servfail"}})
	secrets, _ := secretsIn(t, map[string]string{"dkim/b.example/s": string(pem), "dkim/none": "no key"})
	needs := &capability.Needs{DNS: true, Read: capability.ReadBody, Secrets: []string{"dkim/*"}}
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	o := newOutside(t, Options{Resolver: dns, Secrets: secrets, Now: func() time.Time { return now }}, needs)
	type m = map[string]any
	good := func(more m) m {
		all := m{"domain": "b.example", "selector": "s", "key": m{"secret": "dkim/b.example/s"}, "results": "b.example; spf=pass", "cv": "none"}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	verified := func(mail string) (got m) {
		t.Helper()
		o.content = content{strings.NewReader(mail)}
		o.in(func(c *Context) {
			v, err := do(t, c, "arc.verify")
			if err != nil {
				t.Fatal(err)
			}
			got = v.(m)
		})
		return got
	}
	sealed := func(mail string, how m) (string, m) {
		t.Helper()
		o.content = content{strings.NewReader(mail)}
		var s m
		o.in(func(c *Context) {
			v, err := do(t, c, "arc.seal", how)
			if err != nil {
				t.Fatal(err)
			}
			s, _ = v.(m)
		})
		if s == nil {
			return mail, nil
		}
		return fmt.Sprintf("ARC-Seal: %s\r\nARC-Message-Signature: %s\r\nARC-Authentication-Results: %s\r\n", s["seal"], s["signature"], s["results"]) + mail, s
	}

	mail := "From: a@a.example\r\nSubject: x\r\n\r\nbody\r\n"
	if got, want := verified(mail), (m{"result": "none", "temporary": false, "instance": int64(0), "sets": []any{}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	one, s := sealed(mail, good(nil))
	if s["instance"] != int64(1) || s["cv"] != "none" {
		t.Errorf("the first set is %v", s)
	}
	set := func(i int64, cv, results string) m {
		return m{"instance": i, "domain": "b.example", "selector": "s", "algorithm": "ed25519-sha256", "cv": cv, "signer": "b.example", "results": results}
	}
	if got, want := verified(one), (m{"result": "pass", "temporary": false, "instance": int64(1), "oldest_pass": int64(0), "sets": []any{set(1, "none", "b.example; spf=pass")}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	two, s := sealed(strings.Replace(one, "Subject: x", "Subject: [list] x", 1), good(m{"cv": "pass", "results": "b.example; " + strings.Repeat("x ", 2000)}))
	if s["instance"] != int64(2) || s["cv"] != "pass" {
		t.Errorf("the second set is %v", s)
	}
	got := verified(two)
	if got["result"] != "pass" || got["oldest_pass"] != int64(2) || len(got["sets"].([]any)) != 2 || len(got["sets"].([]any)[1].(m)["results"].(string)) != maxARCResults {
		t.Errorf("two sets: %v", got)
	}
	broken := strings.Replace(two, "\r\nbody", "\r\nmore body", 1)
	if got := verified(broken); got["result"] != "fail" || got["reason"] == nil || got["oldest_pass"] != nil || got["temporary"] != false {
		t.Errorf("another body: %v", got)
	}
	failed, s := sealed(broken, good(m{"cv": "fail"}))
	if s["instance"] != int64(3) || s["cv"] != "fail" {
		t.Errorf("a chain that failed is sealed as %v", s)
	}
	if _, s := sealed(failed, good(m{"cv": "fail"})); s != nil {
		t.Errorf("behind a failure there is %v", s)
	}
	down, _ := sealed(mail, good(m{"selector": "down"}))
	if got := verified(down); got["result"] != "fail" || got["temporary"] != true {
		t.Errorf("without the DNS: %v", got)
	}

	o.content = content{strings.NewReader(one)}
	o.in(func(c *Context) {
		for _, tt := range []struct {
			how  m
			want string
		}{
			{m{}, "arc.seal: domain is missing"},
			{good(m{"selector": nil}), "arc.seal: selector is missing"},
			{good(m{"results": nil}), "arc.seal: results is missing"},
			{good(m{"key": nil}), "arc.seal: key is nil; it is a secret"},
			{good(m{"key": "text"}), "arc.seal: key is a string; it is a secret"},
			{good(m{"key": m{"secret": "dkim/none"}}), `arc.seal: the secret "dkim/none" is no key that signs`},
			{good(m{"key": m{"secret": "other"}}), `arc.seal: the secret "other" is not granted`},
			{good(m{"cv": "maybe"}), `arc.seal: cv is "maybe"; it is none, pass or fail`},
			{good(m{"cv": nil}), "arc.seal: the message has a chain, so cv must say"},
			{good(m{"domain": "b", "cv": "pass"}), "arc.seal: d="},
			{good(m{"header": "x"}), "header"},
		} {
			_, err := do(t, c, "arc.seal", tt.how)
			wantError(t, err, tt.want)
		}
	})
	for _, tt := range []struct {
		needs *capability.Needs
		name  string
		args  []any
		want  string
	}{
		{&capability.Needs{DNS: true, Read: capability.ReadHeaders}, "arc.verify", nil, "arc.verify: reading the body is not granted"},
		{&capability.Needs{Read: capability.ReadBody}, "arc.verify", nil, "arc.verify: it is not granted: ask with needs = { dns = true }"},
		{&capability.Needs{Read: capability.ReadBody}, "arc.seal", []any{good(nil)}, "arc.seal: it is not granted: ask with needs = { secrets"},
		{&capability.Needs{Secrets: []string{"dkim/*"}}, "arc.seal", []any{good(nil)}, "arc.seal: reading the body is not granted"},
	} {
		other := newOutside(t, Options{Resolver: dns, Secrets: secrets}, tt.needs)
		other.content = o.content
		other.in(func(c *Context) {
			_, err := do(t, c, tt.name, tt.args...)
			wantError(t, err, tt.want)
		})
	}
	o.content = nil
	o.in(func(c *Context) {
		for name, args := range map[string][]any{"arc.verify": nil, "arc.seal": {good(nil)}} {
			_, err := do(t, c, name, args...)
			wantError(t, err, name+": there is no content yet")
		}
	})
}
