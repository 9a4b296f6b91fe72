package queue

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

func TestSelector(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	env := &message.Envelope{ID: store.ID{1}, Sender: parse(t, "News@Lists.example"), Arrived: now.Add(-2 * time.Hour), Tenant: "Acme"}
	for _, r := range []string{"a@one.example", "b@one.example", "c@two.example", "d@three.example"} {
		env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: parse(t, r)})
	}
	uml, err := smtp.ParseUTF8Address("e@b\u00fccher.example")
	if err != nil {
		t.Fatal(err)
	}
	env.Rcpts = append(env.Rcpts, &message.Rcpt{Address: uml})
	state := store.Begin(env)
	state.Rcpts[0] = store.RcptState{Result: message.Delivered}
	state.Rcpts[1] = store.RcptState{Result: message.Deferred, Lane: "mx:one.example", Next: now.Add(time.Hour), Last: message.Last{Code: 451, Enhanced: "4.7.1", Text: "Greylisted"}}
	state.Rcpts[2] = store.RcptState{Result: message.Deferred, Lane: "mx:two.example", Next: now.Add(time.Hour), Last: message.Last{Code: 421, Text: "too many"}}
	held := *state
	held.Held = "A look first"
	null := *env
	null.Sender, null.Tenant = smtp.Address{}, ""
	for _, tt := range []struct {
		query string
		want  string // indexes of recipients, "whole" when all of them that are open; "" when it is not chosen
	}{
		{"", "whole"},
		{"sender=news@lists.example", "whole"},
		{"sender=<news@lists.example>", "whole"},
		{"sender=*@LISTS.example", "whole"},
		{"sender=*@lists.*ple", "whole"},
		{"sender=new@lists.example", ""},
		{"sender=x@a.example&sender=news@*", "whole"},
		{"sender=<>", ""},
		{"tenant=acme", "whole"},
		{"tenant=", ""},
		{"recipient=a@one.example", ""}, // nothing is to be done for it
		{"recipient=b@one.example", "[1]"},
		{"recipient=b@*&recipient=C@*", "[1 2]"},
		{"domain=one.example&recipient=c@*", ""},
		{"domain=*.example", "whole"},
		{"domain=b\u00dccher.example", "[4]"},
		{"domain=xn--bcher-kva.example", "[4]"},
		{"next-hop=mx:one.example", "[1]"},
		{"next-hop=mx:*", "[1 2]"},
		{"site=MAIL.one.*", "[1]"},
		{"site=mail.one.example&site=mail.two.example&domain=*", "[1 2]"},
		{"site=none", ""},
		{"reason=greylist", "[1]"},
		{"reason=451+4.7.1+g", "[1]"},
		{"reason=nothing", ""},
		{"state=deferred", "whole"},
		{"state=held&state=deferred", "whole"},
		{"state=held", ""},
		{"older=2h", "whole"},
		{"older=2h1m", ""},
		{"newer=2h1m", "whole"},
		{"newer=2h", ""},
		{"older=1h&newer=3h&sender=news@*&domain=two.example&next-hop=*&limit=3", "[2]"},
		{"held state=held&reason=look", "whole"},
		{"held state=deferred", ""},
		{"null sender=<>", "whole"},
		{"null sender=*@*", ""},
		{"null sender=*", "whole"},
		{"null tenant=", "whole"},
	} {
		it := store.Item{Envelope: env, State: state}
		query := tt.query
		if rest, ok := strings.CutPrefix(query, "held "); ok {
			it.State, query = &held, rest
		}
		if rest, ok := strings.CutPrefix(query, "null "); ok {
			it.Envelope, query = &null, rest
		}
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseSelector(q)
		if s != nil {
			s.SiteOf = func(lane store.Lane) string { return strings.Replace(lane, "mx:", "mail.", 1) }
		}
		if err != nil || len(q) > 0 {
			t.Errorf("%s: %v, left %v", tt.query, err, q)
			continue
		}
		got := ""
		if c, ok := s.Choose(it, false, now); ok && !c.Part {
			got = "whole"
		} else if ok {
			got = fmt.Sprint(c.Rcpts)
		}
		if got != tt.want {
			t.Errorf("%s chooses %q, want %q", tt.query, got, tt.want)
		}
	}
	for query, want := range map[string]string{
		"sender=lists.example": "*@example.org", "recipient=<>": "no address", "state=new": "none of active", "domain=": "empty", "older=x": "not a duration",
		"older=0s": "not a duration", "older=1h&older=2h": "once", "limit=-1": "number", "limit=x": "number",
		strings.Repeat("domain=x&", maxPatterns+1): "more than 1000",
	} {
		q, _ := url.ParseQuery(query)
		if s, err := ParseSelector(q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %+v, %v; want %q", query, s, err, want)
		}
	}
}

func FuzzMatches(f *testing.F) {
	for _, seed := range [][2]string{{"a*b", "axxb"}, {"*", ""}, {"**a", "ba"}, {"a", "a*"}, {"*a*a*a*b", "aaaaaaaaaaaa"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 100 || len(s) > 100 {
			return
		}
		parts := strings.Split(pattern, "*")
		rest, ok := strings.CutPrefix(s, parts[0])
		for i, p := range parts[1:] {
			if !ok {
				break
			}
			if i == len(parts)-2 {
				ok = strings.HasSuffix(rest, p)
				rest = ""
			} else if k := strings.Index(rest, p); k >= 0 {
				rest = rest[k+len(p):]
			} else {
				ok = false
			}
		}
		if ok = ok && rest == ""; matches(pattern, s) != ok {
			t.Errorf("%q matches %q: %v", pattern, s, !ok)
		}
	})
}

func TestParseReply(t *testing.T) {
	for in, want := range map[string]string{
		"gone": "550 5.7.0 gone", "5.1.1 no such user": "550 5.1.1 no such user", "554 5.1.1 no": "554 5.1.1 no", " 554  no ": "554 5.7.0 no",
		"5 beers": "550 5.7.0 5 beers", "450 later": "", "": "", "550 5.1.1": "", "a\nb": "", "\u00e9": "", strings.Repeat("x", 513): "",
	} {
		r, err := ParseReply(in)
		if got := r.Error(); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q is %q, %v; want %q", in, got, err, want)
		}
	}
}
