package main

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// own tells whether this server listens at an address: with mail or to be watched. Where a listener has every address of the
// machine, those of its interfaces count.
func (b *bindings) own(addr netip.AddrPort) bool {
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // that is where such a connection goes
	}
	b.mu.Lock()
	var at []net.Addr
	for _, o := range b.open {
		at = append(at, o.net.Addr())
	}
	if b.watch != nil {
		at = append(at, b.watch.net.Addr())
	}
	b.mu.Unlock()
	for _, a := range at {
		t, ok := a.(*net.TCPAddr)
		if !ok || uint16(t.Port) != addr.Port() {
			continue
		}
		bound := t.AddrPort().Addr().Unmap()
		if bound == ip || bound.IsUnspecified() && (ip.IsLoopback() || slices.Contains(b.machine.addresses(), ip)) {
			return true
		}
	}
	return false
}

// machine knows the addresses of this machine's interfaces.
type machine struct {
	mu    sync.Mutex
	read  time.Time
	addrs []netip.Addr
}

// machineFresh is how long a reading counts: addresses change seldom, and reading them takes system calls.
const machineFresh = 10 * time.Second

func (m *machine) addresses() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.read) < machineFresh {
		return m.addrs
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return m.addrs
	}
	m.read, m.addrs = time.Now(), nil
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				m.addrs = append(m.addrs, ip.Unmap())
			}
		}
	}
	return m.addrs
}
