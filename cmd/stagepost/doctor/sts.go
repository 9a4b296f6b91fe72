package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/resolve"
)

// A policy that is kept for less than a day protects from little (RFC 8461 section 3.2 speaks of weeks); a week is proposed.
const (
	shortAge    = 24 * time.Hour
	proposedAge = 7 * 24 * time.Hour
)

// checkSTS looks at a domain's MTA-STS record, and at the policy that the record stands for (RFC 8461).
func checkSTS(ctx context.Context, o Options, domain string, found exchangers) []Finding {
	if found.null {
		return nil
	}
	name := "_mta-sts." + domain
	texts, err := resolve.LookupTXT(ctx, o.Resolver, name)
	if err != nil {
		return []Finding{unknown(STS, name, err)}
	}
	var list []Finding
	records := textLines(name, texts)
	fresh := textLine(name, "v=STSv1; id="+o.Now().UTC().Format("20060102T150405"))
	id, err := mtasts.ParseRecord(texts)
	switch {
	case errors.Is(err, mtasts.ErrNoRecord) && len(found.hosts) == 0:
		return []Finding{{STS, Advice, name, "there is no record, so servers may be made to send mail for the domain in clear, or to another host; who takes its mail has to be published first", records, nil}}
	case errors.Is(err, mtasts.ErrNoRecord):
		f := Finding{STS, Advice, name, "there is no record, so servers may be made to send mail for the domain in clear, or to another host; publish it, and the policy of the next finding", records, publish(fresh)}
		return append([]Finding{f}, proposal(domain, found)...)
	case err != nil:
		list = append(list, Finding{STS, Wrong, name, fmt.Sprintf("%v, so the policy counts for nothing", err), records, instead(records, fresh)})
	default:
		list = append(list, Finding{STS, OK, name, "the record has the id " + id, records, nil})
	}
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	p, err := o.Policy(ctx, domain)
	if err != nil {
		f := Finding{Subject: STS, Level: Wrong, About: policyURL(domain), Text: fmt.Sprintf("the policy cannot be used: %v", err), Publish: file(domain, mtasts.Testing, found)}
		if late := net.Error(nil); errors.Is(err, resolve.Temporary) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout() {
			f.Level, f.Text, f.Publish = Unknown, fmt.Sprintf("it could not be found out what the policy is: %v", err), nil
		}
		return append(list, f)
	}
	return append(list, checkPolicy(domain, found, p, fresh, records)...)
}

// checkPolicy judges a policy by the hosts that take the mail.
func checkPolicy(domain string, found exchangers, p *mtasts.Policy, fresh string, records []string) (list []Finding) {
	add := func(l Level, pub *Publication, format string, args ...any) {
		list = append(list, Finding{STS, l, policyURL(domain), fmt.Sprintf(format, args...), policyLines(p.Mode, p.MX, p.MaxAge), pub})
	}
	var others []string
	for _, host := range found.names() {
		if !p.Matches(host) {
			others = append(others, host)
		}
	}
	again := "; publish it with a new id in the record, or servers go on with the one they keep: " + fresh
	switch {
	case p.Mode == mtasts.None:
		add(Advice, file(domain, mtasts.Testing, found), "the mode is none, as if there were no policy%s", again)
		return list
	case len(others) > 0:
		what := "servers tell you of it in reports, and once the mode is enforce, will bring them no mail"
		if p.Mode == mtasts.Enforce {
			what = "servers that keep to it bring them no mail"
		}
		add(Wrong, file(domain, p.Mode, found), "the policy does not name %s, which take mail: %s%s", strings.Join(others, ", "), what, again)
	case p.Mode == mtasts.Testing:
		add(Advice, file(domain, mtasts.Enforce, found), "the mode is testing: failures are reported, and mail goes all the same; when the reports tell of none, enforce it%s", again)
	}
	if p.MaxAge < shortAge {
		add(Advice, file(domain, p.Mode, found), "the policy is kept for %v only, and whoever keeps it from a server for that long is rid of it: let max_age be a week or more%s", p.MaxAge, again)
	}
	if len(list) == 0 {
		add(OK, nil, "the policy is enforced, names every host that takes mail, and is kept for %d s", int(p.MaxAge.Seconds()))
	}
	return list
}

// proposal is what a domain without a policy could publish.
func proposal(domain string, found exchangers) []Finding {
	return []Finding{{STS, Advice, policyURL(domain), "the policy belongs to the record; it is served by HTTPS as text/plain, without a redirect, with a certificate for mta-sts." + domain + "; reports about it come by TLS-RPT", nil, file(domain, mtasts.Testing, found)}}
}

// file is a policy that names the hosts that take mail; nil: nobody is known to.
func file(domain, mode string, found exchangers) *Publication {
	if len(found.hosts) == 0 {
		return nil
	}
	var names []string
	for _, h := range found.hosts {
		names = append(names, cmp.Or(h.addrs.Alias, h.host)) // an alias is told to be named by what it is
	}
	return &Publication{At: policyURL(domain), Lines: policyLines(mode, names, proposedAge)}
}

func policyURL(domain string) string { return "https://mta-sts." + domain + "/.well-known/mta-sts.txt" }

// policyLines is a policy as it is served (RFC 8461 section 3.2).
func policyLines(mode string, hosts []string, age time.Duration) []string {
	lines := []string{"version: STSv1", "mode: " + mode}
	for _, h := range hosts {
		lines = append(lines, "mx: "+h)
	}
	return slices.Concat(lines, []string{fmt.Sprintf("max_age: %d", int(age.Seconds()))})
}
