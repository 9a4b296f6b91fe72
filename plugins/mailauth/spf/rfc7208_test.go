package spf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v3"

	"github.com/stagepost/stagepost/core/resolve"
)

// scenario is one document of the test suite of openspf.org.
type scenario struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, Mailfrom string
		Result               words
		Explanation          *string
	}
	Zonedata map[string][]yaml.Node
}

// words is one word or a list of them.
type words []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = words{n.Value}
		return nil
	}
	return n.Decode((*[]string)(w))
}

// TestRFC7208 is the suite. It asks through the code that judges packets of the network.
func TestRFC7208(t *testing.T) {
	f, err := os.Open("testdata/rfc7208-tests.yml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for d := yaml.NewDecoder(f); ; {
		var s scenario
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		zone := readZone(t, s.Zonedata)
		t.Run(s.Description, func(t *testing.T) {
			for name, c := range s.Tests {
				n++
				t.Run(name, func(t *testing.T) {
					v := Check(t.Context(), resolve.Offline(zone.answer), Query{Identity: Mail, IP: netip.MustParseAddr(c.Host), Helo: c.Helo, Sender: c.Mailfrom, Time: time.Unix(1_800_000_000, 0)})
					if !slices.Contains(c.Result, string(v.Result)) {
						t.Errorf("it is %+v, want %v", v, c.Result)
					}
					if c.Explanation != nil && v.Explanation != strings.TrimSuffix(*c.Explanation, "DEFAULT") {
						t.Errorf("the explanation is %q, want %q", v.Explanation, *c.Explanation)
					}
				})
			}
		})
	}
	if n != 203 {
		t.Errorf("the suite has %d cases, want 203", n)
	}
}

// suiteZone is the DNS of a scenario: by name in lower case, the records, and whether the DNS is silent where there are none.
type suiteZone map[string]*suiteName

type suiteName struct {
	records []dns.RR
	silent  bool
}

func readZone(t *testing.T, data map[string][]yaml.Node) suiteZone {
	t.Helper()
	z := suiteZone{}
	for name, entries := range data {
		at := z[strings.ToLower(name)]
		if at == nil {
			at = &suiteName{}
			z[strings.ToLower(name)] = at
		}
		own := false // it has TXT records beside those of type SPF, which else stand for them
		for _, e := range entries {
			own = own || e.Kind == yaml.MappingNode && e.Content[0].Value == "TXT"
		}
		for _, e := range entries {
			if e.Kind == yaml.ScalarNode {
				if e.Value != "TIMEOUT" {
					t.Fatalf("%s: %q is not known", name, e.Value)
				}
				at.silent = true
				continue
			}
			kind := e.Content[0].Value
			var values words
			if err := e.Content[1].Decode(&values); err != nil {
				t.Fatal(err)
			}
			if kind == "SPF" {
				if own {
					continue
				}
				kind = "TXT"
			}
			if kind == "TXT" && slices.Equal(values, words{"NONE"}) {
				continue
			}
			at.records = append(at.records, suiteRecord(t, name, kind, values))
		}
	}
	return z
}

func suiteRecord(t *testing.T, name, kind string, values []string) dns.RR {
	t.Helper()
	h := dns.RR_Header{Name: suiteEscape(name) + ".", Rrtype: dns.StringToType[kind], Class: dns.ClassINET, Ttl: 60}
	host := func(s string) string { return strings.TrimSuffix(suiteEscape(s), ".") + "." }
	switch kind {
	case "A":
		return &dns.A{Hdr: h, A: netip.MustParseAddr(values[0]).AsSlice()}
	case "AAAA":
		return &dns.AAAA{Hdr: h, AAAA: netip.MustParseAddr(values[0]).AsSlice()}
	case "PTR":
		return &dns.PTR{Hdr: h, Ptr: host(values[0])}
	case "CNAME":
		return &dns.CNAME{Hdr: h, Target: host(values[0])}
	case "MX":
		n, err := strconv.Atoi(values[0])
		if err != nil {
			t.Fatal(err)
		}
		return &dns.MX{Hdr: h, Preference: uint16(n), Mx: host(values[1])}
	case "TXT":
		txt := &dns.TXT{Hdr: h}
		for _, v := range values {
			for ; len(v) > 255; v = v[255:] {
				txt.Txt = append(txt.Txt, suiteEscape(v[:255]))
			}
			txt.Txt = append(txt.Txt, suiteEscape(v))
		}
		if len(txt.Txt) == 0 { // a record without strings cannot be sent
			txt.Txt = []string{""}
		}
		return txt
	}
	t.Fatalf("%s: the type %q is not known", name, kind)
	return nil
}

// suiteEscape writes text as the library wants it.
func suiteEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c <= '~' && !strings.ContainsRune(`\";()@'`, rune(c)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return b.String()
}

// answer is what a resolver says.
func (z suiteZone) answer(query *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(query)
	owner := strings.TrimSuffix(strings.ToLower(query.Question[0].Name), ".")
	for seen := map[string]bool{}; !seen[owner]; {
		seen[owner] = true
		at := z[owner]
		if at == nil {
			m.Rcode = dns.RcodeNameError
			return m
		}
		next := ""
		for _, rr := range at.records {
			switch alias, is := rr.(*dns.CNAME); {
			case rr.Header().Rrtype == query.Question[0].Qtype:
				m.Answer = append(m.Answer, rr)
			case is:
				m.Answer, next = append(m.Answer, rr), strings.TrimSuffix(strings.ToLower(alias.Target), ".")
			}
		}
		if next != "" {
			owner = next
			continue
		}
		if len(m.Answer) == 0 && at.silent {
			return nil
		}
		return m
	}
	return m
}
