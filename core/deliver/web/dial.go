package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/stagepost/stagepost/core/resolve"
)

// closed is the error for an address that must not be connected to.
type closed struct{ why string }

func (c *closed) Error() string { return c.why }

// dialer connects to what URLs name.
type dialer struct{ o *Options }

// dial connects to one of the addresses of a host. What is judged here is the very address that is connected to. It runs on a goroutine of the
// HTTP client's, where a panic would end the server.
func (d dialer) dial(ctx context.Context, network, hostport string) (conn net.Conn, err error) {
	defer func() {
		if p := recover(); p != nil {
			conn, err = nil, fmt.Errorf("the connection failed: %v", p)
		}
	}()
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{ip}
	} else if host == "localhost" { // RFC 6761 section 6.3
		addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	} else {
		found, err := resolve.LookupAddrs(ctx, d.o.Resolver, host)
		if err != nil {
			return nil, err
		}
		addrs = found.Addrs
	}
	failed := errors.New(host + " has no address")
	for _, ip := range addrs[:min(len(addrs), maxAddrs)] {
		addr := netip.AddrPortFrom(ip.Unmap(), uint16(n))
		if err := d.judge(host, addr); err != nil {
			failed = err
			continue
		}
		one, cancel := context.WithTimeout(ctx, dialTime)
		conn, err := d.o.Dial(one, network, addr.String())
		cancel()
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, failed
}

// judge tells why an address must not be connected to.
func (d dialer) judge(host string, addr netip.AddrPort) error {
	if d.o.Private {
		return nil
	}
	kind := resolve.Special(addr.Addr())
	if kind == "" && d.o.Own != nil && d.o.Own(addr) {
		kind = "this server's own"
	}
	switch {
	case kind == "":
		return nil
	case d.o.Name == "":
		return &closed{fmt.Sprintf("%s has the address %s (%s), which the plugin that named it is not granted: write needs = { route = {%q} }", host, addr.Addr(), kind, net.JoinHostPort(host, strconv.Itoa(int(addr.Port()))))}
	}
	return &closed{fmt.Sprintf("%s has the address %s (%s), to which [transport.%s] does not lead: write private = true if it is to", host, addr.Addr(), kind, d.o.Name)}
}
