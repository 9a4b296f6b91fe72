package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

const client = "192.0.2.1"

func mail(sender string) Query {
	return Query{Identity: Mail, IP: netip.MustParseAddr(client), Helo: "mail.example.com", Sender: sender, Receiver: "mx.example.org", Time: time.Unix(1_800_000_000, 0)}
}

// txt is a TXT record of any length.
func txt(text string) string {
	var b strings.Builder
	b.WriteString("TXT")
	for ; len(text) > 250; text = text[250:] {
		b.WriteString(` "` + text[:250] + `"`)
	}
	return b.String() + ` "` + text + `"`
}

// many makes n names or records of a form with a number.
func many(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// TestBounds: what a record makes the server do has an end, whatever it says, and no error is a pass (hardening of look-ups).
func TestBounds(t *testing.T) {
	record := func(s string) map[string][]string { return map[string][]string{"x.test": {txt(s)}} }
	with := func(zone map[string][]string, name string, records ...string) map[string][]string {
		zone[name] = records
		return zone
	}
	bomb := record("v=spf1 " + strings.Join(many(10, "mx:m%d.test"), " ") + " +all")
	for i := range 10 {
		bomb[fmt.Sprintf("m%d.test", i)] = many(10, fmt.Sprintf("MX 1 h%%d.m%d.test", i))
	}
	tree := record("v=spf1 include:a.test include:a.test +all")
	for i, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
		next := string("bcde"[i]) + ".test"
		tree[name] = []string{txt("v=spf1 include:" + next + " include:" + next)}
	}
	tree["e.test"] = []string{txt("v=spf1 -all")}
	ptrs := map[string][]string{"x.test": {txt("v=spf1 ptr -all")}, "1.2.0.192.in-addr.arpa": append(many(11, "PTR h%d.x.test"), "PTR x.test")}
	ptrs["h10.x.test"], ptrs["x.test"] = []string{"A 192.0.2.1"}, append(ptrs["x.test"], "A 192.0.2.1")

	for _, tt := range []struct {
		name    string
		zone    map[string][]string
		want    Result
		problem string
		most    int // questions
	}{
		{"ten terms, of which three are void", record("v=spf1 " + strings.Repeat("a:v.test ", 2) + strings.Repeat("a ", 8) + "-all"), Permerror, "", 11},
		{"eleven terms", with(record("v=spf1 "+strings.Repeat("a ", 11)+"+all"), "x.test", txt("v=spf1 "+strings.Repeat("a ", 11)+"+all"), "A 192.0.2.2"), Permerror, "more than 10 terms", 11},
		{"ten terms that are answered", with(record(""), "x.test", txt("v=spf1 "+strings.Repeat("a ", 10)+"-all"), "A 192.0.2.2"), Fail, "", 11},
		{"two void terms", record("v=spf1 a:v1.test a:v2.test -all"), Fail, "", 3},
		{"three void terms", record("v=spf1 a:v1.test a:v2.test a:v3.test +all"), Permerror, "more than 2 terms", 4},
		{"void: mx, exists, ptr", record("v=spf1 mx:v1.test exists:v2.test ptr:v3.test +all"), Permerror, "more than 2 terms", 4},
		{"ten exchangers without addresses", with(record("v=spf1 mx -all"), "x.test", append(many(10, "MX 1 h%d.test"), txt("v=spf1 mx -all"))...), Fail, "", 12},
		{"eleven exchangers", with(record("v=spf1 mx +all"), "x.test", append(many(11, "MX 1 h%d.test"), txt("v=spf1 mx +all"))...), Permerror, "more than 10 exchangers", 2},
		{"ten mx of ten exchangers each", bomb, Pass, "", 111},
		{"includes that double", tree, Permerror, "more than 10 terms", 11},
		{"an include loop", record("v=spf1 include:x.test +all"), Permerror, "more than 10 terms", 11},
		{"a redirect loop", record("v=spf1 redirect=x.test"), Permerror, "more than 10 terms", 11},
		{"a loop by a macro", record("v=spf1 redirect=%{d}"), Permerror, "more than 10 terms", 11},
		{"a name that grows", record("v=spf1 exists:%{d}.%{d}.%{d} include:%{d}.%{d} +all"), Permerror, "no record", 3},
		{"names of the client beyond ten", ptrs, Fail, "", 12},
		{"two records", with(record(""), "x.test", txt("v=spf1 +all"), txt("v=spf1 -all")), Permerror, "2 records", 1},
		{"a record of 600 bytes", record("v=spf1 " + strings.Repeat("ip4:198.51.100.1 ", 34) + "-all"), Fail, "", 1},
		{"a record of 30 KB", record("v=spf1 " + strings.Repeat("ip4:198.51.100.1 ", 1800) + "-all"), Fail, "", 1},
		{"a record of 40 KB", record("v=spf1 " + strings.Repeat("ip4:198.51.100.1 ", 2400) + "+all"), Temperror, "more than 32768", 1},
		{"a mistake behind 30 KB", record("v=spf1 +all " + strings.Repeat("ip4:198.51.100.1 ", 1800) + "ip4:x"), Permerror, "is no IPv4 address", 1},
		{"a CNAME loop", with(with(map[string][]string{}, "x.test", "CNAME y.test"), "y.test", "CNAME x.test"), Temperror, "CNAME", 1},
		{"a CNAME loop at a mechanism", with(with(record("v=spf1 a:y.test +all"), "y.test", "CNAME z.test"), "z.test", "CNAME y.test"), Temperror, "CNAME", 2},
		{"a CNAME loop at an exchanger", with(with(with(record("v=spf1 mx:m.test +all"), "m.test", "MX 1 y.test"), "y.test", "CNAME z.test"), "z.test", "CNAME y.test"), Temperror, "CNAME", 3},
		{"SERVFAIL", map[string][]string{"x.test": {"!servfail"}}, Temperror, "SERVFAIL", 1},
		{"REFUSED", map[string][]string{"x.test": {"!refused"}}, Temperror, "REFUSED", 1},
		{"silence", map[string][]string{"x.test": {"!silent"}}, Temperror, "no answer", 1},
		{"SERVFAIL at a", with(record("v=spf1 a:y.test +all"), "y.test", "!servfail"), Temperror, "SERVFAIL", 2},
		{"SERVFAIL at mx", with(record("v=spf1 mx:y.test +all"), "y.test", "!servfail"), Temperror, "SERVFAIL", 2},
		{"SERVFAIL at exists", with(record("v=spf1 exists:y.test +all"), "y.test", "!servfail"), Temperror, "SERVFAIL", 2},
		{"SERVFAIL at include", with(record("v=spf1 include:y.test +all"), "y.test", "!servfail"), Temperror, "SERVFAIL", 2},
		{"SERVFAIL at redirect", with(record("v=spf1 redirect=y.test"), "y.test", "!servfail"), Temperror, "SERVFAIL", 2},
		{"SERVFAIL at ptr makes no name", with(record("v=spf1 ptr -all"), "1.2.0.192.in-addr.arpa", "!servfail"), Fail, "", 2},
		{"SERVFAIL at one name of two", map[string][]string{"x.test": {txt("v=spf1 ptr:x.test -all"), "A 192.0.2.1"}, "y.test": {"!servfail"}, "1.2.0.192.in-addr.arpa": {"PTR y.test", "PTR x.test"}}, Pass, "", 4},
		{"a name that only ends so", map[string][]string{"x.test": {txt("v=spf1 ptr -all")}, "badx.test": {"A 192.0.2.1"}, "1.2.0.192.in-addr.arpa": {"PTR badx.test"}}, Fail, "", 3},
		{"a name that the client's address does not have", map[string][]string{"x.test": {txt("v=spf1 ptr -all"), "A 192.0.2.9"}, "1.2.0.192.in-addr.arpa": {"PTR x.test"}}, Fail, "", 3},
		{"a null MX", with(record(""), "x.test", txt("v=spf1 mx -all"), "MX 0 ."), Fail, "", 2},
		{"no domain", map[string][]string{}, None, "", 1},
		{"no policy among texts", with(record(""), "x.test", txt("v=spf10 +all"), txt("v=spf2.0/pra +all"), txt("")), None, "", 1},
		{"an address of the wrong family", with(record("v=spf1 a -all"), "x.test", txt("v=spf1 a/0 -all"), "AAAA ::ffff:198.51.100.1"), Fail, "", 2},
		{"%{p} counts as a term once", with(with(record(""), "x.test", txt("v=spf1 "+strings.Repeat("exists:%{p}%{p}.y.test ", 9)+"-all"), "A 192.0.2.1"), "unknownunknown.y.test", "TXT x"), Permerror, "more than 2 terms", 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dns := resolvetest.New(t, tt.zone)
			v := Check(t.Context(), dns, mail("u@x.test"))
			if v.Result != tt.want || !strings.Contains(v.Problem, tt.problem) {
				t.Errorf("it is %+v, want %s with %q", v, tt.want, tt.problem)
			}
			if n := len(dns.Asked()); n > tt.most {
				t.Errorf("%d questions, want at most %d: %v", n, tt.most, dns.Asked())
			}
		})
	}
}

