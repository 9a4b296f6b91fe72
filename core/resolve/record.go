package resolve

import (
	"encoding/hex"
	"net/netip"

	"github.com/miekg/dns"
)

// Record is the data of one record: Addr, MX, Text, Name, SOA, SRV, TLSA or CAA. Host names in it are lower case, without the
// final dot; the root is ".". A name with bytes that no host name has keeps them as \DDD.
type Record interface {
	// Plain is the record as plugins see it: a string, or a map of strings to strings, ints and byte slices.
	Plain() any
}

type (
	// Addr is an A or AAAA record. An IPv4 address mapped into IPv6 is given as IPv4, so that checks of address ranges hold.
	Addr struct{ netip.Addr }

	// Text is a TXT record: its strings joined, as SPF, DKIM and DMARC want them; arbitrary bytes.
	Text string

	// Name is the target of a PTR, CNAME or NS record.
	Name string

	// MX is a mail exchanger; the host "." says that no mail is accepted (RFC 7505).
	MX struct {
		Preference uint16
		Host       string
	}

	// SOA is the start of authority of a zone; times in seconds.
	SOA struct {
		NS, Mailbox                             string
		Serial, Refresh, Retry, Expire, Minimum uint32
	}

	// SRV is the place of a service (RFC 2782).
	SRV struct {
		Priority, Weight, Port uint16
		Target                 string
	}

	// TLSA is a certificate association as it stands in the DNS (RFC 6698), not judged.
	TLSA struct {
		Usage, Selector, Matching uint8
		Data                      []byte
	}

	// CAA names who may issue certificates (RFC 8659).
	CAA struct {
		Flag       uint8
		Tag, Value string
	}
)

func (r Addr) Plain() any { return r.String() }
func (r Text) Plain() any { return string(r) }
func (r Name) Plain() any { return string(r) }
func (r MX) Plain() any {
	return map[string]any{"preference": int(r.Preference), "host": r.Host}
}
func (r SOA) Plain() any {
	return map[string]any{"ns": r.NS, "mailbox": r.Mailbox, "serial": int(r.Serial), "refresh": int(r.Refresh),
		"retry": int(r.Retry), "expire": int(r.Expire), "minimum": int(r.Minimum)}
}
func (r SRV) Plain() any {
	return map[string]any{"priority": int(r.Priority), "weight": int(r.Weight), "port": int(r.Port), "target": r.Target}
}
func (r TLSA) Plain() any {
	return map[string]any{"usage": int(r.Usage), "selector": int(r.Selector), "matching": int(r.Matching), "data": r.Data}
}
func (r CAA) Plain() any {
	return map[string]any{"flag": int(r.Flag), "tag": r.Tag, "value": r.Value}
}

// record converts what the library parsed; false when a part of it is missing.
func record(rr dns.RR) (Record, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A)
		return Addr{a.Unmap()}, ok
	case *dns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA)
		return Addr{a.Unmap()}, ok
	case *dns.MX:
		return MX{rr.Preference, hostText(rr.Mx)}, rr.Mx != ""
	case *dns.TXT:
		var joined []byte
		for _, s := range rr.Txt {
			joined = appendUnescaped(joined, s)
		}
		return Text(joined), true
	case *dns.PTR:
		return Name(hostText(rr.Ptr)), rr.Ptr != ""
	case *dns.CNAME:
		return Name(hostText(rr.Target)), rr.Target != ""
	case *dns.NS:
		return Name(hostText(rr.Ns)), rr.Ns != ""
	case *dns.SOA:
		return SOA{hostText(rr.Ns), hostText(rr.Mbox), rr.Serial, rr.Refresh, rr.Retry, rr.Expire, rr.Minttl}, rr.Ns != "" && rr.Mbox != ""
	case *dns.SRV:
		return SRV{rr.Priority, rr.Weight, rr.Port, hostText(rr.Target)}, rr.Target != ""
	case *dns.TLSA:
		data, err := hex.DecodeString(rr.Certificate)
		return TLSA{rr.Usage, rr.Selector, rr.MatchingType, data}, err == nil && len(data) > 0
	case *dns.CAA:
		return CAA{rr.Flag, string(appendUnescaped(nil, rr.Tag)), rr.Value}, rr.Tag != "" // the library gives Value as it came
	}
	return nil, false
}
