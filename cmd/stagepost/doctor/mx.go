package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
)

// exchanger is a host that takes a domain's mail.
type exchanger struct {
	host  string
	addrs resolve.Addresses
}

// exchangers is who takes a domain's mail.
type exchangers struct {
	missing bool // the domain does not exist
	null    bool // it says that it takes none (RFC 7505)
	unknown bool // who does could not be found out
	secure  bool // DNSSEC vouches for the answer
	hosts   []exchanger
}

// names are those of the hosts.
func (e *exchangers) names() (names []string) {
	for _, h := range e.hosts {
		names = append(names, h.host)
	}
	return names
}

// addresses are those of the hosts on the Internet.
func (e *exchangers) addresses() (list []address) {
	for _, h := range e.hosts {
		n := 0
		for _, ip := range h.addrs.Addrs {
			if n == maxAddrs || resolve.Special(ip) != "" || slices.ContainsFunc(list, func(a address) bool { return a.ip == ip }) {
				continue
			}
			n++
			list = append(list, address{ip: ip, host: h.host})
		}
	}
	return list
}

// checkMX finds who takes a domain's mail (RFC 5321 section 5.1, RFC 7505).
func checkMX(ctx context.Context, o Options, domain string) (found exchangers, list []Finding) {
	add := func(l Level, p *Publication, records []string, format string, args ...any) {
		list = append(list, Finding{MX, l, domain, fmt.Sprintf(format, args...), records, p})
	}
	a, err := o.Resolver.Lookup(ctx, domain, resolve.TypeMX)
	switch {
	case err != nil:
		found.unknown = true
		return found, []Finding{unknown(MX, domain, err)}
	case a.Status == resolve.NoDomain:
		found.missing = true
		add(Wrong, nil, nil, "the domain does not exist in the DNS: nobody can send mail to it, and servers refuse mail from it")
		return found, list
	}
	found.secure = a.Authenticated
	if a.Status == resolve.NoData {
		return found, withoutMX(ctx, o, domain, &found)
	}
	var records []resolve.MX
	var null string
	for _, rec := range a.Records {
		if mx, ok := rec.(resolve.MX); ok && mx.Host == "." {
			null = line(domain, "MX", fmt.Sprintf("%d .", mx.Preference))
		} else if ok {
			records = append(records, mx)
		}
	}
	switch {
	case null != "" && len(records) == 0:
		found.null = true
		add(OK, nil, []string{null}, "it says that the domain takes no mail")
		return found, list
	case null != "":
		add(Wrong, instead([]string{null}), []string{null}, "it says that the domain takes no mail, beside records that say who does; servers may bounce all mail for it: take it out, or the others")
	}
	slices.SortStableFunc(records, func(x, y resolve.MX) int {
		return cmp.Or(cmp.Compare(x.Preference, y.Preference), strings.Compare(x.Host, y.Host))
	})
	if len(records) > maxHosts {
		add(Advice, nil, nil, "there are %d exchangers; servers try a few of them in one attempt, and %d are looked at here", len(records), maxHosts)
		records = records[:maxHosts]
	}
	fitting := false
	for _, mx := range records {
		f, host := checkExchanger(ctx, o, domain, mx)
		list = append(list, f...)
		if host == nil {
			continue
		}
		if !slices.ContainsFunc(found.hosts, func(h exchanger) bool { return h.host == host.host }) {
			found.hosts = append(found.hosts, *host)
		}
		fitting = fitting || slices.ContainsFunc(host.addrs.Addrs, netip.Addr.Is4)
	}
	if len(found.hosts) > 0 && !fitting && !slices.ContainsFunc(list, func(f Finding) bool { return f.Level != OK }) {
		add(Advice, nil, nil, "no exchanger has an IPv4 address, and many servers have no other")
	}
	return found, list
}

