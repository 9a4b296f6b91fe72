package resolve

import (
	"net/netip"
	"testing"
)

func TestSpecial(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1": "", "8.8.8.8": "", "100.63.255.255": "", "100.128.0.0": "", "172.15.255.255": "", "172.32.0.0": "", "169.253.0.1": "", "11.0.0.0": "", "126.255.255.255": "", "128.0.0.1": "", "223.255.255.255": "",
		"0.0.0.0": "this host", "0.1.2.3": "this host", "10.0.0.1": "private", "100.64.0.1": "private", "127.0.0.1": "loopback", "127.255.255.255": "loopback",
		"169.254.169.254": "link-local", "172.16.0.1": "private", "172.31.255.255": "private", "192.0.0.8": "reserved", "192.168.1.1": "private", "198.18.0.1": "private", "198.19.255.255": "private",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "reserved",
		"2001:db8::1": "", "2606:4700::1111": "", "fb00::1": "",
		"::": "this host", "::1": "loopback", "fc00::1": "private", "fdff::1": "private", "fe80::1": "link-local", "fe80::1%eth0": "link-local", "fec0::1": "private", "ff02::1": "multicast",
		"100::1": "reserved", "2001::1": "reserved", "64:ff9b:1::a00:1": "private",
		"::ffff:127.0.0.1": "loopback", "::ffff:192.0.2.1": "", "::127.0.0.1": "loopback", "::ffff:169.254.169.254": "link-local",
		"64:ff9b::7f00:1": "loopback", "64:ff9b::a9fe:a9fe": "link-local", "64:ff9b::c000:201": "", "2002:7f00:1::1": "loopback", "2002:a00:1::": "private", "2002:c000:201::1": "",
	} {
		if got := Special(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s is %q, not %q", ip, got, want)
		}
	}
	if got := Special(netip.Addr{}); got != "" {
		t.Errorf("no address is %q", got)
	}
}
