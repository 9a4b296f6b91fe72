package deliver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/deliver/dane"
	"github.com/stagepost/stagepost/core/deliver/mtasts"
	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
)

// level is how well a connection has to be protected at least.
type level uint8

const (
	inClear     level = iota // it is not encrypted
	mayEncrypt               // it is, if that can be had
	mustEncrypt              // it is, whoever the server is
	mustVerify               // it is, and the server showed who it is
)

const smtpsPort = 465 // RFC 8314 section 3.3: TLS from the outset

// Policies are those of MTA-STS.
type Policies interface {
	Lookup(ctx context.Context, domain string) mtasts.Found
}

// demand is what a connection to one address has to be, worked out of what the operator, the sender and the receiving domain ask for. It
// is made anew for each attempt, so nothing that was known of a certificate before is held against the next one.
type demand struct {
	level    level
	implicit bool           // TLS from the outset, without STARTTLS
	requires bool           // the server has to offer REQUIRETLS
	pins     []resolve.TLSA // usable ones: they decide, and no authority
	names    []string       // that the certificate may be for
	sni      string
	by       string // who asks for it, for people
	// testing: a certificate that would not do is noted and used (MTA-STS's mode of that name).
	testing bool
	cert    *tls.Certificate // that the server is shown, if it asks for one
	report  *tlsrpt.Session  // what results are noted under; nil: they are not
}

// id tells demands apart: what was opened for one is never used for another.
func (w *demand) id() string {
	if w.level == inClear {
		return ""
	}
	b := fmt.Appendf(nil, "%d %t %t", w.level, w.implicit, w.requires)
	if w.cert != nil {
		b = fmt.Appendf(b, " %x", sha256.Sum256(w.cert.Certificate[0]))
	}
	if w.level == mustVerify {
		b = fmt.Appendf(b, " %q", w.names)
		for _, p := range w.pins {
			b = fmt.Appendf(b, " %d%d%d%x", p.Usage, p.Selector, p.Matching, p.Data)
		}
	}
	return string(b)
}

func (w *demand) raise(to level, by string) {
	if to > w.level {
		w.level, w.by = to, by
	}
}

// floor is what the plan or else the configuration asks for: of the host itself first, if the plan names it, since it may be quite another
// server than those before it.
func (d *delivery) floor(h hop) message.TLSLevel {
	var own message.TLSLevel
	if d.job.HostTLS != nil && h.named != "" {
		own = d.job.HostTLS(h.named)
	}
	return cmp.Or(d.job.Plan.TLS, own, d.job.TLS, message.TLSAuto)
}

// requireTLS tells whether the sender wants the message never to go in clear (RFC 8689). LMTP on this machine crosses no network. A
// notice goes all the same, by its header alone, rather than be lost (section 5).
func (d *delivery) requireTLS(h hop) bool {
	return d.says.RequireTLS && !d.job.Env.Sender.IsNull() && !(d.lmtp && h.addr.Addr().Unmap().IsLoopback())
}

// demand works out what a connection to an address has to be. A failure keeps this address from being used.
func (d *delivery) demand(h hop) (demand, *failure) {
	if h.socket != "" { // it leads into this machine
		return demand{}, nil
	}
	word, strict := d.floor(h), d.requireTLS(h)
	w := demand{sni: h.host, by: "the route"}
	if d.job.Plan.TLS == "" {
		w.by = "the configuration"
	}
	switch word {
	case message.TLSNone:
		if strict {
			return w, failed(550, "5.7.10", "the message must not go in clear (REQUIRETLS), and TLS is switched off for this next hop")
		}
		return w, nil
	case message.TLSRequired:
		w.level = mustEncrypt
	case message.TLSVerified, message.TLSImplicit:
		w.level, w.implicit = mustVerify, word == message.TLSImplicit
	default:
		w.level = mayEncrypt
	}
	if h.addr.Port() == smtpsPort && !d.lmtp {
		w.implicit = true
		w.raise(mustEncrypt, "port 465") // nothing is said in clear there
	}
	w.cert = d.certificate(d.job.Plan.Source)
	if word != message.TLSOpportunistic {
		if f := d.published(h, &w); f != nil {
			return w, f
		}
	} else if domain := d.policyDomain(h); domain != "" {
		w.report = &tlsrpt.Session{Domain: domain, Policy: tlsrpt.NoPolicy}
	}
	if strict {
		w.requires = true
		w.raise(mustVerify, "REQUIRETLS")
		if h.domain != "" && !h.vouched && !d.listed(h) {
			return w, failed(550, "5.7.10", "the message must not go in clear (REQUIRETLS), and neither DNSSEC nor MTA-STS says that "+h.host+" takes the mail of "+h.domain)
		}
	}
	if w.level == mustVerify && w.names == nil {
		w.names = d.trustedNames(h)
	}
	return w, nil
}

