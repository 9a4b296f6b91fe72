// Package tlsrpt counts how connections to the servers of a domain fared under TLS, as reports by RFC 8460 have it: for each day (UTC), each
// policy domain and each policy that was applied, how many sessions were protected, and how many were not, and why. A domain that asks
// for such reports learns of its mistakes that way; here they are kept, in the form of a report's "policies", for whoever wants to see them.
//
// Names of domains come from strangers, so how many are counted is bounded; of what is beyond, it is known that there was something.
// What was counted is written every minute and when the server stops; a crash loses no more than that.
package tlsrpt

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds.
const (
	maxSummaries = 5000 // of a day
	maxDetails   = 20   // of a summary
	maxMX        = 50   // patterns told
	maxReason    = 200
	saveEvery    = time.Minute
	keepDays     = 30
)

// PolicyType says which policy was applied (RFC 8460 section 4.4).
type PolicyType string

// The types.
const (
	DANE     PolicyType = "tlsa"
	STS      PolicyType = "sts"
	NoPolicy PolicyType = "no-policy-found"
)

// Result is how a session failed (section 4.3); empty: it did not.
type Result string

// The results that this server tells apart; those of policies that cannot be had are mtasts.Problem's.
const (
	NoSTARTTLS    Result = "starttls-not-supported"
	WrongName     Result = "certificate-host-mismatch"
	Expired       Result = "certificate-expired"
	NotTrusted    Result = "certificate-not-trusted"
	Validation    Result = "validation-failure" // all that has no word of its own
	DNSSECInvalid Result = "dnssec-invalid"
)

// Session is one to be counted.
type Session struct {
	Domain  string // whose mail it was for
	Policy  PolicyType
	Strings []string // the policy, as the domain publishes it
	MX      []string // patterns that an MTA-STS policy names

	Result Result
	Reason string // more about it, for people
	Host   string // of the mail exchanger
	IP     netip.Addr
	From   netip.Addr // this server's own
}

// Summary is one of a report's "policies".
type Summary struct {
	Policy struct {
		Type    PolicyType `json:"policy-type"`
		Strings []string   `json:"policy-string,omitempty"`
		Domain  string     `json:"policy-domain"`
		MX      []string   `json:"mx-host,omitempty"`
	} `json:"policy"`
	Summary struct {
		Success uint64 `json:"total-successful-session-count"`
		Failure uint64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Details []Detail `json:"failure-details,omitempty"`
}

// Detail is one of "failure-details".
type Detail struct {
	Result Result `json:"result-type"`
	From   string `json:"sending-mta-ip,omitempty"`
	Host   string `json:"receiving-mx-hostname,omitempty"`
	IP     string `json:"receiving-ip,omitempty"`
	Count  uint64 `json:"failed-session-count"`
	Reason string `json:"failure-reason-code,omitempty"`
}

type key struct {
	domain string
	policy PolicyType
}

// Results counts. It is safe for concurrent use.
type Results struct {
	folder string
	now    func() time.Time
	log    *slog.Logger

	turning sync.WaitGroup

	disk sync.Mutex // held while files are written; taken before mu
	mu   sync.Mutex
	day  string
	all  map[key]*Summary
	lost uint64 // sessions of today that were not counted
	news bool   // there is something to be written
}

// Options of Results.
type Options struct {
	Folder string // keeps them; empty: they are in memory only
	Now    func() time.Time
	Log    *slog.Logger
}

// New makes Results, which go on with what the folder has of today.
func New(o Options) (*Results, error) {
	r := &Results{folder: o.Folder, now: o.Now, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), all: map[key]*Summary{}}
	if r.now == nil {
		r.now = time.Now
	}
	r.day = r.today()
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Results) today() string { return r.now().UTC().Format(time.DateOnly) }

// Add counts one session.
func (r *Results) Add(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.day != r.today() {
		day := r.day
		all := r.take()
		r.turning.Go(func() { r.turn(day, all) }) // nothing of a delivery waits for the disk
	}
	k := key{s.Domain, s.Policy}
	sum := r.all[k]
	if sum == nil {
		if len(r.all) >= maxSummaries {
			r.lost++
			return
		}
		sum = &Summary{}
		sum.Policy.Type, sum.Policy.Domain = s.Policy, s.Domain
		r.all[k] = sum
	}
	r.news = true
	sum.Policy.Strings, sum.Policy.MX = s.Strings, s.MX[:min(len(s.MX), maxMX)]
	if s.Result == "" {
		sum.Summary.Success++
		return
	}
	sum.Summary.Failure++
	sum.fail(s)
}

func (sum *Summary) fail(s *Session) {
	d := Detail{Result: s.Result, Host: s.Host, IP: text(s.IP), From: text(s.From), Reason: clean(s.Reason)}
	same := func(of Detail) bool {
		return of.Result == d.Result && of.Host == d.Host && of.IP == d.IP && of.From == d.From
	}
	i := slices.IndexFunc(sum.Details, same)
	if i < 0 && len(sum.Details) >= maxDetails { // then by what it was alone
		d = Detail{Result: s.Result}
		if i = slices.IndexFunc(sum.Details, same); i < 0 {
			i = len(sum.Details) - 1
			sum.Details[i] = Detail{Result: s.Result, Count: sum.Details[i].Count}
		}
	}
	if i < 0 {
		i = len(sum.Details)
		sum.Details = append(sum.Details, d)
	}
	sum.Details[i].Count++
	if d.Reason != "" {
		sum.Details[i].Reason = d.Reason
	}
}

func text(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().String()
}

// clean bounds what a remote may have written.
func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s[:min(len(s), maxReason)])
	return s
}

// take takes what was counted away and begins another day. mu is held.
func (r *Results) take() map[key]*Summary {
	old := r.all
	if r.lost > 0 {
		r.log.Warn("results of TLS were not counted: there were too many domains", "day", r.day, "sessions", r.lost)
	}
	r.all, r.lost, r.news, r.day = map[key]*Summary{}, 0, false, r.today()
	return old
}

// sorted copies summaries, those with failures first.
func sorted(all map[key]*Summary) []Summary {
	list := make([]Summary, 0, len(all))
	for _, s := range all {
		c := *s
		c.Details = slices.Clone(s.Details)
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Summary) int {
		return cmp.Or(cmp.Compare(b.Summary.Failure, a.Summary.Failure), strings.Compare(a.Policy.Domain, b.Policy.Domain), strings.Compare(string(a.Policy.Type), string(b.Policy.Type)))
	})
	return list
}
