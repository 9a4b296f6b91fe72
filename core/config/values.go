package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// show names a value and its TOML type for a message.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", shorten(v))
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func boolean(v any) (bool, error) {
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s is neither true nor false", show(v))
	}
	return b, nil
}

// text accepts any string but the empty one and those with control characters.
func text(v any) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", fmt.Errorf("%s is not a string in quotes", show(v))
	case s == "":
		return "", errors.New("the string is empty")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("%s has a control character", show(v))
	}
	return s, nil
}

// number accepts whole numbers in a range; wholeNumber is the kind to go with it.
func number(least, most int) parse[int] {
	return func(v any) (int, error) {
		n, ok := v.(int64)
		switch {
		case !ok:
			return 0, fmt.Errorf("%s is not a whole number", show(v))
		case n < int64(least):
			return 0, fmt.Errorf("%d is too small", n)
		case n > int64(most):
			return 0, fmt.Errorf("%d is too large", n)
		}
		return int(n), nil
	}
}

func wholeNumber(into *int, least, most int) target {
	return one(into, fmt.Sprintf("a whole number from %d to %d", least, most), number(least, most))
}

// misspelled is the error for a word that is near a known one; it says what to write by itself.
type misspelled struct{ word, near string }

func (e misspelled) Error() string {
	return fmt.Sprintf("%q is not known; did you mean %q?", shorten(e.word), e.near)
}

// words accepts one of a few strings.
func words(known ...string) parse[string] {
	return func(v any) (string, error) {
		s, err := text(v)
		if err != nil || slices.Contains(known, s) {
			return s, err
		}
		if near := Nearest(s, known); near != "" {
			return "", misspelled{s, near}
		}
		return "", fmt.Errorf("%q is not known", shorten(s))
	}
}

