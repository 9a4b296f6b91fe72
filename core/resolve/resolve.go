// Package resolve asks the DNS, behind one small interface.
//
// A question has three kinds of answer, and mail depends on keeping them apart. "Here it is" and "there is none" are facts:
// Lookup returns both as an Answer, whose Status also tells a name that does not exist (NXDOMAIN) from one that has other
// records (NODATA). "I cannot tell" (silence, SERVFAIL, REFUSED, a reply that does not parse) is an error, always of kind
// Temporary: mail waits for it and is never bounced by it. What the two facts mean for a recipient is decided once, in
// LookupMX, whose errors carry the reply code and enhanced status code.
//
// Client is the Resolver of a server: it asks recursive resolvers by UDP, by TCP when the reply is cut, keeps what they say in a
// bounded cache, and asks once for callers that want the same at the same time. It does not validate DNSSEC; the AD flag of a
// resolver on this host is believed, and that of others where the configuration says so. Everything that comes from the network passes through Decode, which uses only records
// that the question leads to, by at most eight CNAMEs.
//
// Helpers such as LookupMX are functions over the interface, so a fake (package resolvetest) implements one method. Package
// dnszone serves made-up zones over a real socket.
package resolve

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver answers DNS questions. Implementations may be called by many goroutines at once.
type Resolver interface {
	// Lookup returns the records of type t at name, or a Temporary *Error when it cannot tell. The name is absolute, in A-labels, in
	// any case, with or without the final dot; one that cannot stand in the DNS does not exist (NoDomain) and is not asked for.
	Lookup(ctx context.Context, name string, t Type) (Answer, error)
}

// Answer is what the DNS knows about one question.
type Answer struct {
	Name          string        // owner of the records, lower case, no final dot: the question's name, or the end of its CNAME chain
	Status        Status        // whether there are Records, and if not, why
	Records       []Record      // in the order of the reply, of the asked type; shared with other callers: read only
	TTL           time.Duration // how long the answer may be kept; within the bounds of the cache
	Authenticated bool          // DNSSEC-validated by a resolver that is trusted to say so; also true of a validated absence
}

// Status says whether a question has records.
type Status uint8

const (
	Found    Status = iota // there are records
	NoData                 // the name exists, without records of this type
	NoDomain               // the name does not exist (NXDOMAIN)
)

func (s Status) String() string {
	switch s {
	case Found:
		return "found"
	case NoData:
		return "no data"
	default:
		return "no such domain"
	}
}

// Type is the type of a DNS record.
type Type uint16

const (
	TypeA     Type = Type(dns.TypeA)
	TypeNS    Type = Type(dns.TypeNS)
	TypeCNAME Type = Type(dns.TypeCNAME)
	TypeSOA   Type = Type(dns.TypeSOA)
	TypePTR   Type = Type(dns.TypePTR)
	TypeMX    Type = Type(dns.TypeMX)
	TypeTXT   Type = Type(dns.TypeTXT)
	TypeAAAA  Type = Type(dns.TypeAAAA)
	TypeSRV   Type = Type(dns.TypeSRV)
	TypeTLSA  Type = Type(dns.TypeTLSA)
	TypeCAA   Type = Type(dns.TypeCAA)
)

// types lists what may be asked. The second column is the shortest correct RDATA: the parser of the library accepts
// records that end between two fields, and those must not pass for empty values.
var types = [...]struct {
	t    Type
	min  uint16
	name string
}{
	{TypeA, 4, "A"},
	{TypeAAAA, 16, "AAAA"},
	{TypeMX, 3, "MX"},
	{TypeTXT, 1, "TXT"},
	{TypePTR, 1, "PTR"},
	{TypeCNAME, 1, "CNAME"},
	{TypeNS, 1, "NS"},
	{TypeSOA, 22, "SOA"},
	{TypeSRV, 7, "SRV"},
	{TypeTLSA, 4, "TLSA"},
	{TypeCAA, 3, "CAA"},
}

func (t Type) String() string {
	for _, known := range types {
		if known.t == t {
			return known.name
		}
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}

// shortest returns the shortest correct RDATA of a type, or false for a type that cannot be asked for.
func (t Type) shortest() (uint16, bool) {
	for _, known := range types {
		if known.t == t {
			return known.min, true
		}
	}
	return 0, false
}

// ParseType returns the type with a name such as "MX", in any case.
func ParseType(s string) (Type, error) {
	names := make([]string, 0, len(types))
	for _, known := range types {
		if strings.EqualFold(s, known.name) {
			return known.t, nil
		}
		names = append(names, known.name)
	}
	slices.Sort(names)
	return 0, fmt.Errorf("DNS record type %q is not known; there are %s", s, strings.Join(names, ", "))
}
