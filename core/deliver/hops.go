package deliver

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of one attempt.
const (
	maxHosts     = 10 // exchangers that are looked up; a plan has no more hosts than it has places for
	maxAddrs     = 20
	maxHostAddrs = 5 // of one host, so that a dead one with many addresses does not hide the next
)

const smtpPort = 25

// hop is one address to try.
type hop struct {
	host     string // the name it was found under; "" for an address that was given as such
	addr     netip.AddrPort
	named    string // that of a plan's hosts: "host:port"; "" for an exchanger
	fallback bool   // it is one of a plan's hosts beside an MX
	socket   string // its path, in place of an address
	url      string // in place of all that
	private  bool   // the URL may lead to a private address

	domain  string // whose MX it is; "" for what the plan itself names
	vouched bool   // its name cannot have been made up on the way: the plan has it, or DNSSEC for the domain
	secure  bool   // DNSSEC vouches for the address
	alias   string // what the host is called really, if that is another name
}

// String returns "mx1.example.org[192.0.2.1]:25", or "unix:/path".
func (h hop) String() string {
	switch {
	case h.socket != "":
		return "unix:" + h.socket
	case h.url != "":
		return h.url
	}
	b := make([]byte, 0, len(h.host)+48)
	b = append(append(b, h.host...), '[')
	b = h.addr.Addr().AppendTo(b)
	b = append(b, ']', ':')
	return string(strconv.AppendUint(b, uint64(h.addr.Port()), 10))
}

// hops yields what to try, most preferred first. What keeps it from yielding more is recorded and blamed.
func (d *delivery) hops() iter.Seq[hop] {
	return func(yield func(hop) bool) {
		plan := d.job.Plan
		switch fallback := d.fallback(); {
		case d.socket != "":
			yield(hop{socket: d.socket})
		case fallback: // RFC 5321 knows none, but operators do: where nobody answers for a domain a relay of theirs tries on
			d.fallBack(plan, yield)
		case len(plan.Hosts) > 0:
			d.named(plan.Hosts, yield)
		case strings.HasPrefix(plan.MX, "["):
			d.literal(plan.MX, yield)
		case plan.MX != "":
			d.exchangers(plan.MX, yield)
		default:
			d.blame(failed(451, "4.3.5", "the route names no next hop"), "")
		}
	}
}

// fallback tells whether the plan has hosts beside an MX.
func (d *delivery) fallback() bool { return d.job.Plan.MX != "" && len(d.job.Plan.Hosts) > 0 }

// fallBack yields the exchangers, and after them the hosts.
func (d *delivery) fallBack(plan *message.Plan, yield func(hop) bool) {
	stopped := false
	by := func(h hop) bool {
		stopped = !yield(h)
		return !stopped
	}
	if strings.HasPrefix(plan.MX, "[") {
		d.literal(plan.MX, by)
	} else {
		d.exchangers(plan.MX, by)
	}
	if !stopped {
		d.named(plan.Hosts, func(h hop) bool {
			h.fallback = true
			return yield(h)
		})
	}
}

// named yields the hosts of a plan. One that cannot be found or may not be used is a mistake in a configuration, not a fault of the
// mail, so it is never final.
func (d *delivery) named(hosts []string, yield func(hop) bool) {
	left := maxAddrs
	for i, hostport := range hosts {
		if d.fallback() {
			i++ // the first is that of the MX
		}
		private := d.job.Plan.Private&(1<<i) != 0
		if message.IsURL(hostport) {
			if !yield(hop{named: hostport, url: hostport, private: private}) {
				return
			}
			continue
		}
		if addr, err := netip.ParseAddrPort(hostport); err == nil {
			if f := d.closed(hostport, addr, private); f != nil {
				d.missing(hostport, f)
			} else if left--; !yield(hop{named: hostport, addr: addr, vouched: true}) || left == 0 {
				return
			}
			continue
		}
		host, port, err := net.SplitHostPort(hostport)
		n, err2 := strconv.ParseUint(port, 10, 16)
		if err = cmp.Or(err, err2); err != nil {
			d.missing(hostport, failed(451, "4.3.5", "the next hop "+hostport+" is not host:port"))
			continue
		}
		found := d.lookup(host)
		f := found.failure
		if f == nil && len(found.addrs) == 0 {
			f = failed(451, "4.4.4", "the next hop "+host+" has no address")
		}
		if f != nil {
			d.missing(hostport, f)
			continue
		}
		for _, ip := range found.addrs {
			addr := netip.AddrPortFrom(ip, uint16(n))
			if f := d.closed(hostport, addr, private); f != nil {
				d.missing(hostport, f)
			} else if left--; !yield(hop{host: host, named: hostport, addr: addr, vouched: true, secure: found.secure, alias: found.alias}) || left == 0 {
				return
			}
		}
	}
}

