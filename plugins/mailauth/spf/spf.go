// Package spf tells whether a host may send mail in the name of a domain, by the Sender Policy Framework (RFC 7208).
//
// A domain publishes one record, a TXT record that begins with "v=spf1". Its terms are read from left to right: a mechanism that
// fits the client's address ends the matter with the result of its qualifier, and modifiers say where else to look. Two identities
// are checked so, the name in HELO and the domain of the sender in MAIL.
//
// Everything in a record, in the names that it leads to, and in what macros put into those, is in the hands of strangers, and
// reading one record may ask the DNS on their behalf. So a record is parsed whole, by the grammar of section 12, before anything of
// it counts: a mistake anywhere is permerror. Then it is evaluated within bounds: ten terms that ask the DNS, the records behind
// include and redirect counted, of which loops end there; ten exchangers of an mx, which is an error beyond them; ten names of an
// address, of which the others are passed over; two terms to which the DNS has nothing; and a time, after which the result is
// temperror. Where the DNS cannot tell, the result is temperror, and no such thing is ever a match. What macros make is cut as
// it grows.
//
// Check asks nothing but a resolve.Resolver and knows no cache of its own: that of the resolver serves the next.
package spf

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/resolve"
)

// Bounds of one check (RFC 7208 section 4.6.4).
const (
	maxTerms = 10 // that ask the DNS
	maxNames = 10 // exchangers of an mx, and names of the client's address
	maxVoid  = 2  // terms to which the DNS has nothing

	// Patience is how long a check takes at most.
	Patience = 20 * time.Second

	// MaxExplanation is the length in bytes beyond which an explanation counts as none.
	MaxExplanation = 300
)

// Result is what a check comes to (section 2.6).
type Result string

// The results.
const (
	None      Result = "none"
	Neutral   Result = "neutral"
	Pass      Result = "pass"
	Fail      Result = "fail"
	Softfail  Result = "softfail"
	Temperror Result = "temperror"
	Permerror Result = "permerror"
)

// Identity is whose authorization is checked (sections 2.3, 2.4).
type Identity string

// The identities, as Received-SPF names them.
const (
	Helo Identity = "helo"
	Mail Identity = "mailfrom"
)

// Query is what is asked.
type Query struct {
	Identity Identity
	IP       netip.Addr // of the client
	Helo     string     // what it said last
	Sender   string     // of MAIL, its domain in A-labels; "" is the null sender. It means nothing for Helo
	Receiver string     // the name of this host; "" is unknown
	Time     time.Time  // of the check, for an explanation that tells it
}

// Verdict is the answer.
type Verdict struct {
	Result      Result
	Domain      string // that was checked; "" where the identity has none
	Mechanism   string // that fitted, as it is published; "default" where none did; "" where none was looked at
	Problem     string // of temperror and permerror: what is wrong
	Explanation string // what the domain says about a fail, in ASCII; "" where it says nothing. It is a stranger's text
}

// sender is the <sender> of section 4.1, in its two parts.
func (q *Query) sender() (local, domain string) {
	if q.Identity == Helo || q.Sender == "" {
		return "postmaster", q.Helo
	}
	i := strings.LastIndexByte(q.Sender, '@')
	if local, domain = q.Sender[:max(i, 0)], q.Sender[i+1:]; local == "" {
		local = "postmaster"
	}
	return local, domain
}

// Domain is the domain of the identity, in lower case and without a final dot.
func (q *Query) Domain() string {
	_, domain := q.sender()
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

// Check checks an identity.
func Check(ctx context.Context, r resolve.Resolver, q Query) Verdict {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	q.IP = q.IP.Unmap().WithZone("")
	c := &check{ctx: ctx, dns: r, query: &q}
	c.local, c.origin = q.sender()
	c.origin = strings.TrimSuffix(c.origin, ".")
	v := Verdict{Domain: q.Domain()}
	if !q.IP.IsValid() {
		v.Result = None
		return v
	}
	found, err := c.host(c.origin)
	switch err := err.(type) {
	case nil:
		v.Result, v.Mechanism = found.result, found.mechanism
		if found.result == Fail {
			v.Explanation = c.explain(found)
		}
	case *failure:
		if v.Result = err.result; v.Result != None {
			v.Problem = err.text
		}
	}
	if v.Result == None && !named(c.origin) {
		v.Domain = ""
	}
	return v
}

// failure ends a check with none, temperror or permerror.
type failure struct {
	result Result
	text   string
}

func (f *failure) Error() string { return string(f.result) + ": " + f.text }

func permanent(format string, args ...any) error {
	return &failure{Permerror, shorten(fmt.Sprintf(format, args...))}
}

// shorten bounds a text that quotes a stranger.
func shorten(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// named tells whether a domain can have a record: it has several labels and is no address (section 4.3).
func named(domain string) bool {
	return strings.Contains(domain, ".") && !strings.HasPrefix(domain, "[") && resolve.Askable(domain)
}
