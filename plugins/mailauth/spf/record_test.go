package spf

import (
	"regexp"
	"strings"
	"testing"
)

// The grammar of section 12, but for what numbers and addresses may be.
const (
	expandRule = `%(?:\{[slodipvhSLODIPVH](?:0*[1-9][0-9]*)?[rR]?[.\-+,/_=]*\}|%|_|-)`
	stringRule = `(?:` + expandRule + `|[!-$&-~])*`
	topRule    = `(?:[0-9A-Za-z]*[A-Za-z][0-9A-Za-z]*|[0-9A-Za-z]+-[0-9A-Za-z-]*[0-9A-Za-z])`
	domainRule = stringRule + `(?:\.` + topRule + `\.?|` + expandRule + `)`
	lengthRule = `(?:/[0-9]+)?(?://[0-9]+)?`
	termRule   = `(?:[+?~-]?(?i:all|include:` + domainRule + `|a(?::` + domainRule + `)?` + lengthRule + `|mx(?::` + domainRule + `)?` + lengthRule +
		`|ptr(?::` + domainRule + `)?|ip[46]:[0-9A-Fa-f.:]+(?:/[0-9]+)?|exists:` + domainRule + `)|(?i:redirect|exp)=` + domainRule +
		`|[A-Za-z][A-Za-z0-9._-]*=` + stringRule + `)`
)

var grammar = regexp.MustCompile(`^(?i:v=spf1)(?: +` + termRule + `)* *$`)

// number finds what the grammar leaves to the parser: prefixes, addresses, and what stands twice or is a broken known modifier.
var number = regexp.MustCompile(`(?i)/[0-9]|ip[46]:|redirect=|exp=`)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ record, want string }{ // "" is right
		{"v=spf1", ""}, {"V=SPF1  -all  ", ""}, {"v=spf1 +a -mx ~ptr ?all", ""}, {"v=spf1 A:%{D}/24//64 MX//0 IP4:192.0.2.0/24 ip6:2001:db8::/32", ""},
		{"v=spf1 a:x.test/0 a:x-y.test//128 a/32//128", ""}, {"v=spf1 x=%{s}/a:b redirect=x.test exp=%{d}", ""}, {"v=spf1 ip4:192.0.2.1/0 ip6:::/0", ""},
		{"v=spf1 all=x", ""}, {"v=spf1 a:x.test.", ""}, {"v=spf1 a:x.x--1", ""}, {"v=spf1 exists:%{i}", ""}, {"v=spf1 exists:a%%", ""},
		{"v=spf1 -", "is no mechanism"}, {"v=spf1 --all", "is no mechanism"}, {"v=spf1 allx", "is no mechanism"}, {"v=spf1 spf:x.test", "is no mechanism"},
		{"v=spf1 all:x.test", "is not how all is written"}, {"v=spf1 all/24", "is not how all is written"}, {"v=spf1 include", "is not how include is written"},
		{"v=spf1 exists/24", "is not how exists is written"}, {"v=spf1 ptr/24", "is not how ptr is written"}, {"v=spf1 ip4", "is not how ip4 is written"},
		{"v=spf1 a:", "the domain is missing"}, {"v=spf1 include:", "the domain is missing"}, {"v=spf1 redirect=", "the domain is missing"},
		{"v=spf1 a/", "is not how a is written"}, {"v=spf1 a//", "is not how a is written"}, {"v=spf1 a/24/30", "is not how a is written"}, {"v=spf1 a/24/64", "from 0 to 32"}, {"v=spf1 a///64", "is not how a is written"},
		{"v=spf1 a/33", "from 0 to 32"}, {"v=spf1 a//129", "from 0 to 128"}, {"v=spf1 a/024", "from 0 to 32"}, {"v=spf1 mx/99999999999999999999", "from 0 to 32"}, {"v=spf1 mx//00", "from 0 to 128"},
		{"v=spf1 ip4:192.0.2", "no IPv4 address"}, {"v=spf1 ip4:192.0.2.256", "no IPv4 address"}, {"v=spf1 ip4:192.0.2.01", "no IPv4 address"}, {"v=spf1 ip4:2001:db8::1", "no IPv4 address"},
		{"v=spf1 ip4:192.0.2.1/", "from 0 to 32"}, {"v=spf1 ip4:192.0.2.1/33", "from 0 to 32"}, {"v=spf1 ip4:192.0.2.1/+1", "from 0 to 32"}, {"v=spf1 ip4:192.0.2.1/1/1", "from 0 to 32"},
		{"v=spf1 ip6:192.0.2.1", "no IPv6 address"}, {"v=spf1 ip6:fe80::1%25eth0", "no IPv6 address"}, {"v=spf1 ip6:::1/129", "from 0 to 128"}, {"v=spf1 ip6:", "no IPv6 address"},
		{"v=spf1 a:x.123", "top-level"}, {"v=spf1 a:x.-a", "top-level"}, {"v=spf1 a:x.a-", "top-level"}, {"v=spf1 a:test", "top-level"}, {"v=spf1 a:x..", "top-level"}, {"v=spf1 a:%{d}test", "top-level"},
		{"v=spf1 1x=y", "is no name"}, {"v=spf1 =y", "is no name"}, {"v=spf1 -x=y", "is no name"}, {"v=spf1 x=%y", "a % is followed by"}, {"v=spf1 x=%{c}", "no letter"},
		{"v=spf1 exp=x.test exp=x.test", "exp stands twice"}, {"v=spf1 redirect=x.test REDIRECT=x.test", "redirect stands twice"},
		{"v=spf1 a\tmx", "is no mechanism"}, {"v=spf1 -all\r\n", "is no mechanism"}, {"v=spf1 a:x.test\x00", "may not stand in it"}, {"v=spf1 \xc3\xa9", "is no mechanism"},
	} {
		r, err := parse(tt.record)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%q: %v", tt.record, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%q: %v, want an error with %q", tt.record, err, tt.want)
		case err != nil && strings.Count(err.Error(), "permerror") != 1:
			t.Errorf("%q: %v", tt.record, err)
		case (r == nil) == (err == nil):
			t.Errorf("%q: %v and %v", tt.record, r, err)
		}
	}
	for text, want := range map[string]bool{"v=spf1": true, "v=spf1 x": true, "V=sPf1 ": true, "v=spf10": false, "v=spf1\t": false, " v=spf1": false, "v=spf": false, "": false} {
		if isRecord(text) != want {
			t.Errorf("%q is a record: %v, want %v", text, !want, want)
		}
	}
	if r, err := parse("v=spf1 all redirect=x.test"); err != nil || r.redirect != nil {
		t.Errorf("a redirect beside all counts: %v, %v", r, err)
	}
}

// FuzzParse holds the parser against the grammar.
func FuzzParse(f *testing.F) {
	f.Add(" a:%{d2}/24//64 mx ~all exp=e.%{d}")
	f.Fuzz(func(t *testing.T, terms string) {
		if strings.ContainsAny(terms, "\n") {
			return // which ends a line of the pattern, and is no part of any record
		}
		text := "v=spf1 " + terms
		r, err := parse(text)
		fits := grammar.MatchString(text)
		switch {
		case err == nil && !fits:
			t.Errorf("%q is parsed and does not fit the grammar", text)
		case err != nil && fits && !number.MatchString(text):
			t.Errorf("%q fits the grammar: %v", text, err)
		case err == nil && len(r.directives) > len(strings.Fields(text)):
			t.Errorf("%q has %d directives", text, len(r.directives))
		}
	})
}
