package resolve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	maxAliases = 8        // CNAMEs followed for one question
	maxRecords = 100      // records used of one answer, the most preferred ones of MX
	maxTexts   = 500      // the same for TXT, where leaving one out could change the meaning of the rest
	maxData    = 32 << 10 // bytes of RDATA used of one answer

	minTTL      = 5 * time.Second // also how long failures, and absences that name no time, are kept
	maxTTL      = time.Hour
	maxNegative = 5 * time.Minute

	udpSize = 1232 // fits one packet on every path (RFC 9715 section 3)
)

// errStray is a packet that is no reply to the question; on UDP it is as if it had not come.
var errStray = errors.New("the reply is to another question")

// question builds a query packet: recursion and the AD flag wanted (RFC 6840 section 5.7), EDNS0 with the size we take.
func question(id uint16, name string, t Type) ([]byte, error) {
	m := dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: id, RecursionDesired: true, AuthenticatedData: true},
		Question: []dns.Question{{Name: escaped(name), Qtype: uint16(t), Qclass: dns.ClassINET}},
	}
	m.SetEdns0(udpSize, false)
	return m.Pack()
}

// reply is what one packet says.
type reply struct {
	Answer
	truncated bool
	dangling  bool // the packet ends at a CNAME and says nothing of its target: Answer.Name has to be asked for
}

// Decode judges a reply packet to a question, all but its id, as Client does: it returns an Answer or a Temporary *Error. It is
// exported for other transports and for fakes.
func Decode(packet []byte, name string, t Type) (Answer, error) {
	host, ok := canonical(name)
	if !ok {
		return Answer{Name: name, Status: NoDomain}, nil
	}
	r, err := decode(packet, host, t)
	if err == nil && r.truncated {
		err = errors.New("the reply is cut")
	}
	if err != nil {
		return Answer{}, cannotTell(name, t, err)
	}
	return r.Answer, nil
}

// decode reads a packet that anybody may have made. The library has its own checks against loops and overruns; the recover is for
// a mistake in them, since this runs on goroutines of ours.
func decode(packet []byte, name string, t Type) (r reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = reply{}, fmt.Errorf("the reply cannot be parsed: %v", p)
		}
	}()
	shortest, ok := t.shortest()
	if !ok {
		return reply{}, fmt.Errorf("type %s cannot be asked for", t)
	}
	var m dns.Msg
	if err := m.Unpack(packet); err != nil {
		return reply{}, fmt.Errorf("the reply cannot be parsed: %w", err)
	}
	if !m.Response || m.Opcode != dns.OpcodeQuery {
		return reply{}, errStray
	}
	failed := m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	switch {
	case len(m.Question) == 0 && failed: // some servers refuse with a bare header
	case len(m.Question) != 1, hostText(m.Question[0].Name) != name, m.Question[0].Qtype != uint16(t), m.Question[0].Qclass != dns.ClassINET:
		return reply{}, errStray
	}
	if failed {
		return reply{}, fmt.Errorf("the server says %s", rcode(m.Rcode))
	}
	if m.Truncated {
		return reply{truncated: true}, nil
	}
	// The library takes a packet that ends early for one with fewer records.
	if len(m.Answer) != int(binary.BigEndian.Uint16(packet[6:])) || len(m.Ns) != int(binary.BigEndian.Uint16(packet[8:])) {
		return reply{}, errors.New("the reply ends early")
	}

	owner, rrs, ttl, err := follow(m.Answer, name, t)
	if err != nil {
		return reply{}, err
	}
	r.Name, r.Authenticated = owner, m.AuthenticatedData
	if len(rrs) == 0 {
		r.Status = NoData
		if m.Rcode == dns.RcodeNameError {
			r.Status = NoDomain
		}
		soa := negativeTTL(m.Ns)
		r.TTL = clamp(min(ttl, soa), maxNegative)
		r.dangling = r.Status == NoData && owner != name && soa == 0
		return r, nil
	}
	if m.Rcode == dns.RcodeNameError {
		return reply{}, errors.New("the server says NXDOMAIN and gives records")
	}
	for _, rr := range rrs {
		ttl = min(ttl, seconds(rr.Header().Ttl))
	}
	r.TTL = clamp(ttl, maxTTL)
	r.Records, err = records(rrs, t, shortest)
	return r, err
}

