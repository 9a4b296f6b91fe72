package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/hooks"
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
	list func(*hooks.Needs) []string
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

// granted checks that the plugin may connect there by that name.
func (r reach) granted(n *hooks.Needs, where string) error {
	return n.RefuseName("a connection to "+where, r.name, where)
}

// dial connects to a host. The addresses are found and judged here, and the very address that was judged is connected to: what the
// DNS says a moment later does not matter.
func (h *Host) dial(ctx context.Context, r reach, n *hooks.Needs, t target) (net.Conn, error) {
	if err := r.granted(n, t.String()); err != nil {
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
			failed = err
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

// closed tells why an address may not be connected to.
func (h *Host) closed(r reach, n *hooks.Needs, t target, addr netip.AddrPort) error {
	kind := resolve.Special(addr.Addr())
	if kind == "" && h.Own != nil && h.Own(addr) {
		kind = "this server's own"
	}
	if kind == "" || n.AllowPrivate(r.list, t.String()) {
		return nil
	}
	what := fmt.Sprintf("%s has the address %s (%s), which", t, addr.Addr(), kind)
	return n.Withheld(what, fmt.Sprintf("%s = {%q}", r.name, t.String()), func(n *hooks.Needs) []string {
		if n.AllowPrivate(r.list, t.String()) {
			return []string{"*"}
		}
		return nil
	}, t.String())
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
