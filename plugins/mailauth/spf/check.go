package spf

import (
	"context"
	"net/netip"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
)

// check is one evaluation. It is used by one goroutine.
type check struct {
	ctx    context.Context
	dns    resolve.Resolver
	query  *Query
	local  string // part of the sender
	origin string // domain of the sender

	terms, void int   // so far
	limit       error // that the macro p met
	explaining  bool

	looked bool // for the client's names
	names  []string
}

// found is the end of an evaluation.
type found struct {
	result    Result
	mechanism string
	record    *record // in which it ended
	domain    string  // of that record
}

// host is check_host() of section 4. The error is a *failure.
func (c *check) host(domain string) (found, error) {
	domain = strings.TrimSuffix(domain, ".")
	if !named(domain) {
		return found{}, &failure{None, "the domain can have no record"}
	}
	texts, err := resolve.LookupTXT(c.ctx, c.dns, domain)
	if err != nil {
		return found{}, c.temporary(err)
	}
	var policy string
	n := 0
	for _, text := range texts {
		if isRecord(text) {
			policy = text
			n++
		}
	}
	switch n {
	case 0:
		return found{}, &failure{None, "the domain has no record"}
	case 1:
	default:
		return found{}, permanent("%s has %d records", domain, n)
	}
	r, err := parse(policy)
	if err != nil {
		return found{}, err
	}
	return c.evaluate(r, domain)
}

func (c *check) evaluate(r *record, domain string) (found, error) {
	for i := range r.directives {
		d := &r.directives[i]
		fits, err := c.fits(d, domain)
		if err == nil && c.ctx.Err() != nil { // what could not be asked any more is no answer
			err = c.temporary(c.ctx.Err())
		}
		if err != nil {
			return found{}, err
		}
		if fits {
			return found{d.result, d.text, r, domain}, nil
		}
	}
	if r.redirect == nil {
		return found{Neutral, "default", r, domain}, nil
	}
	if err := c.term(); err != nil {
		return found{}, err
	}
	target := c.target(r.redirect, domain)
	if c.limit != nil {
		return found{}, c.limit
	}
	f, err := c.host(target)
	if isNone(err) {
		return f, permanent("redirect leads to %+q, which has no record", target)
	}
	return f, err
}

func isNone(err error) bool {
	f, ok := err.(*failure)
	return ok && f.result == None
}

func (c *check) temporary(err error) error {
	if c.ctx.Err() != nil {
		return &failure{Temperror, "the DNS did not answer in time"}
	}
	return &failure{Temperror, shorten(err.Error())}
}

// term counts a term that asks the DNS.
func (c *check) term() error {
	if c.terms++; c.terms > maxTerms {
		return permanent("more than %d terms ask the DNS", maxTerms)
	}
	return nil
}

// empty counts a term to which the DNS has nothing.
func (c *check) empty() error {
	if c.void++; c.void > maxVoid {
		return permanent("to more than %d terms the DNS has nothing", maxVoid)
	}
	return nil
}

// fits tells whether a mechanism fits the client (section 5).
func (c *check) fits(d *directive, domain string) (bool, error) {
	switch d.is {
	case all:
		return true, nil
	case ip4, ip6:
		return d.network.Contains(c.query.IP), nil
	}
	if err := c.term(); err != nil {
		return false, err
	}
	target := c.target(d.target, domain)
	if c.limit != nil {
		return false, c.limit
	}
	if d.is == include {
		f, err := c.host(target)
		if isNone(err) {
			return false, permanent("%+q leads to %+q, which has no record", d.text, target)
		}
		return f.result == Pass, err
	}
	if !resolve.Askable(target) { // section 4.8 leaves it open: it does not fit, and is not asked for
		return false, nil
	}
	switch d.is {
	case a:
		return c.at(d, target, true)
	case mx:
		return c.exchangers(d, target)
	case exists:
		answer, err := c.lookup(target, resolve.TypeA)
		return len(answer.Records) > 0, err
	default:
		return c.reverse(target)
	}
}

