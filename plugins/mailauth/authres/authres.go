// Package authres writes Authentication-Results, the header field in which a server tells those behind it what its checks of a message
// came to, and finds forged ones, after RFC 8601.
//
// The field begins with the name of who checked, the authserv-id, and whoever reads it believes those with the name of his own
// server. So one that comes from outside with that name is a forgery, and must be taken out (section 5). A reader may see the name
// where another does not, behind comments, in quotes, folded, in other letters; so what cannot be parsed goes, too (Forged).
package authres

import (
	"fmt"
	"slices"
	"strings"
)

// Field is the name of the field.
const Field = "Authentication-Results"

// Result is the result of one method (section 2.2, resinfo).
type Result struct {
	Method     string // "spf"
	Value      string // "pass"
	Reason     string // for people; "": there is none
	Properties []Property
}

// Property is something of the message that a method looked at: smtp.mailfrom=a@example.org.
type Property struct {
	Type, Name, Value string
}

// Bounds of a field.
const (
	maxResults    = 40
	maxProperties = 12
	maxValue      = 256
	maxBytes      = 8 << 10
	lineLength    = 76
)

// Compose writes the value of a field, folded at each result and where lines are long. Without results it says none. Values that are no
// words are quoted; what cannot stand in a header is replaced by a question mark, and long values are cut. Results beyond the bounds are
// left out. It fails for a name, method or result that cannot stand there.
func Compose(id string, results []Result) (string, error) {
	if id == "" || len(id) > 253 || !printable(id) {
		return "", fmt.Errorf("authserv-id %q is not a name", id)
	}
	w := writer{column: len(Field) + 2}
	if !isToken(id) {
		id = quoted(id)
	}
	w.word(id)
	if len(results) == 0 {
		w.b.WriteByte(';')
		w.word("none")
	}
	for _, r := range results[:min(len(results), maxResults)] {
		if !isKeyword(r.Method) || !isKeyword(r.Value) {
			return "", fmt.Errorf("%q = %q is not a method and its result", r.Method, r.Value)
		}
		words := []string{strings.ToLower(r.Method) + "=" + strings.ToLower(r.Value)}
		if r.Reason != "" {
			words = append(words, "reason="+quoted(clean(r.Reason)))
		}
		for _, p := range r.Properties[:min(len(r.Properties), maxProperties)] {
			if !isKeyword(p.Type) || !isKeyword(p.Name) {
				return "", fmt.Errorf("%q is not a property", p.Type+"."+p.Name)
			}
			if p.Value != "" {
				words = append(words, p.Type+"."+p.Name+"="+value(p.Value))
			}
		}
		size := 0
		for _, word := range words {
			size += len(word) + 4
		}
		if w.b.Len()+size > maxBytes {
			break
		}
		w.b.WriteByte(';')
		w.fold()
		for _, word := range words {
			w.word(word)
		}
	}
	return w.b.String(), nil
}

// writer puts words into lines.
type writer struct {
	b      strings.Builder
	column int
}

func (w *writer) fold() {
	w.b.WriteString("\r\n\t")
	w.column = 8
}

func (w *writer) word(s string) {
	switch last := w.b.Len() - 1; {
	case last < 0 || w.b.String()[last] == '\t':
	case w.column+1+len(s) > lineLength:
		w.fold()
	default:
		w.b.WriteByte(' ')
		w.column++
	}
	w.b.WriteString(s)
	w.column += len(s)
}

// value writes a value as it is, where it is a token, a domain or an address, and else in quotes.
func value(s string) string {
	s = clean(s)
	local, domain, found := strings.Cut(s, "@")
	if s != "" && (isToken(s) || found && isToken(domain) && (local == "" || isDotAtom(local))) {
		return s
	}
	return quoted(s)
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// clean makes a value that may stand in a header.
func clean(s string) string {
	b := []byte(s[:min(len(s), maxValue)])
	for i, c := range b {
		if c < ' ' || c >= 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

// isKeyword is a Keyword of RFC 5321, as methods, results and properties are.
func isKeyword(s string) bool {
	return s != "" && len(s) <= 64 && s[0] != '-' && !slices.ContainsFunc([]byte(s), func(c byte) bool { return !isAlnum(c) && c != '-' && c != '_' })
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isToken is a token of RFC 2045 section 5.1.
func isToken(s string) bool {
	return s != "" && !slices.ContainsFunc([]byte(s), func(c byte) bool { return !isTokenByte(c) })
}

func isTokenByte(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

// isDotAtom is dot-atom-text of RFC 5322 without what tokens do not have either.
func isDotAtom(s string) bool {
	return !slices.ContainsFunc(strings.Split(s, "."), func(atom string) bool { return !isToken(atom) })
}
