package service

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/hooks"
)

// inHook runs do in a hook call with a deadline.
func inHook(t *testing.T, r resolve.Resolver, timeout time.Duration, do func(c *Context)) {
	t.Helper()
	c := NewHost(Options{Resolver: r}).Context("vip", &capability.Needs{DNS: true}, nil)
	handler := func(call *hooks.Call) (*hooks.Verdict, error) {
		c.Begin(call)
		do(c)
		return nil, nil
	}
	gen, err := hooks.NewGeneration(1, []*hooks.Hook{{Plugin: "vip", Stage: hooks.Connect, Handler: hooks.HandlerFunc(handler), Needs: c.Needs, Timeout: timeout}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res := gen.Run(&hooks.Call{Stage: hooks.Connect, Session: &message.Session{}}); res.Failed {
		t.Fatal("the handler failed")
	}
}

type resolverFunc func(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error)

func (f resolverFunc) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	return f(ctx, name, t)
}

func TestDNS(t *testing.T) {
	r := resolvetest.New(t, map[string][]string{
		"example.org":     {"MX 10 mx.example.org.", `TXT "v=spf1 -all"`},
		"mx.example.org":  {"A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"},
		"bad.example.org": {"!servfail"},
	})
	inHook(t, r, time.Minute, func(c *Context) {
		check(t, c, []call{
			{name: "dns.get", args: list("mx.example.org", "A"), want: list("192.0.2.1", "192.0.2.2")},
			{name: "dns.get", args: list("example.org", "mx"), want: list(map[string]any{"preference": int64(10), "host": "mx.example.org"})},
			{name: "dns.get", args: list("none.example.org", "A"), want: []any{}},
			{name: "dns.get", args: list("example.org", "A"), want: []any{}},
			{name: "dns.get", args: list("bad.example.org", "A"), err: "dns.get: bad.example.org A: "},
			{name: "dns.get", args: list("example.org", "X"), err: `DNS record type "X" is not known`},
			{name: "dns.get", args: list("example.org"), err: "type is missing"},
			{name: "dns.get", args: list(list(), "A"), err: "a list of questions is the only argument"},
			{name: "dns.get", args: list([]any{}), want: []any{}},
			{name: "dns.get", args: list(list(list("a", "A"), "b")), err: "question 2 is not a pair"},
			{name: "dns.get", args: list(list(list("a", "A"), list("b", "X"))), err: `question 2: DNS record type "X"`},
			{name: "dns.get", args: list(make([]any, maxLookups+1)), err: "101 questions are too many"},
		})
		v, err := find(t, "dns.get").Do(c, list(list(list("example.org", "TXT"), list("bad.example.org", "A"), list("none.example.org", "A"), list("mx.example.org", "AAAA"))))
		if err != nil {
			t.Fatal(err)
		}
		got := v.([]any)
		failed, _ := got[1].(map[string]any)["error"].(string)
		if !strings.HasPrefix(failed, "bad.example.org A: ") {
			t.Errorf("error %q", failed)
		}
		got[1] = nil
		if want := list(list("v=spf1 -all"), nil, []any{}, list("2001:db8::1")); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v", got)
		}
	})
	check(t, handler(t, Options{}), []call{{name: "dns.get", args: list("a", "A"), err: "there is no resolver"}})
}

// TestDNSAtOnce counts the questions under way, and those of one hook call.
func TestDNSAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := resolverFunc(func(ctx context.Context, name string, _ resolve.Type) (resolve.Answer, error) {
			time.Sleep(time.Second)
			return resolve.Answer{Records: []resolve.Record{resolve.Name(name)}}, nil
		})
		var questions []any
		for i := range maxLookups {
			questions = append(questions, list(fmt.Sprint(i), "PTR"))
		}
		inHook(t, slow, time.Minute, func(c *Context) {
			start := time.Now()
			for range 2 {
				v, err := find(t, "dns.get").Do(c, list(questions))
				if err != nil || len(v.([]any)) != maxLookups {
					t.Fatal(v, err)
				}
				for i, e := range v.([]any) {
					if !slices.Equal(e.([]any), list(fmt.Sprint(i))) {
						t.Errorf("answer %d is %v", i, e)
					}
				}
			}
			if took := time.Since(start); took != 8*time.Second { // 100 in portions of 32, twice
				t.Errorf("took %s", took)
			}
			check(t, c, []call{{name: "dns.get", args: list("a", "A"), err: "more than 200 questions in one hook call"}})
		})
	})
}

// TestDNSDeadline has a resolver that does not heed its context, and one that panics.
func TestDNSDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		hangs := resolverFunc(func(_ context.Context, name string, _ resolve.Type) (resolve.Answer, error) {
			switch name {
			case "hang":
				<-release
			case "panic":
				panic("oops")
			}
			return resolve.Answer{}, nil
		})
		inHook(t, hangs, time.Second, func(c *Context) {
			check(t, c, []call{{name: "dns.get", args: list("panic", "A"), err: "panic A: the resolver failed: oops"}})
			start := time.Now()
			check(t, c, []call{
				{name: "dns.get", args: list(list(list("hang", "A"), list("ok", "A"))), want: list(map[string]any{"error": "hang A: no answer in time"}, []any{})},
				{name: "dns.get", args: list("hang", "A"), err: "no answer in time"},
			})
			if took := time.Since(start); took != time.Second {
				t.Errorf("took %s", took)
			}
		})
	})
}

// TestDNSTemporary keeps the resolver's error for callers that look.
func TestDNSTemporary(t *testing.T) {
	r := resolvetest.New(t, map[string][]string{"bad.example.org": {"!servfail"}})
	inHook(t, r, time.Minute, func(c *Context) {
		if _, err := find(t, "dns.get").Do(c, list("bad.example.org", "A")); !errors.Is(err, resolve.Temporary) {
			t.Error(err)
		}
	})
}
