package spf

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// record is a policy as it was parsed. It is never changed.
type record struct {
	directives []directive
	redirect   macros // nil: there is none, or it does not count since there is an "all"
	exp        macros
}

// mechanism is what a directive looks at.
type mechanism uint8

const (
	all mechanism = iota
	include
	a
	mx
	ptr
	ip4
	ip6
	exists
)

// argument says what may follow the name of a mechanism.
type argument uint8

const (
	nothing  argument = iota
	domain            // ":" and a domain
	optional          // the same, or nothing
	lengths           // a domain or nothing, and lengths of prefixes
	network           // ":" and a network
)

var mechanisms = map[string]struct {
	is    mechanism
	takes argument
}{
	"all": {all, nothing}, "include": {include, domain}, "a": {a, lengths}, "mx": {mx, lengths},
	"ptr": {ptr, optional}, "ip4": {ip4, network}, "ip6": {ip6, network}, "exists": {exists, domain},
}

var qualifiers = map[byte]Result{'+': Pass, '-': Fail, '~': Softfail, '?': Neutral}

// directive is a mechanism with what it comes to where it fits.
type directive struct {
	result  Result
	is      mechanism
	target  macros // nil: the domain of the record
	network netip.Prefix
	v4, v6  int    // bits of addresses that are compared
	text    string // as it is published
}

// isRecord tells whether a TXT record is a policy (section 4.5).
func isRecord(text string) bool {
	const version = "v=spf1"
	return len(text) >= len(version) && strings.EqualFold(text[:len(version)], version) && (len(text) == len(version) || text[len(version)] == ' ')
}

// parse reads a record that isRecord; a mistake anywhere in it is an error.
func parse(text string) (*record, error) {
	r := &record{}
	ends := false
	for term := range strings.SplitSeq(text[len("v=spf1"):], " ") {
		if term == "" {
			continue
		}
		if i := strings.IndexAny(term, "=:/"); i >= 0 && term[i] == '=' {
			if err := r.modifier(term, term[:i], term[i+1:]); err != nil {
				return nil, err
			}
			continue
		}
		d, err := parseDirective(term)
		if err != nil {
			return nil, err
		}
		ends = ends || d.is == all
		r.directives = append(r.directives, d)
	}
	if ends {
		r.redirect = nil // section 6.1
	}
	return r, nil
}

var modifierName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)

func (r *record) modifier(term, name, value string) (err error) {
	var into *macros
	switch strings.ToLower(name) {
	case "redirect":
		into = &r.redirect
	case "exp":
		into = &r.exp
	default:
		if !modifierName.MatchString(name) {
			return permanent("%+q is no term: %+q is no name", term, name)
		}
		if _, err := parseMacros(value, inTerm); err != nil {
			return permanent("%+q: %v", term, err)
		}
		return nil
	}
	if *into != nil {
		return permanent("%s stands twice in the record", strings.ToLower(name))
	}
	if *into, err = parseDomain(value); err != nil {
		return permanent("%+q: %v", term, err)
	}
	return nil
}

func parseDirective(term string) (d directive, err error) {
	d = directive{result: Pass, v4: 32, v6: 128, text: term}
	rest := term
	if q, ok := qualifiers[term[0]]; ok {
		d.result, rest = q, term[1:]
	}
	name, after := rest, ""
	if i := strings.IndexAny(rest, ":/"); i >= 0 {
		name, after = rest[:i], rest[i:]
	}
	known, ok := mechanisms[strings.ToLower(name)]
	if !ok {
		return d, permanent("%+q is no mechanism", term)
	}
	d.is = known.is
	if known.takes == lengths {
		if after, err = d.cut(after); err != nil {
			return d, permanent("%+q: %v", term, err)
		}
	}
	value, given := strings.CutPrefix(after, ":")
	switch {
	case !given && after != "", given && known.takes == nothing, !given && (known.takes == domain || known.takes == network):
		return d, permanent("%+q is not how %s is written", term, strings.ToLower(name))
	case !given:
	case known.takes == network:
		if d.network, err = parseNetwork(value, d.is); err != nil {
			return d, permanent("%+q: %v", term, err)
		}
	default:
		if d.target, err = parseDomain(value); err != nil {
			return d, permanent("%+q: %v", term, err)
		}
	}
	return d, nil
}

// cut takes the lengths of prefixes from the end: "/24", "//64" or "/24//64" (section 5.3).
func (d *directive) cut(text string) (rest string, err error) {
	if i := strings.LastIndex(text, "//"); i >= 0 && isDigits(text[i+2:]) {
		if d.v6, err = parseLength(text[i+2:], 128); err != nil {
			return "", err
		}
		text = text[:i]
	}
	if i := strings.LastIndexByte(text, '/'); i >= 0 && isDigits(text[i+1:]) {
		if d.v4, err = parseLength(text[i+1:], 32); err != nil {
			return "", err
		}
		text = text[:i]
	}
	return text, nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// parseLength reads the length of a prefix. A leading zero is a mistake, as it is in an address.
func parseLength(text string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || !isDigits(text) || n > most || len(text) > 1 && text[0] == '0' {
		return 0, fmt.Errorf("/%s is not the length of a prefix from 0 to %d", text, most)
	}
	return n, nil
}

func parseNetwork(text string, is mechanism) (netip.Prefix, error) {
	address, length, cut := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() != (is == ip4) || ip.Zone() != "" {
		if is == ip4 {
			return netip.Prefix{}, fmt.Errorf("%+q is no IPv4 address", address)
		}
		return netip.Prefix{}, fmt.Errorf("%+q is no IPv6 address", address)
	}
	bits := ip.BitLen()
	if cut {
		if bits, err = parseLength(length, bits); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.PrefixFrom(ip, bits).Masked(), nil
}