// trustedNames are those that nobody on the way can have made up, so that a certificate for one of them tells that this is the server.
// The DNS alone can be forged: a mail exchanger's name counts if DNSSEC or MTA-STS vouches for it, or if it lies within the domain.
func (d *delivery) trustedNames(h hop) []string {
	domain := h.domain
	switch {
	case h.host == "":
		return []string{h.addr.Addr().Unmap().String()}
	case h.vouched || d.listed(h):
		return []string{h.host}
	case h.host == domain:
		return []string{domain}
	case strings.HasSuffix(h.host, "."+domain):
		return []string{h.host, domain}
	}
	return []string{domain}
}

// listed tells whether the domain's MTA-STS policy names a host.
func (d *delivery) listed(h hop) bool {
	p := d.policy(h).Policy
	return p != nil && p.Mode != mtasts.None && p.Matches(h.host)
}

// policyDomain is the domain that says by MTA-STS what a host has to be: the one whose exchanger it is, or where the plan names the host
// itself, that of its name (RFC 8461 section 3.4). Addresses have none, nor have LMTP and names within a network.
func (d *delivery) policyDomain(h hop) string {
	if h.domain != "" || d.lmtp || !strings.Contains(h.host, ".") {
		return h.domain
	}
	return h.host
}

// policy is the MTA-STS policy that holds for a host. It is looked up when it is first asked for.
func (d *delivery) policy(h hop) mtasts.Found {
	domain := d.policyDomain(h)
	if domain == "" || d.policies == nil || d.floor(h) == message.TLSNone || d.floor(h) == message.TLSOpportunistic {
		return mtasts.Found{}
	}
	found, ok := d.sts[domain]
	if !ok {
		if d.sts == nil {
			d.sts = map[string]mtasts.Found{}
		}
		found = d.policies.Lookup(d.ctx, domain)
		d.sts[domain] = found
	}
	return found
}

// published raises a demand to what the receiving domain publishes: DANE, and where that says nothing, MTA-STS, which never stands in for a
// failing DANE (RFC 8461 section 2). A sender may ask for it not to count (RFC 8689 section 4.2.2, TLS-Required: no).
func (d *delivery) published(h hop, w *demand) *failure {
	domain := d.policyDomain(h)
	if domain != "" {
		w.report = &tlsrpt.Session{Domain: domain, Policy: tlsrpt.NoPolicy}
	}
	base, records, f := d.associations(h)
	if f != nil {
		if d.waived() {
			return nil
		}
		if w.report != nil {
			w.report.Policy = tlsrpt.DANE
			d.note(w, h, tlsrpt.DNSSECInvalid, f.words())
		}
		return f
	}
	if len(records) > 0 && !d.waived() {
		pins := dane.Usable(records)
		if w.report != nil {
			w.report.Policy, w.report.Strings = tlsrpt.DANE, pinned(records)
		}
		if len(pins) > 0 {
			w.raise(mustVerify, "DANE")
			w.by, w.pins, w.sni, w.names = "DANE", pins, base, []string{base}
			if domain != "" {
				w.names = append(w.names, domain)
			}
			return nil
		}
		w.raise(mustEncrypt, "DANE")
	}
	found := d.policy(h)
	p := found.Policy
	applies := p != nil && p.Mode != mtasts.None && !d.waived()
	if applies && w.report.Policy == tlsrpt.NoPolicy {
		w.report.Policy, w.report.Strings, w.report.MX = tlsrpt.STS, []string{"version: STSv1", "mode: " + p.Mode, fmt.Sprintf("max_age: %d", int64(p.MaxAge.Seconds()))}, p.MX
	}
	if found.Problem != "" && w.report != nil { // where an older one applies it is that one's
		d.note(w, h, tlsrpt.Result(found.Problem), found.Why)
	}
	if !applies {
		return nil
	}
	matches := p.Matches(h.host)
	switch {
	case p.Mode == mtasts.Testing && !matches:
		d.note(w, h, tlsrpt.Validation, "not in the policy")
	case p.Mode == mtasts.Testing:
		w.testing, w.names = true, []string{h.host}
	case !matches:
		d.note(w, h, tlsrpt.Validation, "not in the policy")
		return failed(451, "4.7.5", fmt.Sprintf("%s is not among the hosts that the MTA-STS policy of %s names", h.host, domain))
	default:
		w.raise(mustVerify, "MTA-STS")
		w.by, w.names = "MTA-STS", []string{h.host}
	}
	return nil
}

