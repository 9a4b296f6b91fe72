package esmtp

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/smtp"
)

// Lengths of values in octets, as they came: RFC 3461 sections 4.2 and 4.4, RFC 4954 section 3.
const (
	maxEnvelopeID = 100
	maxOriginal   = 500
	maxAuth       = 500
)

const typeUTF8 = "utf-8" // of addresses, RFC 6533

// xtext decodes a value in which "+" and two hexadecimal digits stand for any octet (RFC 3461 section 4). What it stands for may
// be anything but a control character.
func xtext(p *smtp.Param, most int) (string, error) {
	s := p.Value
	if s == "" || len(s) > most {
		return "", bad(p.Key + " must have 1 to " + strconv.Itoa(most) + " characters")
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			n, err := strconv.ParseUint(s[i+1:min(i+3, len(s))], 16, 8)
			if err != nil || i+3 > len(s) {
				return "", bad("in " + p.Key + " a \"+\" is not followed by two hexadecimal digits")
			}
			c, i = byte(n), i+2
		}
		if c < ' ' || c == 0x7f {
			return "", bad(p.Key + " stands for a control character")
		}
		out = append(out, c)
	}
	return string(out), nil
}

// EncodeXtext is the inverse of what ParseMail and ParseRcpt decode (RFC 3461 section 4).
func EncodeXtext(s string) string {
	const hex = "0123456789ABCDEF"
	if printable(s) && !strings.ContainsAny(s, " +=") {
		return s
	}
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			b = append(b, '+', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// utf8Address decodes utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 section 3): "\x{" and a code point in hexadecimal, "}",
// stands for a character.
func utf8Address(p *smtp.Param) (string, error) {
	fault := bad(p.Key + " is not an address as the type utf-8 has it")
	var b strings.Builder
	for s := p.Value; s != ""; {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1, r == '+', r == '=':
			return "", fault
		case r == '\\':
			point, _, ok := strings.Cut(strings.TrimPrefix(s, `\x{`), "}")
			code, err := strconv.ParseUint(point, 16, 32)
			if !ok || !strings.HasPrefix(s, `\x{`) || err != nil || code > utf8.MaxRune || !utf8.ValidRune(rune(code)) {
				return "", fault
			}
			r, n = rune(code), len(`\x{}`)+len(point)
		}
		if smtp.IsControl(r) {
			return "", bad(p.Key + " stands for a control character")
		}
		b.WriteRune(r)
		s = s[n:]
	}
	if b.Len() == 0 {
		return "", fault
	}
	return b.String(), nil
}

// EncodeUTF8 returns an address as utf-8-addr-xtext, which is ASCII (RFC 6533 section 3).
func EncodeUTF8(s string) string { return encodeUTF8(s, false) }

// encodeUTF8 leaves characters beyond ASCII as they are where native is set: utf-8-addr-unitext.
func encodeUTF8(s string, native bool) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r > '~' && !(native && r > 0x7f) || r == '+' || r == '=' || r == '\\' {
			b.WriteString(`\x{` + strings.ToUpper(strconv.FormatInt(int64(r), 16)) + "}")
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printable tells whether s is printable ASCII, with spaces.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// IsASCII tells whether an address can be sent without SMTPUTF8.
func IsASCII(a smtp.Address) bool { return printable(a.Text) }
