// Package dnszone serves a made-up DNS: for tests, and for the pretend Internet of the demo.
//
// A zone is data: names, and the records of each in the form of zone files without the owner. What is not in it does not exist.
// It stands for a recursive resolver and all that is behind one, so it has no delegations and no apexes. A "record" that starts
// with an exclamation mark is a behaviour of the name, for one type or for all:
//
//	"good.example":   {"MX 10 mx.good.example", "TXT \"v=spf1 mx -all\""},
//	"mx.good.example": {"A 127.0.0.1", "60 AAAA ::1"}, // a TTL may stand first; default 3600
//	"down.example":   {"!servfail"},                   // also !refused; !silent never answers
//	"half.example":   {"A 127.0.0.1", "!silent AAAA"},
//	"signed.example": {"!secure", "TLSA 3 1 1 00ff"},  // answers say that DNSSEC was validated
package dnszone

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Zone is a made-up DNS. It never changes, so many may read it at once.
type Zone struct {
	records map[string][]dns.RR
	exists  map[string]bool // every name with something at or below it
	faults  map[question]fault
	secure  map[string]bool
}

type question struct {
	name  string // absolute, lower case
	qtype uint16 // dns.TypeANY: all types
}

type fault int

const (
	servfail fault = iota + 1
	refused
	silent
)

var faults = map[string]fault{"!servfail": servfail, "!refused": refused, "!silent": silent}

// Parse reads a zone: names, and the records and behaviours of each.
func Parse(names map[string][]string) (*Zone, error) {
	z := &Zone{
		records: make(map[string][]dns.RR),
		exists:  map[string]bool{".": true},
		faults:  make(map[question]fault),
		secure:  make(map[string]bool),
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		owner := strings.ToLower(dns.Fqdn(name))
		if _, ok := dns.IsDomainName(owner); !ok {
			return nil, fmt.Errorf("zone: %q is not a domain name", name)
		}
		for at, end := 0, false; !end; at, end = dns.NextLabel(owner, at) {
			z.exists[owner[at:]] = true
		}
		for _, text := range names[name] {
			if err := z.add(owner, text); err != nil {
				return nil, fmt.Errorf("zone: %s: %q: %w", name, text, err)
			}
		}
	}
	return z, nil
}

func (z *Zone) add(owner, text string) error {
	if strings.HasPrefix(text, "!") {
		return z.behave(owner, strings.Fields(text))
	}
	if strings.ContainsAny(text, "\r\n") {
		return fmt.Errorf("a record is one line")
	}
	rr, err := dns.NewRR(owner + " " + text)
	if err != nil {
		return err
	}
	if rr == nil {
		return fmt.Errorf("there is no record in it")
	}
	z.records[owner] = append(z.records[owner], rr)
	return nil
}

func (z *Zone) behave(owner string, words []string) error {
	qtype := dns.TypeANY
	if len(words) > 1 {
		var ok bool
		if qtype, ok = dns.StringToType[strings.ToUpper(words[1])]; !ok || len(words) > 2 {
			return fmt.Errorf("one record type may follow a behaviour")
		}
	}
	if words[0] == "!secure" && len(words) == 1 {
		z.secure[owner] = true
		return nil
	}
	f, ok := faults[words[0]]
	if !ok {
		return fmt.Errorf("behaviours are !servfail, !refused, !silent and !secure")
	}
	z.faults[question{owner, qtype}] = f
	return nil
}

// Answer returns the reply to a query, or nil for silence. It is as long as it is: who sends it cuts it to the transport.
func (z *Zone) Answer(query *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(query)
	m.RecursionAvailable = true
	if len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	qtype := query.Question[0].Qtype
	owner := strings.ToLower(query.Question[0].Name)
	m.AuthenticatedData = z.secure[owner]

	// Aliases are followed until one comes back, so a loop is served as it is written.
	for seen := map[string]bool{}; !seen[owner]; {
		seen[owner] = true
		switch z.fault(owner, qtype) {
		case silent:
			return nil
		case servfail:
			m.Answer, m.Rcode = nil, dns.RcodeServerFailure
			return m
		case refused:
			m.Answer, m.Rcode = nil, dns.RcodeRefused
			return m
		}
		m.AuthenticatedData = m.AuthenticatedData && z.secure[owner]
		next, found := "", false
		for _, rr := range z.records[owner] {
			alias, isAlias := rr.(*dns.CNAME)
			if rr.Header().Rrtype == qtype {
				m.Answer, found = append(m.Answer, rr), true
			} else if isAlias {
				m.Answer, next = append(m.Answer, rr), strings.ToLower(alias.Target)
			}
		}
		if found {
			return m
		}
		if next == "" {
			if !z.exists[owner] {
				m.Rcode = dns.RcodeNameError
			}
			m.Ns = []dns.RR{&dns.SOA{
				Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
				Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 60,
			}}
			return m
		}
		owner = next
	}
	return m
}

func (z *Zone) fault(owner string, qtype uint16) fault {
	if f, ok := z.faults[question{owner, qtype}]; ok {
		return f
	}
	return z.faults[question{owner, dns.TypeANY}]
}
