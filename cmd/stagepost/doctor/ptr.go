package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/stagepost/stagepost/core/resolve"
)

// address is one whose name is looked for.
type address struct {
	ip   netip.Addr
	host string // a name that leads to it, or should
	own  bool   // this server sends from it
}

// own are the addresses of this server.
func (o *Options) own() (list []address) {
	for _, s := range o.Own[:min(len(o.Own), maxHosts)] {
		list = append(list, address{s.IP, s.Helo, true})
	}
	return list
}

// at are the addresses at which this server calls itself by a name.
func (o *Options) at(name string) (list []netip.Addr) {
	for _, a := range o.own() {
		if a.host == name {
			list = append(list, a.ip)
		}
	}
	return list
}

// checkPTR looks for the names of addresses, and whether they lead back (RFC 8601 section 2.7.3 calls that iprev). An address that
// only takes mail need not have one; one that sends has to, or large receivers refuse its mail.
func checkPTR(ctx context.Context, r resolve.Resolver, list []address) []Finding {
	list = slices.DeleteFunc(slices.Clone(list), func(a address) bool {
		return !a.own && slices.ContainsFunc(list, func(b address) bool { return b.own && b.ip == a.ip })
	})
	found := make([][]Finding, len(list))
	var all sync.WaitGroup
	for i, a := range list {
		all.Go(func() { found[i] = checkAddress(ctx, r, a) })
	}
	all.Wait()
	return slices.Concat(found...)
}

func checkAddress(ctx context.Context, r resolve.Resolver, a address) []Finding {
	about, level := a.ip.String(), Advice
	if a.own {
		level = Wrong
		about += " (this server)"
	} else {
		about += " (" + a.host + ")"
	}
	say := func(l Level, p *Publication, records []string, format string, args ...any) []Finding {
		return []Finding{{PTR, l, about, fmt.Sprintf(format, args...), records, p}}
	}
	names, err := resolve.LookupPTR(ctx, r, a.ip)
	if err != nil {
		return []Finding{unknown(PTR, about, err)}
	}
	reverse := resolve.ReverseName(a.ip)
	var records []string
	for _, name := range names {
		records = append(records, line(reverse, "PTR", name+"."))
	}
	p := instead(records, line(reverse, "PTR", a.host+"."))
	if slices.Contains(names, a.host) {
		p = publish(addressLine(a.host, a.ip))
	}
	const provider = "; who the block of addresses belongs to, your provider mostly, has to publish it"
	if len(names) == 0 {
		return say(level, p, nil, "the address has no name, and many servers refuse mail from such%s", provider)
	}
	var back []string
	var last error
	for _, name := range names[:min(len(names), maxAddrs)] {
		switch addrs, err := resolve.LookupAddrs(ctx, r, name); {
		case err != nil:
			last = err
		case slices.Contains(addrs.Addrs, a.ip):
			back = append(back, name)
		}
	}
	switch {
	case len(back) == 0 && last != nil:
		return []Finding{unknown(PTR, about, last)}
	case len(back) == 0:
		return say(level, p, records, "the address has the name %s, but that does not lead back to it, so it counts for nothing%s", strings.Join(names, ", "), provider)
	case a.own && !slices.Contains(back, a.host):
		return say(Advice, p, records, "the address is called %s and that leads back to it, but this server calls itself %s; some servers compare them", strings.Join(back, ", "), a.host)
	}
	return say(OK, nil, records, "the address is called %s, and that leads back to it", strings.Join(back, ", "))
}
