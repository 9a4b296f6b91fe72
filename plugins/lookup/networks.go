package lookup

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// address is an IPv4 or IPv6 address as a number.
type address[A any] interface {
	comparable
	compare(A) int
	within(network A, bits int) bool
}

type ipv4 uint32

func (a ipv4) compare(b ipv4) int { return cmp.Compare(a, b) }

func (a ipv4) within(n ipv4, bits int) bool { return uint64(a^n)>>(32-bits) == 0 }

type ipv6 struct{ hi, lo uint64 }

func (a ipv6) compare(b ipv6) int {
	if c := cmp.Compare(a.hi, b.hi); c != 0 {
		return c
	}
	return cmp.Compare(a.lo, b.lo)
}

func (a ipv6) within(n ipv6, bits int) bool {
	if bits <= 64 {
		return (a.hi^n.hi)>>(64-bits) == 0
	}
	return a.hi == n.hi && (a.lo^n.lo)>>(128-bits) == 0
}

func toIPv4(a netip.Addr) ipv4 {
	b := a.As4()
	return ipv4(binary.BigEndian.Uint32(b[:]))
}

func toIPv6(a netip.Addr) ipv6 {
	b := a.As16()
	return ipv6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// networks are sorted by address, the larger of two that begin alike first. Each knows the smallest network around it, so the
// one that an address lies in, if there is any, is the last that begins before the address, or around that one.
type networks[A address[A]] []network[A]

type network[A address[A]] struct {
	start A
	value uint32 // where it begins in the text of values
	rest  uint32 // the length of the prefix, and above it 1 + the place of the network around it
}

const lengthBits = 8 // of rest

func (n *network[A]) length() int { return int(n.rest & (1<<lengthBits - 1)) }
func (n *network[A]) around() int { return int(n.rest>>lengthBits) - 1 }

// written is a network with its line, while the table is made.
type written[A address[A]] struct {
	network[A]
	line int
}

// link puts networks in order. If two are the same, it gives the line of the second.
func link[A address[A]](all []written[A]) (networks[A], int) {
	slices.SortFunc(all, func(a, b written[A]) int {
		return cmp.Or(a.start.compare(b.start), cmp.Compare(a.length(), b.length()), cmp.Compare(a.line, b.line))
	})
	out := make(networks[A], len(all))
	for i := range all {
		n := all[i].network
		around := i - 1
		for around >= 0 && !n.start.within(out[around].start, out[around].length()) {
			around = out[around].around()
		}
		if around >= 0 && out[around].start == n.start && out[around].length() == n.length() {
			return nil, all[i].line
		}
		n.rest |= uint32(around+1) << lengthBits
		out[i] = n
	}
	return out, 0
}

func (ns networks[A]) find(a A) (value uint32, ok bool) {
	i, exact := slices.BinarySearchFunc(ns, a, func(n network[A], a A) int { return n.start.compare(a) })
	if !exact {
		i--
	} else {
		for i+1 < len(ns) && ns[i+1].start == a {
			i++
		}
	}
	for ; i >= 0; i = ns[i].around() {
		if n := &ns[i]; a.within(n.start, n.length()) {
			return n.value, true
		}
	}
	return 0, false
}

// values are texts that entries share.
type values struct {
	text  strings.Builder
	known map[string]uint32
}

// fewValues is how many different ones are looked for; tables have either few or all different ones.
const fewValues = 1000

func (v *values) add(value []byte) uint32 {
	if at, ok := v.known[string(value)]; ok {
		return at
	}
	at := uint32(v.text.Len())
	v.text.Write(value)
	v.text.WriteByte(valueEnd)
	if len(v.known) < fewValues {
		v.known[string(value)] = at
	}
	return at
}

func parseNetworks(r *reader) (*Table, error) {
	v := values{known: map[string]uint32{}}
	var four []written[ipv4]
	var six []written[ipv6]
	err := r.pairs(func(key, value []byte) error {
		p, err := netip.ParsePrefix(string(key))
		if a, other := netip.ParseAddr(string(key)); other == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch a := p.Addr(); {
		case err != nil:
			return r.fail("%q is no network; write it as 192.0.2.0/24, 2001:db8::/32, or a single address", shorten(key))
		case a.Is4In6():
			return r.fail("%s is an IPv4 address in the form of IPv6; write it as IPv4", p)
		case p.Masked() != p:
			return r.fail("%s has bits behind its prefix; do you mean %s?", p, p.Masked())
		}
		n := uint32(p.Bits())
		if p.Addr().Is4() {
			four = append(four, written[ipv4]{network[ipv4]{toIPv4(p.Addr()), v.add(value), n}, r.at})
		} else {
			six = append(six, written[ipv6]{network[ipv6]{toIPv6(p.Addr()), v.add(value), n}, r.at})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n4, twice4 := link(four)
	n6, twice6 := link(six)
	if line := cmp.Or(twice4, twice6); line > 0 {
		r.at = line
		return nil, r.fail("the network stands in a line before; keep one of them")
	}
	text := strings.Clone(v.text.String())
	return &Table{len(n4) + len(n6), func(key string, _ Spend) (string, bool, error) {
		if len(key) > maxKey {
			return "", false, nil
		}
		a, err := netip.ParseAddr(key)
		if err != nil {
			return "", false, nil
		}
		var at uint32
		var ok bool
		if a = a.Unmap().WithZone(""); a.Is4() {
			at, ok = n4.find(toIPv4(a))
		} else {
			at, ok = n6.find(toIPv6(a))
		}
		if !ok {
			return "", false, nil
		}
		rest := text[at:]
		return rest[:strings.IndexByte(rest, valueEnd)], true, nil
	}}, nil
}
