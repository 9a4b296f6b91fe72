package service

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of a list of addresses.
const (
	maxListText  = 256 << 10
	maxAddresses = 5000
)

// parseList reads an address-list of RFC 5322 section 3.4 with the obsolete forms of section 4.4 and raw UTF-8 (RFC 6532). It goes
// once through the text, whatever the text. ok is false when the text is not a list: a part of a list is never given, since a
// reader that goes on behind a fault may see other addresses than the next one. Only more than the bounds is an error.
func parseList(text string) (list []any, ok bool, err error) {
	if len(text) > maxListText {
		return nil, false, fmt.Errorf("the text is longer than %d bytes", maxListText)
	}
	p := listParser{s: text, list: []any{}}
	ok = p.run()
	if len(p.list) > maxAddresses {
		return nil, false, fmt.Errorf("the list has more than %d addresses", maxAddresses)
	}
	return p.list, ok, nil
}

// listParser goes through the text. Words and dots are gathered until a special character says what they were: the name before
// an angle bracket, the name of a group, or a local part.
type listParser struct {
	s    string
	i    int
	list []any

	words    []byte // text of the words and dots, quotes removed
	some     bool   // there are words
	wordLast bool   // the last of them is a word, not a dot
	local    bool   // so far they can be a local part: words with a dot between each two
}

func (p *listParser) reset() { p.words, p.some, p.wordLast, p.local = p.words[:0], false, false, true }

func (p *listParser) run() bool {
	p.reset()
	inGroup, complete := false, false // complete: an address or group ended, a comma or the end must follow
	for {
		if !p.space() {
			return false
		}
		if p.i == len(p.s) {
			return !inGroup && !p.some
		}
		c := p.s[p.i]
		if complete && c != ',' && (c != ';' || !inGroup) {
			return false
		}
		switch c {
		case ',': // empty elements are obs-addr-list
			if p.some {
				return false
			}
			complete = false
			p.i++
		case ';':
			if !inGroup || p.some {
				return false
			}
			inGroup, complete = false, true
			p.i++
		case ':':
			if inGroup || !p.some {
				return false
			}
			inGroup = true
			p.reset()
			p.i++
		case '<':
			p.reset()
			p.i++
			if !p.angle() {
				return false
			}
			complete = true
		case '@':
			if !p.address() {
				return false
			}
			complete = true
		default:
			if !p.word() {
				return false
			}
		}
		if len(p.list) > maxAddresses {
			return false
		}
	}
}

// word reads an atom, a quoted string or a dot of a phrase or local part.
func (p *listParser) word() bool {
	switch c := p.s[p.i]; {
	case c == '.':
		p.local = p.local && p.wordLast
		p.words = append(p.words, '.')
		p.some, p.wordLast = true, false
		p.i++
		return true
	case c == '"':
		p.local = p.local && !p.wordLast
		p.some, p.wordLast = true, true
		return p.quoted()
	}
	start := p.i
	for p.i < len(p.s) && isAtom(p.s[p.i]) {
		p.i++
	}
	p.local = p.local && !p.wordLast
	p.words = append(p.words, p.s[start:p.i]...)
	p.some, p.wordLast = true, true
	return p.i > start
}

func (p *listParser) quoted() bool {
	for p.i++; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch c {
		case '"':
			p.i++
			return true
		case '\r', '\n': // folding, which is no part of the string
			continue
		case '\\':
			if p.i++; p.i == len(p.s) {
				return false
			}
			c = p.s[p.i]
		}
		p.words = append(p.words, c)
	}
	return false
}

// angle reads what follows the opening angle bracket: a source route, which means nothing any more, and the address.
func (p *listParser) angle() bool {
	if !p.space() {
		return false
	}
	if p.i < len(p.s) && (p.s[p.i] == '@' || p.s[p.i] == ',') { // obs-route
		for p.i < len(p.s) && p.s[p.i] != ':' {
			switch p.s[p.i] {
			case ',':
				p.i++
			case '@':
				p.i++
				if _, ok := p.domain(); !ok {
					return false
				}
			default:
				return false
			}
			if !p.space() {
				return false
			}
		}
		if p.i == len(p.s) {
			return false
		}
		p.i++
	}
	for {
		if !p.space() || p.i == len(p.s) {
			return false
		}
		if p.s[p.i] == '@' {
			break
		}
		if !p.word() {
			return false
		}
	}
	if !p.address() || !p.space() || p.i == len(p.s) || p.s[p.i] != '>' {
		return false
	}
	p.i++
	return true
}

// address makes an address of the gathered words and the domain that follows the @.
func (p *listParser) address() bool {
	if !p.local || !p.wordLast {
		return false
	}
	local := string(p.words)
	p.reset()
	p.i++
	domain, ok := p.domain()
	if !ok || !utf8.ValidString(local) || strings.ContainsFunc(local, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false
	}
	p.list = append(p.list, address(quoteLocal(local)+"@"+domain, local, domain))
	return true
}

// domain reads a domain with white space and comments between its parts, and gives it in lower case and A-labels.
func (p *listParser) domain() (string, bool) {
	if !p.space() {
		return "", false
	}
	if p.i < len(p.s) && p.s[p.i] == '[' {
		end := strings.IndexByte(p.s[p.i:], ']')
		if end < 0 {
			return "", false
		}
		literal := p.s[p.i : p.i+end+1]
		p.i += end + 1
		a, err := smtp.ParseAddress("x@" + literal)
		return a.Domain, err == nil
	}
	var b []byte
	for {
		start := p.i
		for p.i < len(p.s) && isAtom(p.s[p.i]) {
			p.i++
		}
		b = append(b, p.s[start:p.i]...)
		if p.i == start || len(b) > 4*255 || !p.space() {
			return "", false
		}
		if p.i == len(p.s) || p.s[p.i] != '.' {
			return canonicalDomain(string(b))
		}
		b = append(b, '.')
		p.i++
		if !p.space() {
			return "", false
		}
	}
}

// canonicalDomain checks a name by its labels. Underscores pass: no host has them, and some mail does.
func canonicalDomain(name string) (string, bool) {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", false
		}
		name = ascii
	}
	if name == "" || len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		odd := func(r rune) bool {
			ok := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
			return !ok
		}
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, odd) {
			return "", false
		}
	}
	return strings.ToLower(name), true
}

// space passes white space and comments. It is false when a comment has no end.
func (p *listParser) space() bool {
	depth := 0
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			depth++
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return true
		case c == ')':
			depth--
		case c == '\\' && depth > 0:
			p.i++
		}
	}
	p.i = min(p.i, len(p.s))
	return depth == 0
}

// isAtom is atext of RFC 5322 section 3.2.3 with the non-ASCII of RFC 6532.
func isAtom(c byte) bool {
	switch {
	case c >= utf8.RuneSelf, c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// quoteLocal writes a local part as an address has it: plain if it can be, else quoted.
func quoteLocal(local string) string {
	plain := true
	for atom := range strings.SplitSeq(local, ".") {
		plain = plain && atom != ""
		for i := 0; i < len(atom); i++ {
			plain = plain && isAtom(atom[i])
		}
	}
	if plain {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}