func wordsKind(known ...string) string {
	if len(known) == 1 {
		return strconv.Quote(known[0])
	}
	quoted := make([]string, len(known))
	for i, k := range known {
		quoted[i] = strconv.Quote(k)
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

func oneOf(into *string, known ...string) target {
	return one(into, wordsKind(known...), words(known...))
}

const identifierKind = "up to 64 lower-case letters, digits, - and _, with a letter or digit first"

// identifier accepts the names that operators give to listeners, plugins and tables. They appear in file names, metric
// labels and log lines.
func identifier(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	odd := func(r rune) bool {
		ok := 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
		return !ok
	}
	if len(s) > 64 || s[0] == '-' || s[0] == '_' || strings.ContainsFunc(s, odd) {
		return "", fmt.Errorf("%q is not a name", shorten(s))
	}
	return s, nil
}

// domainName accepts a Domain of RFC 5321 section 4.1.2 (labels of letters, digits and inner hyphens, A-labels
// included) within the limits of RFC 1035 section 2.3.4. An address is not a name: its last label has only digits.
func domainName(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if len(s) > 253 {
		return "", fmt.Errorf("%q is longer than 253 characters", shorten(s))
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		odd := func(r rune) bool {
			ok := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-'
			return !ok
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, odd) {
			return "", fmt.Errorf("%q is not a domain name", shorten(s))
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", fmt.Errorf("%q looks like an address", shorten(s))
	}
	return s, nil
}

// listenAddress accepts IP:port and :port and gives the canonical form. A host name would need DNS to start.
func listenAddress(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q has no port", shorten(s))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("%q is not a port number", shorten(port))
	}
	port = strconv.FormatUint(n, 10)
	if host == "" {
		return ":" + port, nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "", fmt.Errorf("%q is not an IP address", shorten(host))
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// dnsServer accepts an IP address with or without a port, and gives it with one.
func dnsServer(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(ip, 53).String(), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return "", fmt.Errorf("%q is not an IP address with a port", shorten(s))
	}
	return ap.String(), nil
}

// network accepts an IP address, or a network without bits behind its mask.
func network(v any) (netip.Prefix, error) {
	s, err := text(v)
	if err != nil {
		return netip.Prefix{}, err
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return p, fmt.Errorf("%q is neither an IP address nor a network such as 192.0.2.0/24", shorten(s))
	case p != p.Masked():
		return p, fmt.Errorf("%q is an address in the network %s; write the one that is meant", shorten(s), p.Masked())
	}
	return p, nil
}

// unit is a suffix of a duration or a size, with its worth.
type unit struct {
	name  string
	worth int64
}

func durationUnits() []unit {
	return []unit{
		{"d", int64(24 * time.Hour)}, {"h", int64(time.Hour)}, {"m", int64(time.Minute)}, {"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)},
	}
}

// ParseDuration reads whole numbers with the units d (24 hours), h, m, s and ms, largest first, each at most once:
// "36d", "1h30m". There are no signs, fractions or spaces, and "0s" is the only zero.
func ParseDuration(s string) (time.Duration, error) {
	rest, units, total := s, durationUnits(), int64(0)
	for first := true; first || rest != ""; first = false {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		name := rest[digits:]
		if end := strings.IndexAny(name, "0123456789"); end >= 0 {
			name = name[:end]
		}
		i := slices.IndexFunc(units, func(u unit) bool { return u.name == name })
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || i < 0 || n > (math.MaxInt64-total)/units[i].worth {
			return 0, fmt.Errorf("%q is not a duration", shorten(s))
		}
		total += n * units[i].worth
		units = units[i+1:]
		rest = rest[digits+len(name):]
	}
	return time.Duration(total), nil
}

// Quote writes a string as TOML has it.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// FormatDuration writes a duration as ParseDuration reads it, without what is below a millisecond.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	left := int64(max(d, 0))
	for _, u := range durationUnits() {
		if n := left / u.worth; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			left -= n * u.worth
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

func duration(least, most time.Duration) parse[time.Duration] {
	return func(v any) (time.Duration, error) {
		s, err := text(v)
		if err != nil {
			return 0, err
		}
		d, err := ParseDuration(s)
		switch {
		case err != nil:
			return 0, err
		case d < least:
			return 0, fmt.Errorf("%q is too short", s)
		case d > most:
			return 0, fmt.Errorf("%q is too long", s)
		}
		return d, nil
	}
}

func aDuration(into *time.Duration, least, most time.Duration) target {
	kind := fmt.Sprintf("a duration from %s to %s", FormatDuration(least), FormatDuration(most))
	return one(into, kind, duration(least, most))
}

func sizeUnits() []unit {
	return []unit{
		{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
	}
}

// ParseSize reads a whole number of bytes with a unit: B, kB (or KB), MB, GB count in thousands; KiB, MiB, GiB in 1024s.
func ParseSize(s string) (int64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	units := sizeUnits()
	i := slices.IndexFunc(units, func(u unit) bool { return u.name == s[digits:] })
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil || i < 0 || n > math.MaxInt64/units[i].worth {
		return 0, fmt.Errorf("%q is not a size", shorten(s))
	}
	return n * units[i].worth, nil
}

// FormatSize writes a number of bytes as ParseSize reads it, exactly, with the unit that makes it shortest.
func FormatSize(n int64) string {
	best := strconv.FormatInt(n, 10) + "B"
	for _, u := range sizeUnits() {
		if n > 0 && n%u.worth == 0 {
			if s := strconv.FormatInt(n/u.worth, 10) + u.name; len(s) < len(best) {
				best = s
			}
		}
	}
	return best
}

func size(least, most int64) parse[int64] {
	return func(v any) (int64, error) {
		s, err := text(v)
		if err != nil {
			return 0, err
		}
		n, err := ParseSize(s)
		switch {
		case err != nil:
			return 0, err
		case n < least:
			return 0, fmt.Errorf("%q is too small", s)
		case n > most:
			return 0, fmt.Errorf("%q is too large", s)
		}
		return n, nil
	}
}

func aSize(into *int64, least, most int64) target {
	return one(into, fmt.Sprintf("a size from %s to %s", FormatSize(least), FormatSize(most)), size(least, most))
}
