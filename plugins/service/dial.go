package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Bounds of a connection to a host.
const (
	maxDials    = 6                // addresses that are tried
	dialTime    = 10 * time.Second // for one of them
	dialSteps   = 4000
	socketScope = "unix:"
)

// reach is a list of needs with its name: where plugins may connect to.
type reach struct {
	name string
	list func(*capability.Needs) []string
}

// target is where a connection is wanted, as patterns are held against it.
type target struct{ host, port string }

func (t target) String() string { return net.JoinHostPort(t.host, t.port) }

// parseTarget reads host:port. The host becomes what the DNS or an address is compared by.
func parseTarget(text string) (target, error) {
	host, port, err := net.SplitHostPort(text)
	if n, err2 := strconv.ParseUint(port, 10, 16); err != nil || err2 != nil || n == 0 || host == "" {
		return target{}, fmt.Errorf(`%q is not host:port, as "policy.example.org:10040"`, cut(text))
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return target{ip.Unmap().String(), port}, nil
	}
	ascii, err := idna.Lookup.ToASCII(strings.ToLower(strings.TrimSuffix(host, ".")))
	if err != nil || len(ascii) > 253 {
		return target{}, fmt.Errorf("%q is not the name of a host", cut(host))
	}
	return target{ascii, port}, nil
}

// granted checks that the plugin may connect there by that name, or may where it has an address of a network that is granted: that is
// judged when the address is known.
func (r reach) granted(n *capability.Needs, t target) error {
	ip, err := netip.ParseAddr(t.host)
	known := err == nil
	allowed := func(n *capability.Needs) bool {
		for ; n != nil; n = n.Given {
			if !r.names(n, t) && !r.within(n, t, func(net netip.Prefix) bool { return !known || net.Contains(ip) }) {
				return false
			}
		}
		return true
	}
	if allowed(n) {
		return nil
	}
	return r.withheld(n, "a connection to "+t.String(), t, allowed)
}

// names tells whether one list, that of needs or of a grant, has a pattern for the host.
func (r reach) names(n *capability.Needs, t target) bool {
	return slices.ContainsFunc(r.list(n), func(pattern string) bool { return capability.Matches(pattern, t.String()) })
}

// within tells whether it has a network with the port that fits.
func (r reach) within(n *capability.Needs, t target, fits func(netip.Prefix) bool) bool {
	return slices.ContainsFunc(r.list(n), func(entry string) bool {
		net, port, ok := manifest.Network(entry)
		return ok && port == t.port && fits(net)
	})
}

func (r reach) withheld(n *capability.Needs, what string, t target, allowed func(*capability.Needs) bool) error {
	return n.Withheld(what, fmt.Sprintf("%s = {%q}", r.name, t.String()), func(n *capability.Needs) []string {
		if allowed(n) {
			return []string{"*"}
		}
		return nil
	}, t.String())
}

// dial connects to a host. The addresses are found and judged here, and the very address that was judged is connected to: what the
// DNS says a moment later does not matter.
func (h *Host) dial(ctx context.Context, r reach, n *capability.Needs, t target) (net.Conn, error) {
	if err := r.granted(n, t); err != nil {
		return nil, err
	}
	if h.Connect != nil {
		return h.Connect(ctx, t.String())
	}
	addrs, err := h.addresses(ctx, t.host)
	if err != nil {
		return nil, err
	}
	port, _ := strconv.ParseUint(t.port, 10, 16)
	var failed error
	for _, ip := range addrs[:min(len(addrs), maxDials)] {
		if err := h.closed(r, n, t, netip.AddrPortFrom(ip, uint16(port))); err != nil {
			if failed == nil { // what went wrong with one that was granted says more
				failed = err
			}
			continue
		}
		one, cancel := context.WithTimeout(ctx, dialTime)
		conn, err := h.Dial(one, "tcp", netip.AddrPortFrom(ip, uint16(port)).String())
		cancel()
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%s: no connection in time", t)
		}
		failed = fmt.Errorf("%s: %w", t, plainNet(err))
	}
	return nil, failed
}

// closed tells why an address may not be connected to. Of each list either a pattern has the host's name, and it is no special address or
// may be one; or a network has the address, whichever it is: who writes the network down names it.
func (h *Host) closed(r reach, n *capability.Needs, t target, addr netip.AddrPort) error {
	kind := resolve.Special(addr.Addr())
	if kind == "" && h.Own != nil && h.Own(addr) {
		kind = "this server's own"
	}
	ip := addr.Addr().Unmap()
	allowed := func(n *capability.Needs) bool {
		for ; n != nil; n = n.Given {
			list := *n
			list.Given = nil
			if (!r.names(n, t) || kind != "" && !list.AllowPrivate(r.list, t.String())) && !r.within(n, t, func(net netip.Prefix) bool { return net.Contains(ip) }) {
				return false
			}
		}
		return true
	}
	if allowed(n) {
		return nil
	}
	what := fmt.Sprintf("%s has the address %s", t, addr.Addr())
	if kind != "" {
		what += " (" + kind + ")"
	}
	return r.withheld(n, what+", which", t, allowed)
}

// addresses looks a host up with the server's own resolver; localhost is what RFC 6761 section 6.3 says.
func (h *Host) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if host == "localhost" {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	if h.Resolver == nil {
		return nil, errors.New("there is no resolver")
	}
	type result struct {
		found resolve.Addresses
		err   error
	}
	done := make(chan result, 1) // a resolver that does not heed ctx is left alone with its goroutine
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("the resolver failed: %v", p)
			}
			done <- r
		}()
		r.found, r.err = resolve.LookupAddrs(ctx, h.Resolver, host)
	}()
	select {
	case r := <-done:
		if r.err == nil && len(r.found.Addrs) == 0 {
			r.err = fmt.Errorf("%s has no address", host)
		}
		return r.found.Addrs, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", host, errTime)
	}
}

// plainNet is an error of the network without the addresses that the system puts before it.
func plainNet(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
