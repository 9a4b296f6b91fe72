package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/deliver/dane"
	"github.com/stagepost/stagepost/core/resolve"
)

// checkTLSA looks at the TLSA records of the hosts that take a domain's mail (RFC 7672). Whether they fit to the certificate that a
// host shows is known of this server's own only.
func checkTLSA(ctx context.Context, o Options, domain string, found exchangers) (list []Finding) {
	signs := false
	for _, h := range found.hosts {
		of := checkHostTLSA(ctx, o, domain, h)
		list = append(list, of...)
		signs = signs || len(of) > 0 && len(of[0].Records) > 0
	}
	if signs && !found.secure && validates(ctx, o.Resolver) {
		list = append(list, Finding{TLSA, Advice, domain, "the MX records of the domain are not signed by DNSSEC, so servers can be led to other hosts, whatever the TLSA records of these ones say: sign the domain's zone", nil, nil})
	}
	return list
}

func checkHostTLSA(ctx context.Context, o Options, domain string, h exchanger) (list []Finding) {
	name := "_25._tcp." + h.host
	records, secure, err := resolve.LookupTLSA(ctx, o.Resolver, name)
	if err != nil {
		f := unknown(TLSA, name, err)
		f.Text += "; as long as this fails for others, too, servers that go by DANE keep mail for the host waiting"
		return []Finding{f}
	}
	own := o.certificates(h.host)
	var p *Publication
	if own != nil {
		p = publish(pinLine(name, own[0]))
	}
	var lines []string
	for _, r := range records {
		lines = append(lines, tlsaLine(name, r))
	}
	add := func(l Level, p *Publication, format string, args ...any) {
		list = append(list, Finding{TLSA, l, name, fmt.Sprintf(format, args...), lines, p})
	}
	if len(records) == 0 {
		switch {
		case h.addrs.Authenticated && own != nil:
			add(Advice, p, "there is no record, and the zone is signed by DNSSEC: with this one, of the certificate that this server shows, servers would send mail encrypted, and to nobody else")
		case h.addrs.Authenticated:
			add(Advice, nil, "there is no record, and the zone is signed by DNSSEC: with one, of the key of the host's certificate (3 1 1 and its SHA-256), servers would send mail encrypted, and to nobody else")
		default:
			add(Advice, nil, "there is no record; it would need a zone that is signed by DNSSEC, which this resolver does not tell of that of %s", h.host)
		}
		return list
	}
	switch {
	case secure:
	case validates(ctx, o.Resolver):
		add(Wrong, nil, "DNSSEC does not vouch for the records, so they count for nothing: sign the zone, or take them out")
		return list
	default:
		add(Unknown, nil, "whether DNSSEC vouches for the records is not known: the resolver does not validate, or is not believed ([resolver] trusted)")
	}
	usable := dane.Usable(records)
	for i, r := range records {
		if why := unusable(r); why != "" {
			list = append(list, Finding{TLSA, Wrong, name, why, lines[i : i+1], instead(lines[i:i+1], pinLines(p)...)})
		}
	}
	switch {
	case len(usable) == 0:
		add(Wrong, nil, "none of the records can be used, so servers encrypt, but do not verify who they talk to")
	case own != nil:
		if _, err := dane.Verify(usable, own, []string{h.host, domain}, o.Now()); err != nil {
			p.Remove = lines
			add(Wrong, p, "the certificate that this server shows is none of those that the records name (%v): servers that go by DANE bring no mail", err)
		}
	}
	if len(list) == 0 {
		text := "the records can be used, and DNSSEC vouches for them"
		if own != nil {
			text += "; they fit to the certificate that this server shows"
		}
		add(OK, nil, "%s", text)
	}
	return list
}

// unusable says why a record counts for nothing (RFC 7672 section 3.1); "": it can be used.
func unusable(r resolve.TLSA) string {
	sizes := map[uint8]int{1: 32, 2: 64}
	size, hashed := sizes[r.Matching]
	switch {
	case len(dane.Usable([]resolve.TLSA{r})) > 0:
		return ""
	case r.Usage == 0 || r.Usage == 1:
		return fmt.Sprintf("a record with usage %d leans on public authorities, which is not used for mail, and counts for nothing; usage 3 names the server's own key", r.Usage)
	case r.Usage > 3 || r.Selector > 1 || r.Matching > 2:
		return fmt.Sprintf("a record %d %d %d is of a kind that servers do not know, and counts for nothing", r.Usage, r.Selector, r.Matching)
	case hashed && len(r.Data) != size:
		return fmt.Sprintf("a record has a hash of %d octets in place of %d, and counts for nothing", len(r.Data), size)
	}
	return "a record holds neither a certificate nor a key, and counts for nothing"
}

// certificates are the chain that this server shows under a name; nil: it is not this server's.
func (o *Options) certificates(host string) Chain {
	if host != o.Hostname {
		return nil
	}
	for _, c := range o.Certificates {
		if len(c) > 0 && c[0].VerifyHostname(host) == nil {
			return c
		}
	}
	return nil
}

// pinLine is a record of a certificate's key, which outlives a renewal with the same key (RFC 7671 section 5.1).
func pinLine(name string, c *x509.Certificate) string {
	return line(name, "TLSA", fmt.Sprintf("3 1 1 %x", sha256.Sum256(c.RawSubjectPublicKeyInfo)))
}

func pinLines(p *Publication) []string {
	if p == nil {
		return nil
	}
	return p.Lines
}

func tlsaLine(name string, r resolve.TLSA) string {
	return line(name, "TLSA", strings.TrimSpace(fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data)))
}
