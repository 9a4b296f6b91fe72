// Package dmarc tells whether the domain in a message's From field was used with its owner's consent, after RFC 9989.
//
// The author domain is the domain that stands in From; there must be exactly one, in a field that no reader can take for another
// (Author). The owner of a domain publishes a record at _dmarc.DOMAIN that says what should become of mail that is not
// authenticated (ParseRecord). Where the author domain has none, a walk up the tree of names, of at most eight questions, finds that of
// its organizational domain, or of the public suffix above that.
//
// The message passes if SPF vouched for its envelope sender, or DKIM for a signature, under a domain that is aligned with the author
// domain: equal to it, or, where the owner does not ask for strict alignment, of the same organizational domain, which is found by a
// walk for each.
//
// What the DNS cannot tell is never a pass and never a fail: it is a temperror. A message without exactly one author domain is
// outside of the RFC, which tells to treat it as the threat that it is (section 11.5); here it is a permerror with Threat set.
package dmarc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
)

// Verdict is a result of RFC 9989 section 9.2.
type Verdict string

// The results.
const (
	None      Verdict = "none"      // the owner has published nothing that applies
	Pass      Verdict = "pass"      // an authenticated domain is aligned
	Fail      Verdict = "fail"      // none is
	TempError Verdict = "temperror" // the DNS could not tell; ask again later
	PermError Verdict = "permerror" // the record cannot be used, or there is not exactly one author domain
)

// Identifier is a domain for which SPF or DKIM has a result.
type Identifier struct {
	Method string // SPF or DKIM
	Domain string // of the MAIL identity; or d=
	Result string // as RFC 8601 names it: pass, fail, temperror ...
}

// The methods.
const (
	SPF  = "spf"
	DKIM = "dkim"
)

// Result is what a check found.
type Result struct {
	Verdict Verdict
	Reason  string // for people, in a few words
	From    string // the author domain; "" where there is not exactly one
	Threat  bool   // there is not exactly one

	Domain       string // where the record stands that applies; "" if there is none
	Organization string // the author's organizational domain, where it had to be found
	Record       *Record
	Tag          string // of the record: p, sp or np
	Requested    Policy // what that says
	Policy       Policy // what is to be done with mail that fails: less than Requested by one where the owner only tests

	Aligned Identifier // what made it pass
}

// maxIdentifiers bounds what is looked at: more signatures than that are there for no good.
const maxIdentifiers = 32

// Check tells whether one of the identifiers is aligned with the author domain. It asks r, one question after the other, at most
// eight for a walk and one more. The error of r ends in a TempError, whatever it is.
func Check(ctx context.Context, r resolve.Resolver, author string, ids []Identifier) Result {
	res := Result{From: author}
	author, ok := canonical(author)
	if !ok {
		return Suspect(&FromError{Fault: NoDomain})
	}
	res.From = author
	w := &walker{ctx: ctx, r: r, asked: map[string]*entry{}}
	if err := w.discover(&res); err != nil {
		return res.failed(err)
	}
	if res.Record == nil {
		res.Verdict, res.Reason = None, "there is no record"
		return res
	}
	ids = ids[:min(len(ids), maxIdentifiers)]
	err := w.align(&res, ids)
	if res.Verdict == Pass {
		return res
	}
	if err == nil {
		err = w.choose(&res)
	}
	if err != nil {
		return res.failed(err)
	}
	if res.Verdict == "" {
		res.Verdict, res.Reason = Fail, "no authenticated domain is aligned"
	}
	return res
}

// Suspect is the result for a message without exactly one author domain.
func Suspect(err *FromError) Result {
	return Result{Verdict: PermError, Reason: err.Error(), Threat: true}
}

// failed is what is left when the DNS, or the record, ended the check. The policy is told as far as it is sure.
func (res Result) failed(err error) Result {
	res.Verdict, res.Reason = TempError, err.Error()
	if e := (*recordError)(nil); errors.As(err, &e) {
		res.Verdict, res.Record = PermError, nil
	} else if res.Record != nil && (res.Domain == res.From || res.Record.NP == "") {
		res.apply(true)
	}
	return res
}

// recordError says that a record is there, and cannot be used (section 4.10.1).
type recordError struct{ domain, why string }

func (e *recordError) Error() string { return fmt.Sprintf("the record of %s: %s", e.domain, e.why) }

// align looks for an identifier that is aligned. What costs no question comes first.
func (w *walker) align(res *Result, ids []Identifier) error {
	var unsure, relaxed []Identifier
	for _, id := range ids {
		domain, ok := canonical(id.Domain)
		if !ok || id.Result != "pass" && id.Result != "temperror" {
			continue
		}
		id.Domain = domain
		switch {
		case domain != res.From && res.Record.strict(id.Method):
		case id.Result == "temperror":
			unsure = append(unsure, id)
		case domain == res.From:
			return res.pass(id)
		default:
			relaxed = append(relaxed, id)
		}
	}
	var failed error
	for _, id := range append(relaxed, unsure...) {
		same, err := w.related(res, id.Domain)
		switch {
		case err != nil && failed == nil:
			failed = err
		case !same:
		case id.Result == "pass":
			return res.pass(id)
		case failed == nil: // with an answer it might have passed
			failed = fmt.Errorf("%s could not be told for %s", id.Method, id.Domain)
		}
	}
	return failed
}

func (res *Result) pass(id Identifier) error {
	res.Verdict, res.Aligned = Pass, id
	res.Reason = id.Method + " vouches for " + id.Domain
	if res.Tag == "" {
		res.apply(true)
	}
	return nil
}

// related tells whether a domain has the author's organizational domain.
func (w *walker) related(res *Result, domain string) (bool, error) {
	if domain == res.From {
		return true, nil
	}
	if res.Organization == "" {
		org, err := w.organization(res.From)
		if err != nil {
			return false, err
		}
		res.Organization = org
	}
	if !within(domain, res.Organization) { // then its own is another, whatever the DNS says
		return false, nil
	}
	org, err := w.organization(domain)
	return org == res.Organization, err
}

// within tells whether a domain is another one, or below it.
func within(domain, above string) bool {
	return domain == above || strings.HasSuffix(domain, "."+above)
}

// choose sets what the owner asks for, where the message does not pass.
func (w *walker) choose(res *Result) error {
	exists := true
	if rec := res.Record; res.Domain != res.From && rec.NP != "" && rec.NP != rec.below() {
		var err error
		if exists, err = w.exists(res.From); err != nil {
			return err
		}
	}
	res.apply(exists)
	return nil
}

// apply reads the policy for the author domain from the record (section 4.10.1).
func (res *Result) apply(exists bool) {
	rec := res.Record
	switch {
	case res.Domain == res.From || rec.SP == "" && (exists || rec.NP == ""):
		res.Tag, res.Requested = "p", rec.P
	case !exists && rec.NP != "":
		res.Tag, res.Requested = "np", rec.NP
	default:
		res.Tag, res.Requested = "sp", rec.SP
	}
	res.Policy = res.Requested
	if rec.Testing { // one level below (section 4.7, t)
		res.Policy = map[Policy]Policy{PolicyReject: PolicyQuarantine, PolicyQuarantine: PolicyNone, PolicyNone: PolicyNone}[res.Requested]
	}
}

// canonical gives a domain as it is compared: lower case, A-labels, no dot at the end. It is false for what is no domain name.
func canonical(domain string) (string, bool) {
	return domainName(strings.TrimSuffix(domain, "."))
}
