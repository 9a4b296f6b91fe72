package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/mailauth/spf"
)

// sender is a context for spf.check within a hook of 30 s.
func sender(o Options) *Context {
	o.Now = func() time.Time { return epoch }
	c := NewHost(o).Context("vip", &capability.Needs{SPF: true}, nil)
	call := &hooks.Call{Stage: hooks.Mail}
	c.Begin(call)
	return c
}

func TestSPF(t *testing.T) {
	dns := resolvetest.New(t, map[string][]string{
		"x.test": {`TXT "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all exp=e.test"`}, "e.test": {`TXT "%{r} %{t}"`},
		"client.test": {`TXT "v=spf1 x y"`}, "xn--bcher-kva.test": {`TXT "v=spf1 ?all"`}, "down.test": {"!servfail"},
	})
	inHook(t, dns, time.Minute, func(c *Context) {
		c.Needs = &capability.Needs{SPF: true}
		c.host.Hostname = func() string { return "mx.example.org" }
		c.host.Now = func() time.Time { return epoch }
		for _, tt := range []struct {
			question map[string]any
			want     map[string]any // without received
			err      string
		}{
			{map[string]any{"ip": "192.0.2.1", "helo": "client.test", "sender": "joe@X.test"}, map[string]any{"result": "pass", "identity": "mailfrom", "domain": "x.test", "mechanism": "ip4:192.0.2.1"}, ""},
			{map[string]any{"ip": "::ffff:192.0.2.1", "sender": "joe@x.test"}, map[string]any{"result": "pass", "identity": "mailfrom", "domain": "x.test", "mechanism": "ip4:192.0.2.1"}, ""},
			{map[string]any{"ip": "2001:DB8::1", "sender": "joe@x.test"}, map[string]any{"result": "pass", "identity": "mailfrom", "domain": "x.test", "mechanism": "ip6:2001:db8::1"}, ""},
			{map[string]any{"ip": "192.0.2.2", "sender": "joe@x.test"}, map[string]any{"result": "fail", "identity": "mailfrom", "domain": "x.test", "mechanism": "-all", "explanation": "mx.example.org 1700000000"}, ""},
			{map[string]any{"ip": "192.0.2.2", "sender": "joe@b\u00fccher.test"}, map[string]any{"result": "neutral", "identity": "mailfrom", "domain": "xn--bcher-kva.test", "mechanism": "?all"}, ""},
			{map[string]any{"ip": "192.0.2.2", "sender": "joe@down.test"}, map[string]any{"result": "temperror", "identity": "mailfrom", "domain": "down.test", "problem": nil}, ""},
			{map[string]any{"ip": "192.0.2.2", "sender": "joe@none.test"}, map[string]any{"result": "none", "identity": "mailfrom", "domain": "none.test"}, ""},
			{map[string]any{"ip": "192.0.2.2", "sender": "joe@[192.0.2.2]"}, map[string]any{"result": "none", "identity": "mailfrom"}, ""},
			{map[string]any{"ip": "192.0.2.2", "helo": "client.test"}, map[string]any{"result": "permerror", "identity": "helo", "domain": "client.test", "problem": nil}, ""},
			{map[string]any{"ip": "192.0.2.2", "helo": "client.test", "sender": ""}, map[string]any{"result": "permerror", "identity": "mailfrom", "domain": "client.test", "problem": nil}, ""},
			{map[string]any{"helo": "x.test"}, nil, `spf.check: ip: "" is not an IP address`},
			{map[string]any{"ip": "x", "helo": "x.test"}, nil, `spf.check: ip: "x" is not an IP address`},
			{map[string]any{"ip": "192.0.2.2", "helo": int64(1)}, nil, "spf.check: helo is a number; it is text"},
			{map[string]any{"ip": "192.0.2.2", "ehlo": "x.test"}, nil, `spf.check: "ehlo" is nothing that can be asked; there are ip, helo and sender`},
		} {
			c.senders = 0
			v, err := do(t, c, "spf.check", tt.question)
			if tt.err != "" {
				wantError(t, err, tt.err)
				continue
			}
			got, _ := v.(map[string]any)
			if err != nil || got["received"] == "" {
				t.Errorf("%v: %v, %v", tt.question, v, err)
			}
			for _, key := range []string{"result", "identity", "domain", "mechanism", "explanation", "problem"} {
				want, there := tt.want[key]
				if there && want == nil { // any text
					if text, _ := got[key].(string); text == "" {
						t.Errorf("%v: %s is missing in %v", tt.question, key, got)
					}
				} else if got[key] != want {
					t.Errorf("%v: %s is %v, want %v", tt.question, key, got[key], want)
				}
			}
		}
		c.senders = 0
		for range maxSenders {
			if _, err := do(t, c, "spf.check", map[string]any{"ip": "192.0.2.2", "helo": "x.test"}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := do(t, c, "spf.check", map[string]any{"ip": "192.0.2.2", "helo": "x.test"})
		wantError(t, err, "more than 5 checks in one hook call")
	})
	c := sender(Options{})
	_, err := do(t, c, "spf.check", map[string]any{"ip": "192.0.2.2", "helo": "x.test"})
	wantError(t, err, "there is no resolver")
	c.Needs = &capability.Needs{DNS: true}
	_, err = do(t, c, "spf.check", map[string]any{"ip": "192.0.2.2", "helo": "x.test"})
	wantError(t, err, "it is not granted: ask with needs = { spf = true }")
}

// TestSPFTime: a DNS that is silent ends in temperror before the hook's time ends, or that of a check; and one that does not heed
// the end of its time is left alone.
func TestSPFTime(t *testing.T) {
	silent := resolverFunc(func(ctx context.Context, name string, k resolve.Type) (resolve.Answer, error) {
		<-ctx.Done()
		return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: k}
	})
	for timeout, most := range map[time.Duration]time.Duration{10 * time.Second: 9 * time.Second, time.Minute: spf.Patience} {
		synctest.Test(t, func(t *testing.T) {
			inHook(t, silent, timeout, func(c *Context) {
				c.Needs = &capability.Needs{SPF: true}
				begin := time.Now()
				v, err := do(t, c, "spf.check", map[string]any{"ip": "192.0.2.2", "helo": "x.test"})
				if got, _ := v.(map[string]any); err != nil || got["result"] != "temperror" {
					t.Errorf("within %v: %v, %v", timeout, v, err)
				}
				if took := time.Since(begin); took > most {
					t.Errorf("within %v it took %v", timeout, took)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		deaf := resolverFunc(func(context.Context, string, resolve.Type) (resolve.Answer, error) {
			<-end
			return resolve.Answer{}, nil
		})
		inHook(t, deaf, 10*time.Second, func(c *Context) {
			c.Needs = &capability.Needs{SPF: true}
			_, err := do(t, c, "spf.check", map[string]any{"ip": "192.0.2.2", "helo": "x.test"})
			wantError(t, err, "no answer in time")
		})
		close(end)
	})
}