// lookup asks what a term is about; nothing there counts.
func (c *check) lookup(name string, t resolve.Type) (resolve.Answer, error) {
	answer, err := c.dns.Lookup(c.ctx, name, t)
	switch {
	case err != nil:
		return answer, c.temporary(err)
	case len(answer.Records) == 0:
		return answer, c.empty()
	}
	return answer, nil
}

// kind is the type of the addresses that the client's can be compared with.
func (c *check) kind() resolve.Type {
	if c.query.IP.Is4() {
		return resolve.TypeA
	}
	return resolve.TypeAAAA
}

// at tells whether the client's address is one of a host's, as far as the prefix goes. own: the term names the host.
func (c *check) at(d *directive, host string, own bool) (bool, error) {
	var answer resolve.Answer
	var err error
	if own {
		answer, err = c.lookup(host, c.kind())
	} else if answer, err = c.dns.Lookup(c.ctx, host, c.kind()); err != nil {
		err = c.temporary(err)
	}
	if err != nil {
		return false, err
	}
	bits := d.v6
	if c.query.IP.Is4() {
		bits = d.v4
	}
	for _, record := range answer.Records {
		if ip, ok := record.(resolve.Addr); ok && ip.BitLen() == c.query.IP.BitLen() && netip.PrefixFrom(ip.Addr, bits).Contains(c.query.IP) {
			return true, nil
		}
	}
	return false, nil
}

// exchangers is the mechanism mx (section 5.4). That an exchanger has no address of the client's kind is no void lookup: hosts
// without IPv6 are nobody's mistake.
func (c *check) exchangers(d *directive, target string) (bool, error) {
	answer, err := c.lookup(target, resolve.TypeMX)
	if err != nil {
		return false, err
	}
	if len(answer.Records) > maxNames {
		return false, permanent("%+q: %s has more than %d exchangers", d.text, target, maxNames)
	}
	for _, record := range answer.Records {
		m, ok := record.(resolve.MX)
		if !ok || m.Host == "." || !resolve.Askable(m.Host) {
			continue
		}
		if fits, err := c.at(d, m.Host, false); fits || err != nil {
			return fits, err
		}
	}
	return false, nil
}

// reverse is the mechanism ptr (section 5.5).
func (c *check) reverse(target string) (bool, error) {
	names, err := c.validated()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if below(name, target) {
			return true, nil
		}
	}
	return false, nil
}

// below tells whether a name is a domain or in it.
func below(name, domain string) bool {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// validated are the names of the client's address whose own addresses are that one, of the first ten. They are looked up once. A
// DNS that cannot tell makes no name (section 5.5), so the error is that of a limit.
func (c *check) validated() ([]string, error) {
	if c.looked {
		return c.names, nil
	}
	c.looked = true
	names, err := resolve.LookupPTR(c.ctx, c.dns, c.query.IP)
	if err != nil {
		return nil, nil
	}
	if len(names) == 0 && !c.explaining {
		return nil, c.empty()
	}
	for _, name := range names[:min(len(names), maxNames)] {
		if !resolve.Askable(name) {
			continue
		}
		answer, err := c.dns.Lookup(c.ctx, name, c.kind())
		if err != nil {
			continue
		}
		for _, record := range answer.Records {
			if ip, ok := record.(resolve.Addr); ok && ip.Addr == c.query.IP {
				c.names = append(c.names, name)
				break
			}
		}
	}
	return c.names, nil
}

// name is what the macro p stands for: the domain itself if the client's address has that name, or else a name in it, or
// else any. The first use asks the DNS and counts as a term.
func (c *check) name(domain string) string {
	if !c.looked && !c.explaining {
		if c.limit = c.term(); c.limit != nil {
			return ""
		}
	}
	names, err := c.validated()
	if err != nil {
		c.limit = err
	}
	if len(names) == 0 {
		return "unknown"
	}
	best := names[0]
	for _, name := range names {
		switch {
		case name == strings.ToLower(domain):
			return name
		case below(name, domain) && !below(best, domain):
			best = name
		}
	}
	return best
}
