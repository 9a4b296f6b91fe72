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

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of one attempt.
const (
	maxHosts     = 10 // names that are looked up
	maxAddrs     = 20
	maxHostAddrs = 5 // of one host, so that a dead one with many addresses does not hide the next
)

const smtpPort = 25

// hop is one address to try.
type hop struct {
	host string // the name it was found under; "" for an address that was given as such
	addr netip.AddrPort
}

// String returns "mx1.example.org[192.0.2.1]:25".
func (h hop) String() string {
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
		switch {
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

// named yields the hosts of a plan. One that cannot be found is a mistake in a configuration, not a fault of the mail, so it
// is never final.
func (d *delivery) named(hosts []string, yield func(hop) bool) {
	left := maxAddrs
	for _, hostport := range hosts[:min(len(hosts), maxHosts)] {
		if addr, err := netip.ParseAddrPort(hostport); err == nil {
			if left--; !yield(hop{"", addr}) || left == 0 {
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
		addrs, f := d.lookup(host)
		if f == nil && len(addrs) == 0 {
			f = failed(451, "4.4.4", "the next hop "+host+" has no address")
		}
		if f != nil {
			d.missing(hostport, f)
			continue
		}
		for _, ip := range addrs {
			if left--; !yield(hop{host, netip.AddrPortFrom(ip, uint16(n))}) || left == 0 {
				return
			}
		}
	}
}

// literal yields the address of a domain such as "[192.0.2.1]" (RFC 5321 section 4.1.3).
func (d *delivery) literal(domain string, yield func(hop) bool) {
	ip, ok := smtp.Address{Domain: domain}.Literal()
	switch {
	case !ok:
		d.missing(domain, failed(550, "5.1.2", domain+" is not an address literal"))
	case d.own(ip):
		d.missing(domain, loops(domain))
	default:
		yield(hop{"", netip.AddrPortFrom(ip, smtpPort)})
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
		if slices.ContainsFunc(results, func(r looked) bool { return slices.ContainsFunc(r.addrs, d.own) }) {
			own = true
			break
		}
		for i, r := range results {
			if name := hosts[i].Host; r.failure != nil {
				d.missing(name, r.failure)
			} else if len(r.addrs) == 0 {
				d.missing(name, failed(550, "5.4.4", "the mail exchanger "+name+" has no address"))
			}
		}
		for i, r := range results {
			for _, ip := range r.addrs {
				tried = true
				if left--; !yield(hop{hosts[i].Host, netip.AddrPortFrom(ip, smtpPort)}) || left == 0 {
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
		return failed(e.Code(), e.Enhanced(), e.Error())
	}
	return failed(451, "4.4.3", err.Error())
}

type looked struct {
	addrs   []netip.Addr
	failure *failure
}

// lookupAll looks up hosts at once.
func (d *delivery) lookupAll(hosts []resolve.MX) []looked {
	results := make([]looked, len(hosts))
	var wait sync.WaitGroup
	for i := 1; i < len(hosts); i++ {
		wait.Go(func() { results[i].addrs, results[i].failure = d.lookup(hosts[i].Host) })
	}
	results[0].addrs, results[0].failure = d.lookup(hosts[0].Host)
	wait.Wait()
	return results
}

// lookup returns the addresses of a host in the resolver's order, but IPv4 and IPv6 by turns: which of the two this machine
// has a route for is only known by trying, and this way at most one address is tried in vain.
func (d *delivery) lookup(host string) ([]netip.Addr, *failure) {
	found, err := resolve.LookupAddrs(d.ctx, d.resolver, host)
	if err != nil {
		return nil, unresolved(err)
	}
	var families [2][]netip.Addr
	for _, ip := range found.Addrs {
		f := 0
		if ip.Is4() != found.Addrs[0].Is4() {
			f = 1
		}
		families[f] = append(families[f], ip)
	}
	addrs := make([]netip.Addr, 0, maxHostAddrs)
	for i := 0; len(addrs) < min(len(found.Addrs), maxHostAddrs); i++ {
		if f := &families[i%2]; len(*f) > 0 {
			addrs = append(addrs, (*f)[0])
			*f = (*f)[1:]
		}
	}
	return addrs, nil
}

// missing records and blames what could not be tried.
func (d *delivery) missing(what string, f *failure) {
	d.blame(f, "")
	if d.job.Record != nil {
		d.job.Record(observe.Step{Time: d.now(), Stage: stepStage, Verdict: verdict(f.reply), Detail: fmt.Sprintf("%s: %s", what, text(f.reply))})
	}
}
