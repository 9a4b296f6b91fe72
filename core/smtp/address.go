package smtp

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Lengths in octets, RFC 5321 4.5.3.1 and RFC 1035 2.3.4. That of the local part counts it without its quoting, that of
// the path counts everything, a source route too.
const (
	maxLocal  = 64
	maxDomain = 255
	maxLabel  = 63
	maxPath   = 256
)

// Address is a mailbox of the envelope. The zero value is the null path "<>". Values come from ParseAddress, ParseMail
// and ParseRcpt, which let only printable ASCII through and, where SMTPUTF8 allows it, other characters but controls; they
// may be compared, but two that name one mailbox can differ in Text: compare Local and Domain for that.
type Address struct {
	Text   string // as it was given, quoting and case included, without angle brackets and source route
	Local  string // without quoting, case kept, in NFC; it means nothing to anybody but the Domain's own host
	Domain string // lower case, A-labels; an address literal canonical, in brackets; "" for the null path and <postmaster>
}

// IsNull tells whether a is the null path, the sender of what must not be answered.
func (a Address) IsNull() bool { return a.Text == "" }

// String returns Text.
func (a Address) String() string { return a.Text }

// Literal returns the IP address of a Domain that is an address literal. An IPv4 address in IPv6 clothes is returned
// as IPv4, so that a check of one form holds for both.
func (a Address) Literal() (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(a.Domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(inner, "]"), ipv6Tag))
	return ip, err == nil
}

// ParseAddress parses a mailbox without angle brackets (Mailbox of RFC 5321 4.1.2). An error is a Reply: 553 5.6.7 for
// non-ASCII characters, which need SMTPUTF8, otherwise 501.
//
// Domains are host names as RFC 5321 4.1.2 wants them, so an underscore is refused. A last label of digits only is
// refused too: no such domain exists, and it is how an IP address without brackets looks.
func ParseAddress(s string) (Address, error) { return parseAddress(s, false) }

// ParseUTF8Address parses as ParseAddress does what may stand where SMTPUTF8 was given (RFC 6531 section 3.3).
//
// One who looks the address up must find the same, however it was typed. So a U-label of Domain is mapped to its A-label by UTS
// 46, not transitional, and Local is in NFC, as RFC 5198 wants all text to be. What goes on is Text, byte for byte: only the
// Domain's own host may change a local part.
func ParseUTF8Address(s string) (Address, error) { return parseAddress(s, true) }

