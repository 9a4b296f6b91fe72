package dmarc

import (
	"context"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
)

// walker asks for the records of one check, each name once.
type walker struct {
	ctx   context.Context
	r     resolve.Resolver
	asked map[string]*entry // by domain
}

// entry is what stands at _dmarc.DOMAIN: one record, or none, or the error of asking.
type entry struct {
	record *Record
	exists bool // _dmarc.DOMAIN does, and so does DOMAIN (RFC 8020)
	err    error
}

// found is a record that a walk came by.
type found struct {
	domain string
	record *Record
}

// mostLabels is what a name is cut to before the walk goes on above it (RFC 9989 section 4.10, step 4): with the question for the name
// itself that makes eight.
const mostLabels = 7

func (w *walker) at(domain string) *entry {
	e := w.asked[domain]
	if e == nil {
		e = &entry{}
		w.asked[domain] = e
		var a resolve.Answer
		name := "_dmarc." + domain
		if len(name) > 253 { // no such name can be, so it is not there
			return e
		}
		if a, e.err = w.r.Lookup(w.ctx, name, resolve.TypeTXT); e.err == nil {
			e.exists = a.Status != resolve.NoDomain
			e.record = one(a.Records)
		}
	}
	return e
}

// one gives the policy record among TXT records. Of several none counts (step 2).
func one(records []resolve.Record) (rec *Record) {
	for _, r := range records {
		text, _ := r.(resolve.Text)
		if !IsRecord(string(text)) {
			continue
		}
		if rec != nil {
			return nil
		}
		rec, _ = ParseRecord(string(text))
	}
	return rec
}

// walk goes up from a domain and gives the records on its way, the longest name first. It ends at one that says whether it is a public suffix.
func (w *walker) walk(domain string) (out []found, err error) {
	for at := domain; at != ""; at = above(at) {
		e := w.at(at)
		if e.err != nil {
			return nil, e.err
		}
		if e.record == nil {
			continue
		}
		out = append(out, found{at, e.record})
		if e.record.PSD != 'u' {
			break
		}
	}
	return out, nil
}

// above is the name that is asked for after this one; "" is the end.
func above(domain string) string {
	labels := strings.Split(domain, ".")
	return strings.Join(labels[max(1, len(labels)-mostLabels):], ".")
}

// oneBelow is the name one label below another on the way to a domain.
func oneBelow(domain, suffix string) string {
	rest := strings.TrimSuffix(domain, "."+suffix)
	return rest[strings.LastIndexByte(rest, '.')+1:] + "." + suffix
}

// organizational selects the organizational domain of a domain from the records of its walk (section 4.10.2).
func organizational(domain string, records []found) string {
	org := domain
	for _, f := range records {
		switch {
		case f.record.PSD == 'n':
			return f.domain
		case f.record.PSD == 'y' && f.domain != domain:
			return oneBelow(domain, f.domain)
		}
		org = f.domain // so far the one with the fewest labels
	}
	return org
}

func (w *walker) organization(domain string) (string, error) {
	records, err := w.walk(domain)
	if err != nil {
		return "", err
	}
	return organizational(domain, records), nil
}

// discover finds the record that applies to the author domain (section 4.10.1): its own, that of its organizational domain, or that
// of its public suffix.
func (w *walker) discover(res *Result) error {
	own := w.at(res.From)
	if own.err != nil {
		return own.err
	}
	if own.record != nil {
		return res.use(found{res.From, own.record})
	}
	records, err := w.walk(res.From)
	if err != nil || len(records) == 0 {
		return err
	}
	res.Organization = organizational(res.From, records)
	for _, f := range records {
		if f.domain == res.Organization || f.record.PSD == 'y' {
			return res.use(f)
		}
	}
	return nil
}

func (res *Result) use(f found) error {
	res.Domain, res.Record = f.domain, f.record
	if f.record.badPolicy != "" {
		return &recordError{f.domain, f.record.badPolicy}
	}
	return nil
}

// exists tells whether a domain does, whatever it has (section 3.2.13 and appendix A.4).
func (w *walker) exists(domain string) (bool, error) {
	if e := w.asked[domain]; e != nil && e.exists {
		return true, nil
	}
	a, err := w.r.Lookup(w.ctx, domain, resolve.TypeA)
	return a.Status != resolve.NoDomain, err
}
