package dnszone_test

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stagepost/stagepost/core/resolve/dnszone"
)

func TestParseNamesTheMistake(t *testing.T) {
	for text, want := range map[string]string{
		"MX ten a.test":      "bad",
		"BOGUS x":            "bogus",
		"":                   "expecting",
		"A 127.0.0.1\nA ::1": "one line",
		"!slow":              "!servfail, !refused",
		"!silent BOGUS":      "record type",
		"!secure A":          "behaviours are",
	} {
		_, err := dnszone.Parse(map[string][]string{"x.test": {text}})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), want) || !strings.Contains(err.Error(), "x.test") {
			t.Errorf("%q: got %v, want an error with the name and %q", text, err, want)
		}
	}
	if _, err := dnszone.Parse(map[string][]string{"a..b": nil}); err == nil {
		t.Error("a name with an empty label is taken")
	}
}

func TestServe(t *testing.T) {
	zone, err := dnszone.Parse(map[string][]string{
		"a.b.test": {"60 A 192.0.2.1", "!refused TXT"}, "c.test": {"CNAME a.b.test"}, "gone.test": {"CNAME nowhere.test"},
		"s.test": {"!secure", "CNAME a.b.test"}, "long.test": {"TXT" + strings.Repeat(` "`+strings.Repeat("x", 200)+`"`, 10)},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := dnszone.Serve("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		network, name string
		qtype         uint16
		rcode, n      int
		cut           bool
	}{
		{"udp", "A.B.test.", dns.TypeA, dns.RcodeSuccess, 1, false},
		{"tcp", "c.test.", dns.TypeA, dns.RcodeSuccess, 2, false},
		{"udp", "b.test.", dns.TypeA, dns.RcodeSuccess, 0, false},
		{"udp", "gone.test.", dns.TypeA, dns.RcodeNameError, 1, false},
		{"udp", "a.b.test.", dns.TypeTXT, dns.RcodeRefused, 0, false},
		{"udp", "s.test.", dns.TypeA, dns.RcodeSuccess, 2, false},
		{"udp", "long.test.", dns.TypeTXT, dns.RcodeSuccess, 0, true},
		{"tcp", "long.test.", dns.TypeTXT, dns.RcodeSuccess, 1, false},
	} {
		m, _, err := (&dns.Client{Net: c.network}).Exchange(new(dns.Msg).SetQuestion(c.name, c.qtype), s.Addr())
		if err != nil || m.Rcode != c.rcode || len(m.Answer) != c.n || m.Truncated != c.cut || m.AuthenticatedData {
			t.Errorf("%s %s: got %v, %v, want rcode %d, %d records, cut %v", c.network, c.name, m, err, c.rcode, c.n, c.cut)
		}
	}
	if n := s.Queries(); n != 8 {
		t.Errorf("counted %d questions, want 8", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("the port is open after Close")
	}
}
