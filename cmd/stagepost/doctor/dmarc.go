package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/dmarc"
)

// maxReported is how many destinations of reports are looked at.
const maxReported = 5

// checkDMARC looks at what a domain asks for when mail in its name is not authenticated (RFC 9989): at the record that applies to it,
// which may be that of a domain above.
func checkDMARC(ctx context.Context, o Options, domain string, found exchangers) []Finding {
	name := "_dmarc." + domain
	texts, err := resolve.LookupTXT(ctx, o.Resolver, name)
	if err != nil {
		return []Finding{unknown(DMARC, name, err)}
	}
	policies := slices.DeleteFunc(slices.Clone(texts), func(t string) bool { return !dmarc.IsRecord(t) })
	records := textLines(name, policies)
	fresh := "v=DMARC1; p=none; rua=mailto:dmarc-reports@" + domain
	if found.null {
		fresh = "v=DMARC1; p=reject"
	}
	var list []Finding
	add := func(l Level, p *Publication, format string, args ...any) {
		list = append(list, Finding{DMARC, l, name, fmt.Sprintf(format, args...), records, p})
	}
	if len(policies) > 1 {
		add(Wrong, instead(records, textLine(name, fresh)), "there are %d records, so none of them counts", len(policies))
		return list
	}
	res := dmarc.Check(ctx, o.Resolver, domain, nil)
	switch {
	case res.Verdict == dmarc.TempError:
		add(Unknown, nil, "it could not be found out: %s", res.Reason)
	case res.Verdict == dmarc.None:
		add(Wrong, publish(textLine(name, fresh)), "there is no record, so anybody may use the domain in From; large receivers refuse mail of domains without: begin with this one, which asks for reports alone")
	case res.Record == nil:
		add(Wrong, instead(records, textLine(name, fresh)), "the record cannot be used: %s", res.Reason)
	case res.Domain != domain:
		list = append(list, Finding{DMARC, OK, "_dmarc." + res.Domain, fmt.Sprintf("the domain has no record of its own; that of %s applies, and asks for %s (%s)", res.Domain, res.Requested, res.Tag), nil, nil})
	default:
		judgeDMARC(&res, policies[0], !found.null, add)
		if clean := cleaned(policies[0]); clean != policies[0] && list[0].Level != OK {
			list[0].Publish = instead(records, textLine(name, clean))
		}
		list = append(list, reportsElsewhere(ctx, o.Resolver, domain, res.Record)...)
	}
	return list
}

// judgeDMARC says what could be better of a record that can be used.
func judgeDMARC(res *dmarc.Result, text string, mails bool, add func(Level, *Publication, string, ...any)) {
	rec, well := res.Record, true
	advise := func(format string, args ...any) {
		well = false
		add(Advice, nil, format, args...)
	}
	for _, fault := range rec.Faults {
		well = false
		add(Wrong, nil, "a part of it is passed over: %s", fault)
	}
	if rec.P == dmarc.PolicyNone {
		advise("it asks for nothing to be done with mail that is not the domain's (p=none); when the reports tell that all of yours passes, ask for quarantine, and then for reject")
	} else if rec.SP == dmarc.PolicyNone {
		advise("it asks for nothing to be done where a domain below is used (sp=none)")
	}
	if rec.Testing {
		advise("it says that the domain only tests (t=y), so less is done than it asks for")
	}
	if len(rec.Aggregate) == 0 && mails {
		advise("it asks for no reports (rua), so you do not learn of your own mail that fails")
	}
	var old []string
	for tag := range strings.SplitSeq(text, ";") {
		if tag = strings.TrimSpace(tag); isOld(tag) && len(old) < maxReported {
			old = append(old, tag)
		}
	}
	if len(old) > 0 {
		advise("%q counts no more since RFC 9989; take it out", strings.Join(old, "; "))
	}
	if well {
		add(OK, nil, "it asks for %s, and reports go to %s", rec.P, cmp.Or(strings.Join(rec.Aggregate, ", "), "nobody"))
	}
}

// cleaned is a record without what is passed over.
func cleaned(text string) string {
	var tags []string
	for tag := range strings.SplitSeq(text, ";") {
		tag = strings.TrimSpace(tag)
		rec, _ := dmarc.ParseRecord("v=DMARC1; " + tag)
		if len(tags) == 0 || tag != "" && len(rec.Faults) == 0 && !isOld(tag) {
			tags = append(tags, tag)
		}
	}
	return strings.Join(tags, "; ")
}

// reportsElsewhere asks other domains that reports go to whether they want them; else they get none (RFC 9990 section 4).
func reportsElsewhere(ctx context.Context, r resolve.Resolver, domain string, rec *dmarc.Record) (list []Finding) {
	var asked []string
	for _, uri := range slices.Concat(rec.Aggregate, rec.Failures) {
		at := strings.LastIndexByte(uri, '@')
		if scheme, _, _ := strings.Cut(uri, ":"); !strings.EqualFold(scheme, "mailto") || at < 0 {
			continue
		}
		other, err := Name(uri[at+1:])
		if err != nil || within(other, domain) || within(domain, other) || slices.Contains(asked, other) || len(asked) == maxReported {
			continue
		}
		asked = append(asked, other)
		name := domain + "._report._dmarc." + other
		texts, err := resolve.LookupTXT(ctx, r, name)
		switch {
		case err != nil:
			list = append(list, unknown(DMARC, name, err))
		case !slices.ContainsFunc(texts, dmarc.IsRecord):
			list = append(list, Finding{DMARC, Wrong, name, fmt.Sprintf("reports shall go to %s, which does not say that it wants them, so none are sent; it has to publish this in its zone", other), textLines(name, texts), publish(textLine(name, "v=DMARC1"))})
		}
	}
	return list
}

// within tells whether a domain is another one, or below it.
func within(domain, above string) bool {
	return domain == above || strings.HasSuffix(domain, "."+above)
}

// isOld tells whether a tag is one of those that RFC 9989 took away.
func isOld(tag string) bool {
	name, _, _ := strings.Cut(tag, "=")
	return slices.Contains([]string{"pct", "rf", "ri"}, strings.ToLower(strings.TrimSpace(name)))
}