// closed tells why mail may not go to an address of a host that a plan names. What is asked here is the very address that is
// connected to.
func (d *delivery) closed(host string, addr netip.AddrPort, private bool) *failure {
	switch kind := resolve.Special(addr.Addr()); {
	case d.self(addr):
		return failed(451, "4.4.6", "the next hop "+host+" is this server itself")
	case kind != "" && !private:
		return failed(451, "4.3.5", fmt.Sprintf("the next hop %s has a %s address (%s), which the plugin that named it is not granted: write needs = { route = {%q} }", host, kind, addr.Addr(), host))
	}
	return nil
}

// self tells whether this server listens at an address. An unspecified one is connected to as loopback.
func (d *delivery) self(addr netip.AddrPort) bool {
	return d.own(netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
}

// loop tells whether an address in an MX list is this server.
func (d *delivery) loop(ip netip.Addr) bool {
	kind := resolve.Special(ip)
	return (kind == "loopback" || kind == "this host") && d.job.Plan.Private&1 == 0 || d.self(netip.AddrPortFrom(ip, smtpPort))
}

// inside tells why mail may not go to an address by way of the DNS: anybody can name one there. It is as final as an exchanger
// without an address is.
func (d *delivery) inside(host string, ip netip.Addr) *failure {
	if kind := resolve.Special(ip); kind != "" && d.job.Plan.Private&1 == 0 {
		return failed(550, "5.4.4", fmt.Sprintf("the mail exchanger %s has a %s address (%s), to which no mail goes by way of the DNS", host, kind, ip))
	}
	return nil
}

// literal yields the address of a domain such as "[192.0.2.1]" (RFC 5321 section 4.1.3).
func (d *delivery) literal(domain string, yield func(hop) bool) {
	ip, ok := smtp.Address{Domain: domain}.Literal()
	switch {
	case !ok:
		d.missing(domain, failed(550, "5.1.2", domain+" is not an address literal"))
	case d.loop(ip):
		d.missing(domain, loops(domain))
	default:
		if f := d.inside(domain, ip); f != nil {
			d.missing(domain, f)
			return
		}
		yield(hop{addr: netip.AddrPortFrom(ip, smtpPort)})
	}
}

// exchangers yields the hosts that take a domain's mail (RFC 5321 section 5.1). Once one of them is this server, by its name
// or an address, it goes with all that are as preferred or less: they would only send the mail back here. So the addresses
// of a preference are all looked up before the first of them is tried.
func (d *delivery) exchangers(domain string, yield func(hop) bool) {
	found, err := resolve.LookupMX(d.ctx, d.resolver, domain, nil)
	if err != nil {
		d.missing(domain, unresolved(err))
		return
	}
	self := strings.TrimSuffix(strings.ToLower(d.hostname()), ".")
	hosts, own, tried := found.Hosts, false, false
	if i := slices.IndexFunc(hosts, func(mx resolve.MX) bool { return mx.Host == self }); i >= 0 {
		own = true
		for i > 0 && hosts[i-1].Preference == hosts[i].Preference {
			i--
		}
		hosts = hosts[:i]
	}
	hosts = hosts[:min(len(hosts), maxHosts)]
	for left := maxAddrs; len(hosts) > 0; {
		same := 1
		for same < len(hosts) && hosts[same].Preference == hosts[0].Preference {
			same++
		}
		results := d.lookupAll(hosts[:same])
		slices.SortStableFunc(results, func(a, b looked) int { return d.late(a) - d.late(b) })
		if slices.ContainsFunc(results, func(r looked) bool { return slices.ContainsFunc(r.addrs, d.loop) }) {
			own = true
			break
		}
		for i, r := range results {
			if r.failure == nil && len(r.addrs) == 0 {
				results[i].failure = failed(550, "5.4.4", "the mail exchanger "+r.host+" has no address")
			}
			if f := results[i].failure; f != nil {
				d.missing(r.host, f)
			}
		}
		for _, r := range results {
			for _, ip := range r.addrs {
				tried = true
				if f := d.inside(r.host, ip); f != nil {
					d.missing(r.host, f)
				} else if left--; !yield(hop{host: r.host, addr: netip.AddrPortFrom(ip, smtpPort), domain: domain, vouched: found.Authenticated, secure: r.secure, alias: r.alias}) || left == 0 {
					return
				}
			}
		}
		hosts = hosts[same:]
	}
	if own && !tried {
		d.missing(domain, loops(domain))
	}
}

func loops(domain string) *failure {
	return failed(554, "5.4.6", "mail for "+domain+" loops back to this server")
}

func unresolved(err error) *failure {
	if e := (*resolve.Error)(nil); errors.As(err, &e) {
		f := failed(e.Code(), e.Enhanced(), e.Error())
		f.away = f.reply.Temporary()
		return f
	}
	f := failed(451, "4.4.3", err.Error())
	f.away = true
	return f
}

type looked struct {
	host    string
	addrs   []netip.Addr
	secure  bool   // DNSSEC vouches for them
	alias   string // what the host is called really
	failure *failure
}

// lookupAll looks up hosts at once.
func (d *delivery) lookupAll(hosts []resolve.MX) []looked {
	results := make([]looked, len(hosts))
	var wait sync.WaitGroup
	for i := 1; i < len(hosts); i++ {
		wait.Go(func() { results[i] = d.lookup(hosts[i].Host) })
	}
	results[0] = d.lookup(hosts[0].Host)
	wait.Wait()
	return results
}

// late is 1 for a host that does not begin with an address of the preferred family.
func (d *delivery) late(l looked) int {
	if len(l.addrs) > 0 && d.prefers(l.addrs[0]) {
		return 0
	}
	return 1
}

func (d *delivery) prefers(ip netip.Addr) bool {
	return d.job.Prefer == "ipv4" && ip.Is4() || d.job.Prefer == "ipv6" && !ip.Is4()
}

// lookup returns the addresses of a host in the resolver's order, the preferred family first, but IPv4 and IPv6 by turns: which of the
// two this machine has a route for is only known by trying, and this way at most one address is tried in vain. A resolver that panics
// could not tell: on a goroutine of lookupAll that would end the server.
func (d *delivery) lookup(host string) (r looked) {
	defer func() {
		if p := recover(); p != nil {
			r = looked{host: host, failure: failed(451, "4.4.3", fmt.Sprintf("%s: the resolver failed: %v", host, p))}
		}
	}()
	found, err := resolve.LookupAddrs(d.ctx, d.resolver, host)
	if err != nil {
		return looked{host: host, failure: unresolved(err)}
	}
	var families [2][]netip.Addr
	for _, ip := range found.Addrs {
		f := 0
		if ip.Is4() != found.Addrs[0].Is4() {
			f = 1
		}
		families[f] = append(families[f], ip)
	}
	if len(families[1]) > 0 && d.prefers(families[1][0]) {
		families[0], families[1] = families[1], families[0]
	}
	addrs := make([]netip.Addr, 0, maxHostAddrs)
	for i := 0; len(addrs) < min(len(found.Addrs), maxHostAddrs); i++ {
		if f := &families[i%2]; len(*f) > 0 {
			addrs = append(addrs, (*f)[0])
			*f = (*f)[1:]
		}
	}
	return looked{host: host, addrs: addrs, secure: found.Authenticated, alias: found.Alias}
}

// missing records and blames what could not be tried.
func (d *delivery) missing(what string, f *failure) {
	d.blame(f, "")
	if d.job.Record != nil {
		d.job.Record(observe.Step{Time: d.now(), Stage: stepStage, Verdict: verdict(f.reply), Detail: fmt.Sprintf("%s: %s", what, text(f.reply))})
	}
}