func parseAddress(s string, utf8 bool) (Address, error) {
	c := scanner{s: s, enhanced: badRecipient, utf8: utf8}
	if len(s) > maxPath-len("<>") {
		return Address{}, c.fail("address is longer than %d octets", maxPath-len("<>"))
	}
	a, err := c.mailbox()
	if err == nil && c.i < len(s) {
		err = c.unexpected("address")
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// Status codes of RFC 3463 for a path that cannot be parsed.
const (
	badRecipient = "5.1.3"
	badSender    = "5.1.7"
)

// scanner walks once through a path, left to right; there is no second reading of any part of it.
type scanner struct {
	s        string
	i        int
	enhanced string // of the replies for errors; tells MAIL from RCPT as well
	utf8     bool   // other characters than ASCII may be there
}

// peek returns the next octet, 0 at the end.
func (c *scanner) peek() byte {
	if c.i == len(c.s) {
		return 0
	}
	return c.s[c.i]
}

func (c *scanner) accept(b byte) bool {
	if c.i == len(c.s) || c.s[c.i] != b {
		return false
	}
	c.i++
	return true
}

func (c *scanner) fail(format string, args ...any) error {
	return NewReply(501, c.enhanced, fmt.Sprintf(format, args...))
}

// unexpected is the error for the octet at c.i, met in a part of an address.
func (c *scanner) unexpected(part string) error {
	switch {
	case c.i == len(c.s):
		return c.fail("%s ends too early", part)
	case c.s[c.i] < utf8.RuneSelf:
		return c.fail("unexpected %+q in %s", rune(c.s[c.i]), part)
	case !utf8.ValidString(c.s):
		return c.fail("%s is not valid UTF-8", part)
	case c.utf8:
		return c.fail("unexpected characters in %s", part)
	}
	return needsUTF8
}

var needsUTF8 = NewReply(553, "5.6.7", "non-ASCII characters need SMTPUTF8")

// path scans a path in angle brackets. A source route is parsed and dropped (RFC 5321 appendix C), a null path is for
// senders alone, and <postmaster> for recipients alone (RFC 5321 4.1.1.3).
func (c *scanner) path() (Address, error) {
	start := c.i
	if !c.accept('<') {
		return Address{}, c.fail("address is not in angle brackets")
	}
	if c.enhanced == badSender && c.accept('>') {
		return Address{}, nil
	}
	for c.accept('@') {
		if _, err := c.domain(); err != nil {
			return Address{}, err
		}
		if c.accept(':') {
			break
		}
		if !c.accept(',') || c.peek() != '@' {
			return Address{}, c.unexpected("source route")
		}
	}
	a, err := c.postmasterOrMailbox()
	if err != nil {
		return Address{}, err
	}
	if !c.accept('>') {
		return Address{}, c.unexpected("address")
	}
	if c.i-start > maxPath {
		return Address{}, c.fail("path is longer than %d octets", maxPath)
	}
	return a, nil
}

func (c *scanner) postmasterOrMailbox() (Address, error) {
	const name = "postmaster"
	if end := c.i + len(name); c.enhanced == badRecipient && end < len(c.s) && c.s[end] == '>' &&
		c.s[c.i-1] == '<' && strings.EqualFold(c.s[c.i:end], name) {
		local := c.s[c.i:end]
		c.i = end
		return Address{Text: local, Local: local}, nil
	}
	return c.mailbox()
}

func (c *scanner) mailbox() (Address, error) {
	start := c.i
	local, err := c.local()
	if err != nil {
		return Address{}, err
	}
	switch {
	case len(local) > maxLocal:
		return Address{}, c.fail("local part is longer than %d octets", maxLocal)
	case ascii(local):
	case !utf8.ValidString(local):
		return Address{}, c.fail("local part is not valid UTF-8")
	case strings.ContainsFunc(local, IsControl):
		return Address{}, c.fail("control character in local part")
	default:
		local = norm.NFC.String(local)
	}
	if !c.accept('@') {
		return Address{}, c.unexpected("local part")
	}
	domain, err := c.domain()
	if err != nil {
		return Address{}, err
	}
	return Address{Text: c.s[start:c.i], Local: local, Domain: domain}, nil
}

func (c *scanner) local() (string, error) {
	if c.accept('"') {
		return c.quoted()
	}
	for start := c.i; ; {
		atom := c.i
		for isAtext(c.peek()) || c.wide() {
			c.i++
		}
		if c.i == atom {
			return "", c.unexpected("local part")
		}
		if !c.accept('.') {
			return c.s[start:c.i], nil
		}
	}
}

// quoted scans the rest of a quoted string and returns what it stands for: a backslash makes the next character plain.
func (c *scanner) quoted() (string, error) {
	start, escapes := c.i, 0
	for ; c.i < len(c.s); c.i++ {
		switch ch := c.s[c.i]; {
		case ch == '"':
			text := c.s[start:c.i]
			c.i++
			if escapes > 0 {
				text = unescape(text)
			}
			return text, nil
		case ch == '\\':
			escapes++
			c.i++
			if !isPrintable(c.peek()) {
				return "", c.unexpected("local part")
			}
		case !isPrintable(ch) && !c.wide():
			return "", c.unexpected("local part")
		}
	}
	return "", c.unexpected("local part")
}

func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// domain scans a host name or an address literal and returns it in canonical form.
func (c *scanner) domain() (string, error) {
	if c.peek() == '[' {
		return c.literal()
	}
	end := c.i
	for ; end < len(c.s) && (isAlnum(c.s[end]) || c.s[end] == '-' || c.s[end] == '.' || c.utf8 && c.s[end] >= utf8.RuneSelf); end++ {
	}
	if name := c.s[c.i:end]; !ascii(name) {
		mapped, err := idna.Lookup.ToASCII(name)
		if err != nil || !ascii(mapped) || !utf8.ValidString(name) {
			return "", c.fail("domain is not a name as RFC 5890 has it")
		}
		c.i = end
		sub := scanner{s: mapped, enhanced: c.enhanced}
		if mapped, err = sub.domain(); err == nil && sub.i < len(sub.s) {
			err = sub.unexpected("domain")
		}
		return mapped, err
	}
	for start := c.i; ; {
		label, numeric := c.i, true
		for isAlnum(c.peek()) || c.peek() == '-' {
			numeric = numeric && c.s[c.i] <= '9' && c.s[c.i] != '-'
			c.i++
		}
		switch {
		case c.i == label:
			return "", c.unexpected("domain")
		case c.s[label] == '-' || c.s[c.i-1] == '-':
			return "", c.fail("label of the domain starts or ends with a hyphen")
		case c.i-label > maxLabel:
			return "", c.fail("label of the domain is longer than %d octets", maxLabel)
		case c.accept('.'):
			continue
		case numeric:
			return "", c.fail("domain ends in digits only; an IP address is written in brackets")
		case c.i-start > maxDomain:
			return "", c.fail("domain is longer than %d octets", maxDomain)
		}
		return strings.ToLower(c.s[start:c.i]), nil
	}
}

// literal scans an address literal (RFC 5321 4.1.3). No tag but IPv6 was ever registered. Zones and leading zeros are
// refused: they mean different hosts to different readers.
func (c *scanner) literal() (string, error) {
	text, _, closed := strings.Cut(c.s[c.i+1:], "]")
	if !closed {
		return "", c.fail("address literal has no closing bracket")
	}
	ip, ok := parseLiteral(text)
	if !ok {
		return "", c.fail("address literal is neither IPv4 nor IPv6: and an IPv6 address")
	}
	c.i += len(text) + 2
	if ip.Is4() {
		return "[" + ip.String() + "]", nil
	}
	return "[" + ipv6Tag + ip.String() + "]", nil
}

const ipv6Tag = "IPv6:"

// parseLiteral parses what is between the brackets of an address literal.
func parseLiteral(s string) (netip.Addr, bool) {
	tagged := len(s) > len(ipv6Tag) && strings.EqualFold(s[:len(ipv6Tag)], ipv6Tag)
	if tagged {
		s = s[len(ipv6Tag):]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || ip.Is6() != tagged {
		return netip.Addr{}, false
	}
	return ip.Unmap(), true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isAtext(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '/', '=', '?', '^', '_', '`', '{', '|', '}', '~':
		return true
	}
	return isAlnum(c)
}

func isPrintable(c byte) bool { return c >= ' ' && c <= '~' }

// wide tells whether a part of a character beyond ASCII comes next, and may.
func (c *scanner) wide() bool { return c.utf8 && c.i < len(c.s) && c.s[c.i] >= utf8.RuneSelf }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// IsControl tells whether a character may stand in no address: one that controls a device, the end of a line or the direction of
// what stands beside it, or no character at all.
func IsControl(r rune) bool {
	return unicode.Is(unicode.Cc, r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp, unicode.Noncharacter_Code_Point) || r == '\uFEFF'
}
