package resolve

import "net/netip"

// special are the blocks of addresses that are not hosts of the Internet, after the registries that RFC 6890 began. Those that are
// set aside for documentation are not among them: nothing answers there, so nothing has to be kept from it.
var special = []struct {
	block netip.Prefix
	name  string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"}, // connections to it go to this host, RFC 1122 section 3.2.1.3
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "private"}, // shared address space, RFC 6598
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"}, // protocol assignments, RFC 6890
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "private"}, // benchmarks, RFC 2544
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"}, // with broadcast
	{netip.MustParsePrefix("::/128"), "this host"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "private"}, // translation within a network, RFC 8215
	{netip.MustParsePrefix("100::/64"), "reserved"},      // discard only, RFC 6666
	{netip.MustParsePrefix("2001::/32"), "reserved"},     // Teredo, RFC 4380: the IPv4 address of a host behind a NAT
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "private"}, // site-local, RFC 3879
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// carriers are the IPv6 blocks that stand for an IPv4 address, and the octet at which that begins.
var carriers = []struct {
	block netip.Prefix
	at    int
}{
	{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible, RFC 4291 section 2.5.5.1
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056
}

// Special tells of an address that is no host of the Internet what it is: "loopback", "private", "link-local", "multicast",
// "reserved" or "this host"; of others "". An IPv6 address that stands for an IPv4 address is what that is.
func Special(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	for _, s := range special {
		if s.block.Contains(ip) {
			return s.name
		}
	}
	for _, c := range carriers {
		if c.block.Contains(ip) {
			b := ip.As16()
			return Special(netip.AddrFrom4([4]byte(b[c.at : c.at+4])))
		}
	}
	return ""
}