// TestIdentities: which domain is checked, and who asks for what.
func TestIdentities(t *testing.T) {
	dns := resolvetest.New(t, map[string][]string{
		"mail.example.com": {txt("v=spf1 exists:%{l}.%{o}.is.test -all")}, "postmaster.mail.example.com.is.test": {"A 127.0.0.2"},
		"x.test": {txt("v=spf1 -all")}, "one": {txt("v=spf1 +all")}, "xn--bcher-kva.test": {txt("v=spf1 ip4:192.0.2.1 -all")},
	})
	for _, tt := range []struct {
		identity             Identity
		helo, sender, domain string
		want                 Result
	}{
		{Mail, "mail.example.com", "u@X.test", "x.test", Fail},
		{Mail, "mail.example.com", "u@x.test.", "x.test", Fail},
		{Mail, "mail.example.com", "", "mail.example.com", Pass}, // postmaster@HELO
		{Helo, "mail.example.com", "u@x.test", "mail.example.com", Pass},
		{Helo, "mail.example.com.", "", "mail.example.com", Pass},
		{Helo, "x.test", "", "x.test", Fail},
		{Helo, "[192.0.2.1]", "", "", None},
		{Helo, "[IPv6:2001:db8::1.2]", "", "", None},
		{Helo, "", "", "", None},
		{Helo, "one", "", "", None},
		{Helo, "no one.test", "", "no one.test", None},
		{Helo, strings.Repeat("a", 64) + ".test", "", "", None},
		{Mail, "x.test", "u@one", "", None},
		{Mail, "x.test", `"u@mail.example.com"@x.test`, "x.test", Fail},
		{Mail, "x.test", "u@xn--bcher-kva.test", "xn--bcher-kva.test", Pass},
		{Mail, "x.test", "u@b\u00fccher.test", "", None},
		{Mail, "x.test", "u", "", None},
	} {
		q := mail(tt.sender)
		q.Identity, q.Helo = tt.identity, tt.helo
		if v := Check(t.Context(), dns, q); v.Result != tt.want || v.Domain != tt.domain {
			t.Errorf("%s %q %q: it is %+v, want %s of %q", tt.identity, tt.helo, tt.sender, v, tt.want, tt.domain)
		}
	}
	q := mail("u@x.test")
	q.IP = netip.Addr{}
	if v := Check(t.Context(), dns, q); v.Result != None {
		t.Errorf("without an address it is %+v", v)
	}
}

