package service

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/smtp"
)

const maxNetworks = 10_000 // in one call of addr.within

func addrService() Service {
	ip := Arg{Name: "ip", Kind: String}
	return Service{Name: "addr", Doc: "Mail addresses and IP addresses. A mail address is a table of text, mailbox (the local part without quotes) and domain (lower case, A-labels).",
		Funcs: []Func{
			{
				Name: "addr.parse", Args: []Arg{{Name: "text", Kind: String}}, Result: "address?", AtLoad: true, Pure: true,
				Doc: "The address in a text such as user@example.org, without name and angle brackets; nil if it is none.",
				Call: func(c *Context, args []any) (any, error) {
					text := args[0].(string)
					if err := c.spend(len(text)/8, 512); err != nil {
						return nil, err
					}
					a, err := smtp.ParseUTF8Address(text)
					if err != nil {
						return nil, nil
					}
					return address(a.Text, a.Local, a.Domain), nil
				},
			},
			{
				Name: "addr.list", Args: []Arg{{Name: "text", Kind: String}}, Result: "address[]?", AtLoad: true, Pure: true,
				Doc: "The addresses in a header field such as From or To (RFC 5322 section 3.4), those of groups included, names and comments left out; nil if the text is not such a list.",
				Call: func(c *Context, args []any) (any, error) {
					text := args[0].(string)
					if err := c.spend(len(text)/2, 8*len(text)); err != nil {
						return nil, err
					}
					list, ok, err := parseList(text)
					if !ok || err != nil {
						return nil, err
					}
					return list, nil
				},
			},
			{
				Name: "addr.network", Args: []Arg{ip, {Name: "v4bits", Kind: Int}, {Name: "v6bits", Kind: Int}}, Result: "string", AtLoad: true, Pure: true,
				Doc: `The network of an IP address: addr.network("192.0.2.9", 24, 64) is "192.0.2.0/24".`,
				Call: func(_ *Context, args []any) (any, error) {
					a, err := parseIP(args[0].(string))
					if err != nil {
						return nil, err
					}
					v4, v6 := args[1].(int64), args[2].(int64)
					if v4 < 0 || v4 > 32 || v6 < 0 || v6 > 128 {
						return nil, fmt.Errorf("v4bits is %d and v6bits %d; they may be 0 to 32 and 0 to 128", v4, v6)
					}
					bits := int(v6)
					if a.Is4() {
						bits = int(v4)
					}
					return netip.PrefixFrom(a, bits).Masked().String(), nil
				},
			},
			{
				Name: "addr.within", Args: []Arg{ip, {Name: "networks", Kind: List}}, Result: "boolean", AtLoad: true, Pure: true,
				Doc: `Whether an IP address is in one of the networks, each "192.0.2.0/24" or a single address.`,
				Call: func(c *Context, args []any) (any, error) {
					return c.within(args[0].(string), args[1].([]any))
				},
			},
			{
				Name: "addr.reverse", Args: []Arg{ip, {Name: "zone", Kind: String, Optional: true}}, Result: "string", AtLoad: true, Pure: true,
				Doc: `The name under which the DNS knows about an IP address: "9.2.0.192.in-addr.arpa", or with a zone, such as that of a block list, "9.2.0.192.zone".`,
				Call: func(_ *Context, args []any) (any, error) {
					a, err := parseIP(args[0].(string))
					if err != nil {
						return nil, err
					}
					name := resolve.ReverseName(a)
					if zone, ok := args[1].(string); ok {
						labels := strings.TrimSuffix(strings.TrimSuffix(name, "in-addr.arpa"), "ip6.arpa")
						name = labels + strings.TrimPrefix(zone, ".")
					}
					return name, nil
				},
			},
		},
	}
}

func address(text, mailbox, domain string) map[string]any {
	return map[string]any{"text": text, "mailbox": mailbox, "domain": domain}
}

// parseIP reads an IP address; IPv4 in the clothes of IPv6 is IPv4, and zones, which mean something on one host only, are
// dropped.
func parseIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an IP address", cut(s))
	}
	return a.Unmap().WithZone(""), nil
}

func (c *Context) within(ip string, networks []any) (any, error) {
	a, err := parseIP(ip)
	if err != nil {
		return nil, err
	}
	if len(networks) > maxNetworks {
		return nil, fmt.Errorf("%d networks are too many; the most is %d", len(networks), maxNetworks)
	}
	if err := c.spend(2*len(networks), 0); err != nil {
		return nil, err
	}
	in := false
	for i, n := range networks { // to the end, so that a wrong one is found whoever asks
		text, _ := n.(string)
		var p netip.Prefix
		if strings.Contains(text, "/") {
			if p, err = netip.ParsePrefix(text); err == nil && p.Addr().Is4In6() && p.Bits() >= 96 { // as parseIP has addresses
				p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
			}
		} else {
			var single netip.Addr
			single, err = parseIP(text)
			p = netip.PrefixFrom(single, single.BitLen())
		}
		if err != nil {
			if _, is := n.(string); !is {
				return nil, fmt.Errorf("element %d of networks is %s; a network is text, such as \"192.0.2.0/24\"", i+1, TypeName(n))
			}
			return nil, fmt.Errorf("%q is not a network, such as \"192.0.2.0/24\" or \"2001:db8::/32\"", cut(text))
		}
		in = in || p.Contains(a)
	}
	return in, nil
}
