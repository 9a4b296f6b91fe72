package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseRecord(t *testing.T) {
	for _, c := range []struct {
		texts []string
		want  string // the id, or part of an error
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1 ;\tid=1 ; "}, "1"},
		{[]string{"v=STSv1; other=x/y; id=2; id=3"}, "2"},
		{[]string{"v=spf1 -all", "v=STSv1; id=4"}, "4"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=2"}, "several"},
		{nil, "no MTA-STS record"},
		{[]string{"v=STSv11; id=1"}, "no MTA-STS record"},
		{[]string{"v=stsv1; id=1"}, "no MTA-STS record"},
		{[]string{"v=STSv1"}, "no MTA-STS record"},
		{[]string{"v=STSv1;"}, "no id"},
		{[]string{"v=STSv1;; id=1"}, "no name=value"},
		{[]string{"v=STSv1; id"}, "no name=value"},
		{[]string{"v=STSv1; id="}, "no name=value"},
		{[]string{"v=STSv1; id=a=b"}, "no name=value"},
		{[]string{"v=STSv1; id=a b"}, "no name=value"},
		{[]string{"v=STSv1; id=a-b"}, "letters and digits"},
		{[]string{"v=STSv1; id=" + strings.Repeat("1", 33)}, "letters and digits"},
		{[]string{"v=STSv1; id=1\x00"}, "no name=value"},
	} {
		id, err := ParseRecord(c.texts)
		if err != nil && !strings.Contains(err.Error(), c.want) || err == nil && id != c.want {
			t.Errorf("%q: %q, %v; want %q", c.texts, id, err, c.want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	const all = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\n"
	for _, c := range []struct{ text, want string }{
		{all, "enforce [mail.example.com *.example.net] 168h0m0s"},
		{strings.ReplaceAll(all, "\n", "\r\n"), "enforce [mail.example.com *.example.net] 168h0m0s"},
		{"version:STSv1\nmode:testing\nmx:A.Example \nmax_age:1", "testing [a.example] 1s"},
		{"mode: none\nmax_age: 0\nversion: STSv1", "none [] 0s"},
		{"mode: none\nmode: enforce\nmax_age: 5\nmax_age: 6\nversion: STSv1\nfuture_key: caf\u00e9: x", "none [] 5s"},
		{strings.Replace(all, "604800", "9999999999", 1), "enforce [mail.example.com *.example.net] 8766h0m0s"},
		{"", "version"},
		{strings.Replace(all, "STSv1", "STSv2", 1), "version"},
		{strings.Replace(all, "enforce", "Enforce", 1), "mode"},
		{strings.Replace(all, "604800", "-1", 1), "max_age"},
		{strings.Replace(all, "604800", "+1", 1), "max_age"},
		{strings.Replace(all, "604800", "99999999999", 1), "max_age"},
		{strings.Replace(all, "max_age: 604800", "", 1), "max_age"},
		{"version: STSv1\nmode: testing\nmax_age: 1", "names no mx"},
		{strings.Replace(all, "*.example.net", "*.*.example.net", 1), "no name of a host"},
		{strings.Replace(all, "*.example.net", "m*.example.net", 1), "no name of a host"},
		{strings.Replace(all, "*.example.net", "*", 1), "no name of a host"},
		{strings.Replace(all, "*.example.net", "[192.0.2.1]", 1), "no name of a host"},
		{strings.Replace(all, "*.example.net", "b\u00fccher.example", 1), "no name of a host"},
		{"<html>\n" + all, "no name: value"},
		{"a\x00b: x\n" + all, "no name: value"},
		{"x: a\x01b\n" + all, "no name: value"},
	} {
		p, err := ParsePolicy(c.text)
		if err != nil && !strings.Contains(err.Error(), c.want) || err == nil && fmt.Sprint(p.Mode, " ", p.MX, " ", p.MaxAge) != c.want {
			t.Errorf("%q: %v, %v; want %q", c.text, p, err, c.want)
		}
	}
}

func TestMatches(t *testing.T) {
	p := &Policy{MX: []string{"mail.example.com", "*.example.net"}}
	for host, want := range map[string]bool{
		"mail.example.com": true, "example.com": false, "x.mail.example.com": false, "mail.example.com.evil.test": false,
		"a.example.net": true, "example.net": false, "a.b.example.net": false, "aexample.net": false, ".example.net": false, "": false,
	} {
		if p.Matches(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		if p.MaxAge < 0 || p.MaxAge > 31557600*time.Second || !slices.Contains([]string{Enforce, Testing, None}, p.Mode) || p.Mode != None && len(p.MX) == 0 {
			t.Errorf("%q gives %+v", text, p)
		}
		again := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", p.Mode, int(p.MaxAge/time.Second))
		for _, mx := range p.MX {
			if p.Matches(strings.Replace(mx, "*", "a.b", 1)) && strings.HasPrefix(mx, "*") && !slices.Contains(p.MX, "*.b."+strings.TrimPrefix(mx, "*.")) && !slices.Contains(p.MX, "a.b."+strings.TrimPrefix(mx, "*.")) {
				t.Errorf("%q: a wildcard of %q stands for two labels", text, mx)
			}
			again += "mx: " + mx + "\n"
		}
		if q, err := ParsePolicy(again); err != nil || q.Mode != p.Mode || q.MaxAge != p.MaxAge || !slices.Equal(q.MX, p.MX) {
			t.Errorf("%q, read again: %+v, %v", text, q, err)
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;", "v=spf1 -all")
	f.Fuzz(func(t *testing.T, a, b string) {
		id, err := ParseRecord([]string{a, b})
		if err != nil {
			return
		}
		if again, err := ParseRecord([]string{"v=STSv1; id=" + id}); err != nil || again != id {
			t.Errorf("%q, %q: the id %q reads as %q, %v", a, b, id, again, err)
		}
		if _, err := ParseRecord([]string{a, b, "v=STSv1; id=1"}); err == nil || errors.Is(err, ErrNoRecord) {
			t.Errorf("%q, %q: a second record changes nothing", a, b)
		}
	})
}
