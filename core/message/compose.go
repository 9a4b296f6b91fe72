package message

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"
)

// Line lengths without CRLF (RFC 5322 section 2.1.1).
const (
	maxLine  = 998
	softLine = 78
)

// compose makes a field of plain text. Text outside ASCII becomes encoded words (RFC 2047) as in an unstructured field,
// unless h.UTF8; whoever writes addresses with such names encodes the names alone and gives the result.
func (h *Header) compose(name, value string) (rawField, error) {
	if !validName(name) {
		return rawField{}, fmt.Errorf("header field name %q: a name is printable ASCII without colon and space", name)
	}
	fail := func(why string) (rawField, error) {
		return rawField{}, fmt.Errorf("header field %q: %s", name, why)
	}
	if !utf8.ValidString(value) {
		return fail("the value is not valid UTF-8")
	}
	folded := strings.Contains(value, "\r\n")
	for i := range len(value) {
		switch c := value[i]; {
		case c == '\r' && i+2 < len(value) && value[i+1] == '\n' && isSpace(value[i+2]):
		case c == '\n' && i > 0 && value[i-1] == '\r': // the CR saw that white space follows
		case c < ' ' && c != '\t', c == 0x7f:
			return fail(fmt.Sprintf("the value has the control character %q at byte %d; a line may only be folded by CR LF and a space or tab",
				c, i))
		}
	}
	if !h.UTF8 && !isASCII(value) {
		if folded {
			return fail("a value with its own folding must be ASCII")
		}
		value = encodeWords(value)
	}
	b := make([]byte, 0, len(name)+len(value)+8+len(value)/softLine*2)
	b = append(b, name...)
	b = append(b, ':', ' ')
	if folded {
		b = append(b, value...)
	} else {
		b = appendFolded(b, strings.Trim(value, " \t"))
	}
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		if len(line) > maxLine {
			return fail(fmt.Sprintf("a line would have %d bytes, %d are allowed; give it spaces to be folded at", len(line), maxLine))
		}
		if isSpace(line[0]) && len(bytes.TrimLeft(line, " \t")) == 0 {
			return fail("a folded line holds nothing but white space")
		}
	}
	return rawField{raw: append(b, "\r\n"...), colon: len(name)}, nil
}

// appendFolded appends text, broken before white space so that lines stay within softLine where the words let them. The
// first word stays on the line of the name.
func appendFolded(b []byte, text string) []byte {
	column := len(b)
	for first := true; text != ""; first = false {
		n := len(text) - len(strings.TrimLeft(text, " \t"))
		if i := strings.IndexAny(text[n:], " \t"); i >= 0 {
			n += i
		} else {
			n = len(text)
		}
		if !first && column+n > softLine {
			b = append(b, '\r', '\n')
			column = 0
		}
		b = append(b, text[:n]...)
		column += n
		text = text[n:]
	}
	return b
}

// encodeWords replaces each run of words that are not ASCII by encoded words. The spaces within a run are part of it, since
// readers drop those that stand between two encoded words (RFC 2047 section 6.2).
func encodeWords(text string) string {
	var out strings.Builder
	words := strings.Split(text, " ")
	for i := 0; i < len(words); {
		end := i // behind the last word of the run that starts at i
		for j := i; j < len(words) && (words[j] == "" || !isASCII(words[j])); j++ {
			if words[j] != "" {
				end = j + 1
			}
		}
		if end == i {
			end++
			out.WriteString(words[i])
		} else {
			out.WriteString(encodeRun(strings.Join(words[i:end], " ")))
		}
		if i = end; i < len(words) {
			out.WriteByte(' ')
		}
	}
	return out.String()
}

func encodeRun(run string) string {
	if highBytes(run)*3 > len(run) {
		return mime.BEncoding.Encode("utf-8", run)
	}
	return mime.QEncoding.Encode("utf-8", run)
}

func highBytes(s string) (n int) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			n++
		}
	}
	return n
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
