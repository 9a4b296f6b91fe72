package spf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/resolve"
)

// macros is a macro-string (section 7.1), parsed: literal text and macros in turn.
type macros []macro

type macro struct {
	literal    string // where letter is 0
	letter     byte   // in lower case
	parts      int    // on the right that are taken; 0: all
	reverse    bool
	delimiters string // "": the value is not split, or at dots where parts or reverse want it
	escape     bool   // as a part of a URL
}

// place is where a macro-string stands.
type place uint8

const (
	inTerm        place = iota
	inExplanation       // where spaces may stand, and more letters
)

const (
	manyParts   = 1 << 20  // more parts than any value has: a number is read no further
	domainRoom  = 4 << 10  // of what macros make for a name, the end is kept, of which 253 bytes count
	explainRoom = 64 << 10 // of what macros make for an explanation, of which far less is used
)

// specials are the macros without a letter, and what they stand for.
var specials = map[byte]string{'%': "%", '_': " ", '-': "%20"}

func parseMacros(text string, where place) (macros, error) {
	m := macros{}
	for text != "" {
		i := strings.IndexByte(text, '%')
		if i < 0 {
			i = len(text)
		}
		if i > 0 {
			for _, c := range []byte(text[:i]) {
				if (c < '!' || c > '~') && (c != ' ' || where == inTerm) {
					return nil, fmt.Errorf("the character %+q may not stand in it", c)
				}
			}
			m = append(m, macro{literal: text[:i]})
			text = text[i:]
			continue
		}
		if len(text) < 2 {
			return nil, errors.New("it ends in a %; %% means one")
		}
		if s, ok := specials[text[1]]; ok {
			// With a letter that is none, so that it does not pass for a literal at the end of a domain.
			m, text = append(m, macro{letter: text[1], literal: s}), text[2:]
			continue
		}
		end := strings.IndexByte(text, '}')
		if text[1] != '{' || end < 0 {
			return nil, fmt.Errorf("a %% is followed by {, %%, _ or -, and a { by a }: %+q", shorten(text))
		}
		one, err := parseMacro(text[2:end], where)
		if err != nil {
			return nil, fmt.Errorf("%+q: %w", shorten(text[:end+1]), err)
		}
		m, text = append(m, one), text[end+1:]
	}
	return m, nil
}

// parseMacro reads what stands within braces: a letter, how many parts, whether they are reversed, and what divides them.
func parseMacro(text string, where place) (m macro, err error) {
	if text == "" {
		return m, errors.New("it has no letter")
	}
	m.letter = text[0] | 0x20
	m.escape = text[0] != m.letter
	letters := "slodiphv"
	if where == inExplanation {
		letters += "crt"
	}
	if !strings.Contains(letters, string(m.letter)) {
		return m, fmt.Errorf("%+q is no letter of a macro here", text[:1])
	}
	text = text[1:]
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits > 0 {
		n, err := strconv.Atoi(text[:digits])
		if m.parts = n; err != nil || n > manyParts {
			m.parts = manyParts
		}
		if m.parts == 0 {
			return m, errors.New("it takes no part at all")
		}
		text = text[digits:]
	}
	if text != "" && text[0]|0x20 == 'r' {
		m.reverse, text = true, text[1:]
	}
	if m.delimiters = text; strings.Trim(text, ".-+,/_=") != "" {
		return m, fmt.Errorf("%+q does not divide", shorten(text))
	}
	return m, nil
}

// parseDomain reads a domain-spec: a macro-string that ends in a macro, or in a dot and the name of a top-level domain.
func parseDomain(text string) (macros, error) {
	m, err := parseMacros(text, inTerm)
	if err != nil {
		return nil, err
	}
	if len(m) == 0 {
		return nil, errors.New("the domain is missing")
	}
	last := m[len(m)-1]
	if last.letter != 0 {
		return m, nil
	}
	end := strings.TrimSuffix(last.literal, ".")
	i := strings.LastIndexByte(end, '.')
	if i < 0 || !isTop(end[i+1:]) {
		return nil, fmt.Errorf("%+q does not end in a dot and the name of a top-level domain", shorten(text))
	}
	return m, nil
}

