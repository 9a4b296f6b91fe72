package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/stagepost/stagepost/core/resolve"
)

// checkHost looks at the name by which this server calls itself in its greeting and in EHLO (RFC 5321 section 2.3.5).
func checkHost(ctx context.Context, o Options) []Finding {
	say := func(l Level, p *Publication, format string, args ...any) []Finding {
		return []Finding{{Host, l, o.Hostname, fmt.Sprintf(format, args...), nil, p}}
	}
	addrs, err := resolve.LookupAddrs(ctx, o.Resolver, o.Hostname)
	if err != nil {
		return []Finding{unknown(Host, o.Hostname, err)}
	}
	own := o.at(o.Hostname)
	missing := slices.DeleteFunc(slices.Clone(own), func(ip netip.Addr) bool { return slices.Contains(addrs.Addrs, ip) })
	var p *Publication
	if len(missing) > 0 {
		p = publish(addressLines(o.Hostname, missing)...)
	}
	switch {
	case len(addrs.Addrs) == 0:
		return say(Wrong, p, "the name by which this server calls itself has no address, and many servers refuse mail from such")
	case len(missing) > 0:
		return say(Advice, p, "the name leads to %s, and not to %s, from which this server sends", join(addrs.Addrs), join(missing))
	}
	if f := inside(Host, o.Hostname, addrs.Addrs); f != nil {
		return []Finding{*f}
	}
	if len(o.own()) == 0 {
		return say(Advice, nil, "the name leads to %s; from which address this server sends is not known here, where it has private addresses only: see that it is that one", join(addrs.Addrs))
	}
	return say(OK, nil, "the name leads to %s", join(addrs.Addrs))
}
