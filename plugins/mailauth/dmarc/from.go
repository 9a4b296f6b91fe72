package dmarc

import (
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/stagepost/stagepost/core/message"
)

// Fault is why a message does not have exactly one author domain.
type Fault string

// The faults, as people read them.
const (
	NoFrom         Fault = "there is no From field"
	SeveralFrom    Fault = "there are several From fields"
	StrayFrom      Fault = "there is a From field behind the end of the header"
	SeveralDomains Fault = "From has addresses of several domains"
	TooMany        Fault = "From has too many addresses"
	Group          Fault = "From has a group of addresses"
	NoDomain       Fault = "an address in From has no domain name"
	Malformed      Fault = "From is not a list of addresses"
	OddLocal       Fault = "an address in From has a local part that looks like another address"
	Decoy          Fault = "a name or comment in From hides another address"
)

// FromError is the error of Author.
type FromError struct{ Fault Fault }

func (e *FromError) Error() string { return string(e.Fault) }

const maxMailboxes = 100

// Author finds the author domain: lower case, A-labels. The content, which may be nil, is the one that the header was read from.
//
// There must be one From field, and in it one domain. The field is read more strictly than RFC 5322 allows, since the mail program that
// shows the message may read it otherwise: no obsolete forms but dots in names, nothing but an address within angle brackets, no
// groups (RFC 6854), no address literals. Several mailboxes of the same domain are fine. So is whatever a name says, unless it
// has another address in angle brackets in it: that is out of scope of DMARC (RFC 9989 section 11.4).
func Author(h *message.Header, content message.Content) (domain string, err *FromError) {
	switch n := h.Count("From"); {
	case n == 0:
		return "", &FromError{NoFrom}
	case n > 1:
		return "", &FromError{SeveralFrom}
	case h.Malformed() && content != nil && stray(h, content):
		return "", &FromError{StrayFrom}
	}
	value, _ := h.Get("From", 0)
	return ParseFrom(value)
}

// stray tells whether a From field follows within what other readers may take for the header.
func stray(h *message.Header, content message.Content) bool {
	values, err := h.Hidden(content, "From")
	return len(values) > 0 || err != nil // unread is not unseen
}

// ParseFrom finds the one domain in the unfolded value of a From field.
func ParseFrom(value string) (domain string, err *FromError) {
	p := fromParser{s: value}
	if fault := p.list(); fault != "" {
		return "", &FromError{fault}
	}
	return p.domains[0], nil
}

// fromParser goes once through the value of a From field.
type fromParser struct {
	s       string
	i       int
	domains []string // each once
	said    []string // names and comments
}

// list reads mailbox-list (RFC 5322 section 3.4).
func (p *fromParser) list() Fault {
	if strings.ContainsFunc(p.s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return Malformed
	}
	for n := 1; ; n++ {
		if fault := p.mailbox(); fault != "" {
			return fault
		}
		if !p.space() {
			return Malformed
		}
		if p.i == len(p.s) {
			break
		}
		switch c := p.s[p.i]; {
		case c == ';' || c == ':':
			return Group
		case c != ',':
			return Malformed
		case n == maxMailboxes:
			return TooMany
		}
		p.i++
	}
	if len(p.domains) > 1 {
		return SeveralDomains
	}
	if p.decoy() {
		return Decoy
	}
	return ""
}

// mailbox reads a name and an address in angle brackets, or an address alone. What comes before the @ or the bracket is gathered
// first: words and dots, and whether anything stands between them.
func (p *fromParser) mailbox() Fault {
	if !p.space() {
		return Malformed
	}
	start, apart := p.i, false
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '<':
			if p.i > start {
				p.said = append(p.said, p.s[start:p.i])
			}
			p.i++
			return p.angle()
		case c == '@':
			if apart || p.i == start {
				return Malformed
			}
			return p.address(p.s[start:p.i])
		case c == '"':
			if !p.quoted() {
				return Malformed
			}
		case c == ':' || c == ';':
			return Group
		case c == ' ' || c == '\t' || c == '(':
			apart = true
			if !p.space() {
				return Malformed
			}
		case c == '.' || isAtom(c):
			p.i++
		default:
			return Malformed
		}
	}
	if start == p.i {
		return NoDomain
	}
	return Malformed
}