// TestExplanations: what a domain says about a fail is used only if it is one short ASCII text.
func TestExplanations(t *testing.T) {
	dns := resolvetest.New(t, map[string][]string{})
	for i, tt := range []struct {
		exp  []string // of e.test
		want string
	}{
		{[]string{txt("no")}, "no"},
		{[]string{txt("%{s} %{c} %{r} %{t} %{p} %{h}%%%_%-")}, "joe@x.test 192.0.2.1 mx.example.org 1800000000 unknown mail.example.com% %20"},
		{[]string{txt("one"), txt("two")}, ""},
		{nil, ""},
		{[]string{"!servfail"}, ""},
		{[]string{"!silent"}, ""},
		{[]string{txt("%{x}")}, ""},
		{[]string{txt("100%")}, ""},
		{[]string{txt(`\195\169`)}, ""},
		{[]string{txt(`a\010b`)}, ""},
		{[]string{txt(strings.Repeat("x", MaxExplanation))}, strings.Repeat("x", MaxExplanation)},
		{[]string{txt(strings.Repeat("x", MaxExplanation+1))}, ""},
		{[]string{txt(strings.Repeat("x", 30_000))}, ""},
		{[]string{txt(strings.Repeat("%{s}", 7_000))}, ""},
	} {
		dns.Set("x.test", txt("v=spf1 -all exp=e.test"))
		dns.Set("e.test", tt.exp...)
		if v := Check(t.Context(), dns, mail("joe@x.test")); v.Result != Fail || v.Explanation != tt.want {
			t.Errorf("%d: it is %.600v, want %q", i, v, tt.want)
		}
	}
	dns.Set("e.test", txt("%{l}"))
	if v := Check(t.Context(), dns, mail("j\u00f6e@x.test")); v.Result != Fail || v.Explanation != "" {
		t.Errorf("with a local part in UTF-8 it is %+v", v)
	}
	dns.Set("x.test", txt("v=spf1 +all exp=e.test"))
	if v := Check(t.Context(), dns, mail("joe@x.test")); v.Result != Pass || v.Explanation != "" || slices.Contains(dns.Asked()[len(dns.Asked())-1:], "TXT e.test") {
		t.Errorf("a pass is explained: %+v", v)
	}
}

// never is a DNS that has not answered when the time is up.
type never struct{ first resolve.Resolver }

func (n never) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if name == "x.test" && t == resolve.TypeTXT {
		return n.first.Lookup(ctx, name, t)
	}
	<-ctx.Done()
	return resolve.Answer{}, &resolve.Error{Kind: resolve.Temporary, Name: name, Type: t, Err: errors.New("no answer")}
}

// TestTime: what takes longer than a check may is temperror, also where the DNS that fails would not matter.
func TestTime(t *testing.T) {
	for _, record := range []string{"v=spf1 a:y.test +all", "v=spf1 ptr +all", "v=spf1 ptr", "v=spf1 include:y.test +all", "v=spf1 redirect=y.test", "v=spf1 exists:%{p}.test +all"} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			v := Check(t.Context(), never{resolvetest.New(t, map[string][]string{"x.test": {txt(record)}})}, mail("u@x.test"))
			if v.Result != Temperror || !strings.Contains(v.Problem, "in time") {
				t.Errorf("%s: it is %+v", record, v)
			}
			if took := time.Since(begin); took > Patience+time.Second {
				t.Errorf("%s: it took %v", record, took)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v := Check(ctx, resolvetest.New(t, map[string][]string{"x.test": {txt("v=spf1 +all")}}), mail("u@x.test")); v.Result != Temperror {
		t.Errorf("without time it is %+v", v)
	}
}