// withoutMX looks for the address that takes mail where there is no MX.
func withoutMX(ctx context.Context, o Options, domain string, found *exchangers) []Finding {
	host := cmp.Or(o.Hostname, "mail."+domain)
	p := publish(mxLine(domain, 10, host))
	addrs, err := resolve.LookupAddrs(ctx, o.Resolver, domain)
	switch {
	case err != nil:
		found.unknown = true
		return []Finding{unknown(MX, domain, err)}
	case len(addrs.Addrs) == 0:
		text := "there is neither an MX record nor an address: nobody can send mail to the domain, and some servers refuse mail from it; publish who takes its mail"
		if o.Hostname == "" {
			text += ", with your server's name in place of " + host
		}
		text += ", or MX 0 . if nobody shall"
		return []Finding{{MX, Wrong, domain, text, nil, p}}
	}
	found.hosts = []exchanger{{domain, addrs}}
	if f := inside(MX, domain, addrs.Addrs); f != nil {
		return []Finding{*f}
	}
	return []Finding{{MX, Advice, domain, fmt.Sprintf("there is no MX record, so mail goes to the domain's own address (%s), if it takes any; say who takes it", join(addrs.Addrs)), nil, publish(mxLine(domain, 10, domain))}}
}

// checkExchanger looks at one exchanger; nil: it is none that mail can go to.
func checkExchanger(ctx context.Context, o Options, domain string, mx resolve.MX) ([]Finding, *exchanger) {
	record := mxLine(domain, mx.Preference, mx.Host)
	wrong := func(p *Publication, format string, args ...any) ([]Finding, *exchanger) {
		return []Finding{{MX, Wrong, mx.Host, fmt.Sprintf(format, args...), []string{record}, p}}, nil
	}
	if ip, err := netip.ParseAddr(mx.Host); err == nil {
		host := "mail." + domain
		return wrong(instead([]string{record}, addressLine(host, ip.Unmap()), mxLine(domain, mx.Preference, host)), "the exchanger is an address; it has to be a name that has one, or servers do not find it")
	}
	if !isHost(mx.Host) {
		return wrong(nil, "the exchanger is not a name that a host can have")
	}
	addrs, err := resolve.LookupAddrs(ctx, o.Resolver, mx.Host)
	switch {
	case err != nil:
		return []Finding{unknown(MX, mx.Host, err)}, &exchanger{host: mx.Host}
	case len(addrs.Addrs) == 0:
		var p *Publication
		if own := o.at(mx.Host); len(own) > 0 {
			p = publish(addressLines(mx.Host, own)...)
		}
		what := "has no address"
		if addrs.Status == resolve.NoDomain {
			what = "does not exist"
		}
		return wrong(p, "the exchanger %s: no mail gets there; give it an address, or take the record out", what)
	}
	host := &exchanger{mx.Host, addrs}
	if addrs.Alias != "" {
		f, _ := wrong(instead([]string{record}, mxLine(domain, mx.Preference, addrs.Alias)), "the exchanger is an alias (CNAME) of %s, which an exchanger must not be (RFC 2181 section 10.3); some servers refuse it: name the host itself", addrs.Alias)
		return f, host
	}
	if f := inside(MX, mx.Host, addrs.Addrs); f != nil {
		f.Records = []string{record}
		return []Finding{*f}, host
	}
	return []Finding{{MX, OK, mx.Host, fmt.Sprintf("takes mail, with preference %d, at %s", mx.Preference, join(addrs.Addrs)), []string{record}, nil}}, host
}

// inside tells of addresses that no other server can reach.
func inside(s Subject, host string, addrs []netip.Addr) *Finding {
	for _, ip := range addrs {
		if kind := resolve.Special(ip); kind != "" {
			return &Finding{Subject: s, Level: Wrong, About: host, Text: fmt.Sprintf("it has the %s address %s, which servers elsewhere cannot reach", kind, ip)}
		}
	}
	return nil
}

// isHost tells whether a name can be that of a host. The underscore is no part of RFC 952 but is in use.
func isHost(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}

func addressLines(name string, addrs []netip.Addr) (lines []string) {
	for _, ip := range addrs {
		lines = append(lines, addressLine(name, ip))
	}
	return lines
}

func join[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ", ")
}