// angle reads what follows the opening bracket.
func (p *fromParser) angle() Fault {
	p.blank()
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != '@' {
		switch c := p.s[p.i]; {
		case c == '"':
			if !p.quoted() {
				return Malformed
			}
		case c == '>':
			return NoDomain
		case c == '.' || isAtom(c):
			p.i++
		default:
			return Malformed
		}
	}
	if p.i == len(p.s) || p.i == start { // a source route begins with @
		return Malformed
	}
	if fault := p.address(p.s[start:p.i]); fault != "" {
		return fault
	}
	p.blank()
	if p.i == len(p.s) || p.s[p.i] != '>' {
		return Malformed
	}
	p.i++
	return ""
}

// address checks a local part and reads the domain that follows the @.
func (p *fromParser) address(local string) Fault {
	if inner, quoted := strings.CutPrefix(local, `"`); quoted {
		inner = inner[:len(inner)-1]
		if !strings.HasSuffix(local, `"`) || strings.ContainsAny(inner, `"@<>,:;()[]\`) {
			return OddLocal
		}
	} else if strings.Contains(local, `"`) || slices.Contains(strings.Split(local, "."), "") {
		return Malformed
	}
	if strings.ContainsAny(local, "\uff20\ufe6b") { // other forms of @
		return OddLocal
	}
	p.i++
	start := p.i
	for p.i < len(p.s) && (isAtom(p.s[p.i]) || p.s[p.i] == '.') {
		p.i++
	}
	domain, ok := domainName(p.s[start:p.i])
	if !ok {
		return NoDomain
	}
	if !slices.Contains(p.domains, domain) {
		p.domains = append(p.domains, domain)
	}
	return ""
}

// quoted passes a quoted string.
func (p *fromParser) quoted() bool {
	for p.i++; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '"':
			p.i++
			return true
		case '\\':
			p.i++
		}
	}
	p.i = min(p.i, len(p.s))
	return false
}

// space passes white space and comments. It is false when a comment has no end.
func (p *fromParser) space() bool {
	start, depth := p.i, 0
	for ; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		if depth == 0 && c != ' ' && c != '\t' && c != '(' {
			break
		}
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == '\\' && depth > 0:
			p.i++
		}
	}
	p.i = min(p.i, len(p.s))
	if comments := p.s[start:p.i]; strings.Contains(comments, "(") {
		p.said = append(p.said, comments)
	}
	return depth == 0
}

// blank passes white space alone.
func (p *fromParser) blank() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t') {
		p.i++
	}
}

// decoy tells whether a name or comment holds an address in angle brackets of another domain, or what no name holds.
func (p *fromParser) decoy() bool {
	words := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	for _, text := range p.said {
		decoded, err := words.DecodeHeader(text)
		if err != nil {
			decoded = text
		}
		if strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return true
		}
		for _, piece := range strings.Split(decoded, "<")[1:] {
			piece, _, _ = strings.Cut(piece, ">")
			at := strings.LastIndexByte(piece, '@')
			if at < 0 || strings.ContainsAny(strings.TrimLeft(piece[:at], " "), " \t") {
				continue
			}
			if domain, ok := domainName(strings.Trim(piece[at+1:], ` "\`)); !ok || !slices.Contains(p.domains, domain) {
				return true
			}
		}
	}
	return false
}

// isAtom is atext (RFC 5322 section 3.2.3), or a byte that is not ASCII.
func isAtom(c byte) bool {
	switch {
	case c >= utf8.RuneSelf, c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// domainName gives the canonical form of a name: lower case, U-labels as A-labels (RFC 9989 section 5.3.1). It is false for what is
// none, such as an address.
func domainName(s string) (string, bool) {
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil || !utf8.ValidString(s) {
			return "", false
		}
		s = ascii
	}
	if len(s) > 253 {
		return "", false
	}
	s = strings.ToLower(s)
	number := false
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
		number = true
		for i := range len(label) {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return "", false
			}
			number = number && c >= '0' && c <= '9'
		}
	}
	return s, !number
}