func pinned(records []resolve.TLSA) []string {
	const most = 8 // of those that a result tells
	var s []string
	for _, r := range records[:min(len(records), most)] {
		s = append(s, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data[:min(len(r.Data), 64)]))
	}
	return s
}

// associations finds the TLSA records of a host, and the name that they stand at (RFC 7672 section 2.2). They are asked for only where
// DNSSEC vouches for all that leads to the host: for the others they would say nothing, and some of their name servers answer wrongly.
func (d *delivery) associations(h hop) (base string, records []resolve.TLSA, f *failure) {
	if h.host == "" || !h.vouched || d.resolver == nil {
		return "", nil, nil
	}
	bases := []string{h.host}
	switch {
	case h.secure && h.alias != "": // the name that it really has first (section 2.2.3)
		bases = []string{h.alias, h.host}
	case h.secure:
	case h.alias == "":
		return "", nil, nil
	default:
		// The alias itself may be signed, though it leads to where nothing is.
		a, err := d.resolver.Lookup(d.ctx, h.host, resolve.TypeCNAME)
		if err != nil {
			return "", nil, untold(h.host, err)
		}
		if !a.Authenticated {
			return "", nil, nil
		}
	}
	for _, base := range bases {
		records, secure, err := resolve.LookupTLSA(d.ctx, d.resolver, fmt.Sprintf("_%d._tcp.%s", h.addr.Port(), base))
		if err != nil {
			return "", nil, untold(base, err)
		}
		if secure && len(records) > 0 {
			return base, records, nil
		}
	}
	return "", nil, nil
}

// untold: what cannot be told may be kept from us, so it counts as if it forbade (RFC 7672 section 2.1.2).
func untold(host string, err error) *failure {
	return failed(451, "4.7.5", fmt.Sprintf("whether %s has TLSA records (DANE) cannot be told: %v", host, err))
}

// waived tells whether the sender asks that what the receiving domain publishes be overlooked. What the operator asks for holds all the
// same, and so does REQUIRETLS.
func (d *delivery) waived() bool {
	if d.says.RequireTLS {
		return false
	}
	if d.waiver == nil {
		no := false
		if header, err := message.ReadHeader(d.sent(), message.DefaultHeaderLimits); err == nil {
			value, ok := header.Get("TLS-Required", 0)
			no = ok && strings.EqualFold(strings.TrimSpace(value), "no") && header.Count("TLS-Required") == 1
		}
		d.waiver = &no
	}
	return *d.waiver
}

// note keeps a result for TLS-RPT.
func (d *delivery) note(w *demand, h hop, result tlsrpt.Result, why string) {
	d.Sender.note(w, h, netip.Addr{}, result, why)
}

func (s *Sender) note(w *demand, h hop, from netip.Addr, result tlsrpt.Result, why string) {
	if w.report == nil || s.results == nil {
		return
	}
	r := *w.report
	r.Strings, r.MX = slices.Clone(r.Strings), slices.Clone(r.MX)
	r.Result, r.Reason, r.Host, r.IP, r.From = result, why, h.host, h.addr.Addr(), from
	s.results.Add(&r)
}
