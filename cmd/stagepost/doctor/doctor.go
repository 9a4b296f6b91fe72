// Package doctor looks at what the DNS, and a web server, say of a domain's mail, as other people's servers do: who takes its mail, what
// the hosts are called, who may send in its name, which keys sign, and under what encryption mail has to come.
//
// Each subject is a file with a function that asks and returns findings: what is there, what is wrong with it in plain words, and what
// to publish in its place, as lines that can be pasted into a zone file. A check that could not be made is a finding too, and never one
// that all is well. What is published is read by the same code that judges other domains' records when mail comes or goes, so that
// what this package takes for right is what a server like this one would.
//
// Nothing here needs a running server. Every question has a deadline of its own, all questions about a domain have one together, and
// how many are asked is bounded, because the domain may be anybody's.
package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of an examination.
const (
	questionTime = 10 * time.Second // for one question to the DNS
	policyTime   = 20 * time.Second // for one policy by HTTPS
	domainTime   = time.Minute      // for all about one domain
	maxQuestions = 1000             // about one domain; SPF alone may need some hundred
	maxHosts     = 10               // exchangers that are looked at
	maxAddrs     = 5                // addresses of a host, and names of an address
	MaxSelectors = 20               // selectors that one run looks at
)

// Subject is what a finding is about.
type Subject string

// The subjects, in the order in which they are told.
const (
	Host   Subject = "host"
	MX     Subject = "mx"
	PTR    Subject = "ptr"
	SPF    Subject = "spf"
	DKIM   Subject = "dkim"
	DMARC  Subject = "dmarc"
	STS    Subject = "mta-sts"
	TLSA   Subject = "tlsa"
	TLSRPT Subject = "tls-rpt"
)

// Level is how a finding has to be taken.
type Level string

// The levels. What is wrong costs mail, or makes what is published count for nothing.
const (
	OK      Level = "ok"
	Advice  Level = "advice"  // it works, and could be better
	Unknown Level = "unknown" // it could not be found out
	Wrong   Level = "wrong"
)

// Finding is one thing that was found out.
type Finding struct {
	Subject Subject      `json:"subject"`
	Level   Level        `json:"level"`
	About   string       `json:"about"`             // a name in the DNS, a host, an address or the URL of a file
	Text    string       `json:"text"`              // what is the matter, for people
	Records []string     `json:"records,omitempty"` // what is there, as it was published
	Publish *Publication `json:"publish,omitempty"` // what to publish
}

// Publication is something to be published.
type Publication struct {
	At     string   `json:"at"`               // "dns", or the URL of a file
	Lines  []string `json:"lines"`            // of a zone file, or of that file
	Remove []string `json:"remove,omitempty"` // lines of the zone file in whose place they stand
}

// Report is all that was found out about a domain or a host.
type Report struct {
	Name     string    `json:"name"`
	Findings []Finding `json:"findings"`
}

// Count is how many findings are of a level.
func (r *Report) Count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Options say who is asked, and what is known of this server.
type Options struct {
	Resolver resolve.Resolver
	Policy   func(ctx context.Context, domain string) (*mtasts.Policy, error) // fetches a policy by HTTPS
	Now      func() time.Time

	Hostname     string   // of this server; empty: there is none
	Own          []Source // from where it sends
	Certificates []Chain  // that it shows
	Keys         []Key    // with which it signs

	Selectors []string // of DKIM, that are looked at besides
}

// Source is an address from which this server sends, and the name by which it calls itself there.
type Source struct {
	IP   netip.Addr
	Helo string
}

// Chain is a certificate with those of its issuers, its own first.
type Chain []*x509.Certificate

// Name reads a domain as somebody types it.
func Name(s string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	switch {
	case strings.Contains(name, "@"):
		return "", fmt.Errorf("%q is an address; its domain is wanted, which is %q", s, name[strings.LastIndexByte(name, '@')+1:])
	case !smtp.ValidDomain(name):
		return "", fmt.Errorf("%q is not a domain in the form that the DNS has it (letters of other scripts as xn--...)", s)
	}
	return name, nil
}

// Domain examines a domain.
func Domain(ctx context.Context, o Options, domain string) *Report {
	ctx, cancel := context.WithTimeout(ctx, domainTime)
	defer cancel()
	o.Resolver = bounded(o.Resolver)
	found, list := checkMX(ctx, o, domain)
	if found.missing {
		return &Report{domain, list}
	}
	return &Report{domain, slices.Concat(list, together(
		func() []Finding { return checkPTR(ctx, o.Resolver, append(found.addresses(), o.own()...)) },
		func() []Finding { return checkSPF(ctx, o, domain, found) },
		func() []Finding { return checkDKIM(ctx, o, domain, found) },
		func() []Finding { return checkDMARC(ctx, o, domain, found) },
		func() []Finding { return checkSTS(ctx, o, domain, found) },
		func() []Finding { return checkTLSA(ctx, o, domain, found) },
		func() []Finding { return checkTLSRPT(ctx, o.Resolver, domain, found) },
	))}
}

// Server examines the host that this server is, which Options name.
func Server(ctx context.Context, o Options) *Report {
	ctx, cancel := context.WithTimeout(ctx, domainTime)
	defer cancel()
	o.Resolver = bounded(o.Resolver)
	return &Report{o.Hostname, together(
		func() []Finding { return checkHost(ctx, o) },
		func() []Finding { return checkPTR(ctx, o.Resolver, o.own()) },
		func() []Finding { return checkHelo(ctx, o) },
	)}
}

// together runs checks at once, and returns what they found in their order.
func together(checks ...func() []Finding) []Finding {
	found := make([][]Finding, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { found[i] = check() })
	}
	all.Wait()
	return slices.Concat(found...)
}