// follow finds the records of a type in an answer section: those of the name, or of what it is an alias of. It returns the owner
// of the records and the shortest TTL of the aliases. Records that the question does not lead to are not looked at.
func follow(section []dns.RR, name string, t Type) (owner string, found []dns.RR, ttl time.Duration, err error) {
	byOwner := make(map[string][]dns.RR)
	aliases := make(map[string]*dns.CNAME)
	for _, rr := range section {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		at := hostText(h.Name)
		if h.Rrtype == uint16(t) {
			byOwner[at] = append(byOwner[at], rr)
		}
		if alias, ok := rr.(*dns.CNAME); ok && aliases[at] == nil {
			aliases[at] = alias
		}
	}
	ttl = maxTTL
	owner = name
	for hops := 0; ; hops++ {
		if found = byOwner[owner]; len(found) > 0 || aliases[owner] == nil {
			return owner, found, ttl, nil
		}
		if hops == maxAliases {
			return "", nil, 0, fmt.Errorf("more than %d CNAMEs, or a loop of them", maxAliases)
		}
		ttl = min(ttl, seconds(aliases[owner].Hdr.Ttl))
		target, ok := canonical(hostText(aliases[owner].Target))
		if !ok {
			return "", nil, 0, errors.New("a CNAME leads to no name")
		}
		owner = target
	}
}

// records converts and bounds the records of an answer.
func records(rrs []dns.RR, t Type, shortest uint16) ([]Record, error) {
	out := make([]Record, 0, len(rrs))
	for _, rr := range rrs {
		rec, ok := record(rr)
		if !ok || rr.Header().Rdlength < shortest {
			return nil, fmt.Errorf("a record of type %s in the reply is malformed", t)
		}
		out = append(out, rec)
	}
	switch {
	case t == TypeTXT && len(out) > maxTexts:
		return nil, fmt.Errorf("the reply has %d TXT records, more than %d", len(out), maxTexts)
	case t == TypeMX && len(out) > maxRecords:
		slices.SortStableFunc(out, func(x, y Record) int { return int(x.(MX).Preference) - int(y.(MX).Preference) })
		out = slices.Clip(out[:maxRecords])
	case t != TypeTXT && len(out) > maxRecords:
		out = slices.Clip(out[:maxRecords])
	}
	total := 0
	for _, rec := range out {
		total += size(rec)
	}
	if total > maxData {
		return nil, fmt.Errorf("the reply has %d bytes of %s records, more than %d", total, t, maxData)
	}
	return out, nil
}

// size is about what a record takes in memory.
func size(rec Record) int {
	switch rec := rec.(type) {
	case Text:
		return len(rec)
	case Name:
		return len(rec)
	case MX:
		return len(rec.Host)
	case SOA:
		return len(rec.NS) + len(rec.Mailbox)
	case SRV:
		return len(rec.Target)
	case TLSA:
		return len(rec.Data)
	case CAA:
		return len(rec.Tag) + len(rec.Value)
	}
	return 16
}

// negativeTTL is how long an absence may be believed (RFC 2308 section 5); 0 when the reply does not say.
func negativeTTL(authority []dns.RR) time.Duration {
	for _, rr := range authority {
		if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Rdlength >= 22 {
			return max(seconds(min(soa.Hdr.Ttl, soa.Minttl)), 1)
		}
	}
	return 0
}

func clamp(ttl, highest time.Duration) time.Duration { return max(minTTL, min(ttl, highest)) }

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

func rcode(n int) string {
	if s, ok := dns.RcodeToString[n]; ok {
		return s
	}
	return fmt.Sprintf("RCODE %d", n)
}
