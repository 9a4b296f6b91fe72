package manifest

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
)

// item says what stands in the list of a capability.
type item struct {
	pattern *regexp.Regexp
	want    string
}

const (
	// hostPattern is host:port in which * stands for any run of characters.
	hostPattern = `\*|([a-z0-9._*-]+|\[[0-9a-f:.*]+\]):[0-9*]{1,5}`
	// netPattern is an IP network with a port; Network says which are right.
	netPattern  = `([0-9.]+/[0-9]{1,2}|\[[0-9a-f:.]+/[0-9]{1,3}\]):[0-9]{1,5}`
	pathPattern = `/[!-~]{1,107}` // what fits into the address of a socket
)

// items are the lists of capabilities whose words are not listed in capability.Capabilities.
var items = map[string]item{
	"http":    {regexp.MustCompile(`^(private|` + netPattern + `|` + hostPattern + `)$`), `"private", a lower-case pattern of host:port, as "api.example.org:443", or an IP network with a port, as "192.0.2.0/24:443"`},
	"net":     {regexp.MustCompile(`^(private|unix:\*|unix:` + pathPattern + `|` + netPattern + `|` + hostPattern + `)$`), `"private", "unix:/path", "unix:*", a lower-case pattern of host:port, as "policy.example.org:10040", or an IP network with a port, as "192.0.2.0/24:25"`},
	"lookup":  {regexp.MustCompile(`^[a-z0-9*][a-z0-9_*-]{0,63}$`), `the name of a lookup, as "users", or a pattern with *`},
	"secrets": {regexp.MustCompile(`^[A-Za-z0-9*][A-Za-z0-9_.*-]*(/[A-Za-z0-9*][A-Za-z0-9_.*-]*)*$`), `the name of a secret, as "dkim/example.org", or a pattern with *`},
	"facts":   {factPattern, wantFact},
	"shape":   {regexp.MustCompile(`^(\*|(site|next-hop|tenant):[!-~]{1,255})$`), `"*", or what mail is about with a pattern of its name: "site:*.example.org", "next-hop:mx:example.org", "tenant:*"`},
	"route":   {regexp.MustCompile(`^(mx|private|transport:[a-z0-9*][a-z0-9_*-]{0,63}|` + hostPattern + `)$`), `"mx", "private", a lower-case pattern of host:port, as "*:587", or "transport:archive"`},
}

// needs decodes the capabilities that package capability declares.
func (d *decoder) needs(at string, n *node, into *capability.Needs) {
	if !n.isTable() {
		d.want(at, n, `a table of capabilities, as { kv = "own" }`)
		return
	}
	known := capability.Capabilities()
	for _, e := range n.keys {
		i := slices.IndexFunc(known, func(c capability.Capability) bool { return c.Name == e.name })
		if i < 0 {
			names := make([]string, len(known))
			for i, c := range known {
				names[i] = c.Name
			}
			d.unknown(e.line, "capability", e.name, in(at), names)
			continue
		}
		d.capability(join(at, e.name), e.node, known[i], into)
	}
}

// capability decodes one key of needs.
func (d *decoder) capability(at string, n *node, c capability.Capability, into *capability.Needs) {
	switch f := c.Field(into).(type) {
	case *bool:
		if c.Values == nil {
			d.boolean(at, n, f)
		} else {
			_, *f = d.oneOf(at, n, "value", c.Values)
		}
	case *capability.Reading:
		if word, ok := d.oneOf(at, n, "value", c.Values); ok {
			*f = capability.Reading(slices.Index(c.Values, word) + 1)
		}
	case *capability.Editing:
		for _, word := range d.words(at, n, "part", c.Values) {
			*f |= 1 << slices.Index(c.Values, word)
		}
	case *[]string:
		d.names(at, n, items[c.Name].pattern, items[c.Name].want, f)
		if c.Name == "http" || c.Name == "net" {
			d.networks(at, n, *f)
		}
	}
}

// Of larger networks than these a part is special, which nobody means who writes them: all of IPv4 has loopback in it.
const (
	minBits4 = 8
	minBits6 = 7 // fc00::/7 is RFC 4193
)

// Network reads an IP network with a port, as "192.0.2.0/24:443" or "[2001:db8::/32]:25". IPv6 networks are no names for IPv4 ones.
func Network(entry string) (network netip.Prefix, port string, ok bool) {
	if !strings.Contains(entry, "/") {
		return netip.Prefix{}, "", false
	}
	text, port, err := net.SplitHostPort(entry)
	if err != nil {
		return netip.Prefix{}, "", false
	}
	network, err = netip.ParsePrefix(text)
	least := minBits4
	if network.Addr().Is6() {
		least = minBits6
	}
	n, err2 := strconv.ParseUint(port, 10, 16)
	ok = err == nil && err2 == nil && n > 0 && network.Bits() >= least && network == network.Masked() && !network.Addr().Is4In6() && strconv.FormatUint(n, 10) == port
	return network, port, ok
}

// networks refuses what looks like a network and is none, or is too large.
func (d *decoder) networks(at string, n *node, list []string) {
	for _, entry := range list {
		if _, _, ok := Network(entry); !ok && strings.Contains(entry, "/") && !strings.HasPrefix(entry, "unix:") {
			d.report(n.line, "%s: %q is no IP network with a port; write its first address, and at least /%d, or /%d for IPv6, as \"192.0.2.0/24:443\" or \"[2001:db8::/32]:25\"", at, entry, minBits4, minBits6)
		}
	}
}

// CoversHost tells whether one entry of http or net is all that another one is.
func CoversHost(given, asked string) bool {
	g, gport, ok := Network(given)
	if !ok {
		return capability.Matches(given, asked)
	}
	a, aport, ok := Network(asked)
	if host, port, err := net.SplitHostPort(asked); !ok && err == nil {
		if ip, err := netip.ParseAddr(host); err == nil {
			a, aport, ok = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), port, true
		}
	}
	return ok && gport == aport && g.Bits() <= a.Bits() && g.Contains(a.Addr())
}

// mayMeet tells whether of two entries, neither of which is all of the other, both may have the same host: what a name is in a network
// is known when it is looked up.
func mayMeet(a, b string) bool {
	_, aport, anet := Network(a)
	_, bport, bnet := Network(b)
	switch {
	case anet && bnet:
		return false
	case anet:
		return strings.HasSuffix(b, ":"+aport) || strings.Contains(b, "*")
	case bnet:
		return strings.HasSuffix(a, ":"+bport) || strings.Contains(a, "*")
	}
	return strings.Contains(a, "*") && strings.Contains(b, "*")
}

// Words says what the plugin needs in the words of the manifest: "kv own", "edit headers".
func Words(n *capability.Needs) []string {
	all := []string{}
	for _, c := range capability.Capabilities() {
		all = append(all, words(c, n)...)
	}
	return all
}

func words(c capability.Capability, n *capability.Needs) (words []string) {
	switch f := c.Field(n).(type) {
	case *bool:
		switch {
		case *f && c.Values != nil:
			words = append(words, c.Name+" "+c.Values[0])
		case *f:
			words = append(words, c.Name)
		}
	case *capability.Reading:
		if *f > 0 {
			words = append(words, c.Name+" "+c.Values[*f-1])
		}
	case *capability.Editing:
		for i, v := range c.Values {
			if *f&(1<<i) != 0 {
				words = append(words, c.Name+" "+v)
			}
		}
	case *[]string:
		for _, v := range *f {
			words = append(words, c.Name+" "+v)
		}
	default:
		panic(fmt.Sprintf("plugins/manifest: needs.%s is a %T, which is not decoded", c.Name, f))
	}
	return words
}