// isTop tells whether a label may be that of a top-level domain: letters, digits and hyphens, not digits alone.
func isTop(label string) bool {
	other := false
	for i := range len(label) {
		switch c := label[i]; {
		case c >= '0' && c <= '9':
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			other = true
		case c == '-' && i > 0 && i < len(label)-1:
			other = true
		default:
			return false
		}
	}
	return other
}

// value is what a macro stands for, before it is split. domain is that of the record.
func (c *check) value(letter byte, domain string) string {
	switch letter {
	case 's':
		return c.local + "@" + c.origin
	case 'l':
		return c.local
	case 'o':
		return c.origin
	case 'd':
		return domain
	case 'i':
		return dotted(c.query.IP.AsSlice(), c.query.IP.Is4())
	case 'p':
		return c.name(domain)
	case 'h':
		return c.query.Helo
	case 'v':
		if c.query.IP.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'c':
		return c.query.IP.String()
	case 'r':
		if c.query.Receiver != "" {
			return c.query.Receiver
		}
		return "unknown"
	default: // 't'
		return strconv.FormatInt(c.query.Time.Unix(), 10)
	}
}

// dotted is an address in parts: octets of IPv4, half octets of IPv6.
func dotted(raw []byte, v4 bool) string {
	const digits = "0123456789ABCDEF"
	var parts []string
	for _, b := range raw {
		if v4 {
			parts = append(parts, strconv.Itoa(int(b)))
		} else {
			parts = append(parts, digits[b>>4:b>>4+1], digits[b&15:b&15+1])
		}
	}
	return strings.Join(parts, ".")
}

// transform does what a macro says of its value.
func (m *macro) transform(value string) string {
	if m.parts > 0 || m.reverse || m.delimiters != "" {
		at := m.delimiters
		if at == "" {
			at = "."
		}
		var parts []string
		for start, i := 0, 0; i <= len(value); i++ {
			if i == len(value) || strings.IndexByte(at, value[i]) >= 0 {
				parts = append(parts, value[start:i])
				start = i + 1
			}
		}
		if m.reverse {
			slices.Reverse(parts)
		}
		if m.parts > 0 && m.parts < len(parts) {
			parts = parts[len(parts)-m.parts:]
		}
		value = strings.Join(parts, ".")
	}
	if m.escape {
		value = escape(value)
	}
	return value
}

// escape writes what is not unreserved in a URL (RFC 3986 section 2.3) as %XX.
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// expand puts the values in. Of what is longer than room, the end is kept, and whole is false.
func (c *check) expand(m macros, domain string, room int) (text string, whole bool) {
	var b []byte
	whole = true
	for i := range m {
		switch one := &m[i]; {
		case one.literal != "":
			b = append(b, one.literal...)
		default:
			b = append(b, one.transform(c.value(one.letter, domain))...)
		}
		if len(b) > 2*room {
			b, whole = append(b[:0], b[len(b)-room:]...), false
		}
	}
	if len(b) > room {
		b, whole = b[len(b)-room:], false
	}
	return string(b), whole
}

// target is the name that a term leads to: the domain of the record, or what its macros make, without the labels on the left that
// are too many (section 7.3). It may be no name at all.
func (c *check) target(m macros, domain string) string {
	if m == nil {
		return domain
	}
	text, _ := c.expand(m, domain, domainRoom)
	text = strings.TrimSuffix(text, ".")
	const longest = 253
	if len(text) > longest {
		i := strings.IndexByte(text[len(text)-longest-1:], '.')
		if i < 0 {
			return ""
		}
		text = text[len(text)-longest+i:]
	}
	return text
}

// explain is what the domain says about a fail; "" where that cannot be had or used (section 6.2).
func (c *check) explain(f found) string {
	if f.record == nil || f.record.exp == nil {
		return ""
	}
	c.explaining = true // what it asks does not count, and changes nothing
	name := c.target(f.record.exp, f.domain)
	if !resolve.Askable(name) {
		return ""
	}
	texts, err := resolve.LookupTXT(c.ctx, c.dns, name)
	if err != nil || len(texts) != 1 {
		return ""
	}
	m, err := parseMacros(texts[0], inExplanation)
	if err != nil {
		return ""
	}
	text, whole := c.expand(m, f.domain, explainRoom)
	if !whole || len(text) > MaxExplanation {
		return ""
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return ""
		}
	}
	return text
}
