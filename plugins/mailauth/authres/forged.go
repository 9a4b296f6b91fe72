package authres

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Forged tells whether the value of a field that came in says that one of these names checked the message, or cannot be parsed, so
// that it cannot be told what another reader sees in it. Folding may still be there.
func Forged(fieldValue string, ids ...string) bool {
	p := parser{s: fieldValue}
	id, ok := p.payload()
	if !ok {
		return true
	}
	for _, own := range ids {
		if canonical(own) == canonical(id) {
			return true
		}
	}
	return false
}

// canonical is the form in which names are compared. White space in quotes might be folding to another reader.
func canonical(id string) string {
	id = strings.TrimSuffix(strings.Join(strings.Fields(id), ""), ".")
	if strings.ContainsFunc(id, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if ascii, err := idna.Lookup.ToASCII(id); err == nil {
			id = ascii
		}
	}
	return strings.ToLower(id)
}

// parser goes once through a value. It takes what the grammar of section 2.2 allows, and in values of properties what is written in
// practice, such as base64 without quotes.
type parser struct {
	s string
	i int
}

// payload reads authres-payload.
func (p *parser) payload() (id string, ok bool) {
	if !p.space() {
		return "", false
	}
	if id, ok = p.value(); !ok || !p.space() {
		return "", false
	}
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' { // the version
		p.i++
	}
	for first := true; ; first = false {
		if !p.space() {
			return "", false
		}
		if p.i == len(p.s) {
			return id, !first
		}
		if p.s[p.i] != ';' {
			return "", false
		}
		p.i++
		if ok = p.result(first); !ok {
			return "", false
		}
	}
}

// result reads what follows a semicolon: none, a method with its result and properties, or, as many write at the end, nothing.
func (p *parser) result(first bool) bool {
	if !p.space() {
		return false
	}
	if p.i == len(p.s) {
		return !first
	}
	method := p.keyword()
	if method == "" || !p.space() {
		return false
	}
	if first && strings.EqualFold(method, "none") && p.i == len(p.s) {
		return true
	}
	if p.accept('/') { // its version
		if !p.space() || p.keyword() == "" || !p.space() {
			return false
		}
	}
	if !p.accept('=') || !p.space() || p.keyword() == "" {
		return false
	}
	for {
		if !p.space() {
			return false
		}
		if p.i == len(p.s) || p.s[p.i] == ';' {
			return true
		}
		if !p.property() {
			return false
		}
	}
}

// property reads reason=value or ptype.property=value.
func (p *parser) property() bool {
	name := p.keyword()
	if name == "" || !p.space() {
		return false
	}
	if p.accept('.') {
		if !p.space() || p.keyword() == "" || !p.space() {
			return false
		}
	} else if !strings.EqualFold(name, "reason") {
		return false
	}
	if !p.accept('=') || !p.space() {
		return false
	}
	start := p.i
	for p.i < len(p.s) {
		c := p.s[p.i]
		if c == '"' {
			if _, ok := p.quoted(); !ok {
				return false
			}
		} else if c <= ' ' || c == 0x7f || c == ';' || c == '(' || c == ')' || c == '\\' {
			break
		} else {
			p.i++
		}
	}
	return p.i > start
}

func (p *parser) accept(c byte) bool {
	if p.i == len(p.s) || p.s[p.i] != c {
		return false
	}
	p.i++
	return true
}

func (p *parser) keyword() string {
	start := p.i
	for p.i < len(p.s) && (isAlnum(p.s[p.i]) || p.s[p.i] == '-' || p.s[p.i] == '_') {
		p.i++
	}
	return p.s[start:p.i]
}

// value reads a token, which may have UTF-8 in it (section 2.2), or a quoted string.
func (p *parser) value() (string, bool) {
	if p.i < len(p.s) && p.s[p.i] == '"' {
		return p.quoted()
	}
	start := p.i
	for p.i < len(p.s) && (isTokenByte(p.s[p.i]) || p.s[p.i] >= utf8.RuneSelf) {
		p.i++
	}
	text := p.s[start:p.i]
	return text, text != "" && utf8.ValidString(text)
}

// quoted reads a quoted string. Folding in it is white space.
func (p *parser) quoted() (string, bool) {
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch {
		case c == '"':
			p.i++
			return b.String(), utf8.ValidString(b.String())
		case c == '\\':
			if p.i++; p.i == len(p.s) {
				return "", false
			}
			c = p.s[p.i]
		case p.folding():
			continue
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// folding tells whether a line end that is followed by white space is here, and goes to its last byte.
func (p *parser) folding() bool {
	rest := p.s[p.i:]
	n := 0
	if strings.HasPrefix(rest, "\r\n") {
		n = 2
	} else if strings.HasPrefix(rest, "\n") {
		n = 1
	}
	if n == 0 || len(rest) > n && rest[n] != ' ' && rest[n] != '\t' {
		return false
	}
	p.i += n - 1
	return true
}

// space passes white space, folding and comments. It is false for a comment without an end, and for control characters.
func (p *parser) space() bool {
	depth := 0
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			if p.i++; p.i == len(p.s) {
				return false
			}
		case c == ' ' || c == '\t' || p.folding():
		case c < ' ' || c == 0x7f:
			return false
		case depth == 0:
			return true
		}
	}
	return depth == 0
}
