package main

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stagepost/stagepost/core/config"
)

// TestOwn: what this server listens at is known, on every address of the machine where it listens on all.
func TestOwn(t *testing.T) {
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	all, one, watched := listen(":0"), listen("127.0.0.1:0"), listen("127.0.0.1:0")
	b := &bindings{open: []*binding{{listener: config.Listener{Name: "all"}, net: all}, {listener: config.Listener{Name: "one"}, net: one}}, watch: &watching{net: watched}}
	port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }
	ask := func(ip string, l net.Listener) bool {
		return b.own(netip.AddrPortFrom(netip.MustParseAddr(ip), port(l)))
	}
	for _, c := range []struct {
		ip   string
		l    net.Listener
		want bool
	}{
		{"127.0.0.1", all, true}, {"127.9.9.9", all, true}, {"::1", all, true}, {"0.0.0.0", all, true}, {"::", all, true}, {"::ffff:127.0.0.1", all, true}, {"192.0.2.1", all, false},
		{"127.0.0.1", one, true}, {"127.9.9.9", one, false}, {"0.0.0.0", one, true}, {"::", one, true}, {"192.0.2.1", one, false},
		{"127.0.0.1", watched, true},
	} {
		if got := ask(c.ip, c.l); got != c.want {
			t.Errorf("%s at the port of %s: %v", c.ip, c.l.Addr(), got)
		}
	}
	for _, ip := range b.machine.addresses() {
		if !ask(ip.String(), all) {
			t.Errorf("%s is of this machine", ip)
		}
	}
	if b.own(netip.MustParseAddrPort("127.0.0.1:1")) {
		t.Error("nobody listens at port 1")
	}
}
