package dkim

import (
	"bytes"
	"io"
	"strings"
)

// Canon is an algorithm that brings text to a canonical form (RFC 6376 section 3.4).
type Canon uint8

// The algorithms.
const (
	Simple Canon = iota
	Relaxed
)

func (c Canon) String() string {
	if c == Relaxed {
		return "relaxed"
	}
	return "simple"
}

func parseCanon(s string) (Canon, bool) {
	switch strings.ToLower(s) {
	case "simple":
		return Simple, true
	case "relaxed":
		return Relaxed, true
	}
	return 0, false
}

// ParseCanon reads the value of c=: header/body, or header alone, the body then being simple.
func ParseCanon(value string) (header, body Canon, err error) {
	h, b, both := strings.Cut(noSpace(value), "/")
	header, ok := parseCanon(h)
	if ok && both {
		body, ok = parseCanon(b)
	}
	if !ok {
		return 0, 0, faulty("c=%s is not known; there are simple and relaxed, as in relaxed/simple", quote(value))
	}
	return header, body, nil
}

// Header appends the canonical form of a whole field to dst, with CRLF at its end.
func (c Canon) Header(dst, field []byte) []byte {
	field = bytes.TrimRight(field, "\r\n")
	if c == Simple {
		return append(append(dst, field...), "\r\n"...)
	}
	colon := bytes.IndexByte(field, ':')
	if colon < 0 {
		colon = len(field)
	}
	for _, b := range bytes.TrimRight(field[:colon], " \t") {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	dst = append(dst, ':')
	if colon < len(field) {
		dst = appendRelaxed(dst, field[colon+1:])
	}
	return append(dst, "\r\n"...)
}

// appendRelaxed unfolds and makes each run of white space one space, none at the beginning and the end.
func appendRelaxed(dst, value []byte) []byte {
	begun, gap := false, false
	for _, b := range value {
		switch b {
		case '\r', '\n':
		case ' ', '\t':
			gap = true
		default:
			if gap && begun {
				dst = append(dst, ' ')
			}
			dst = append(dst, b)
			begun, gap = true, false
		}
	}
	return dst
}

// Body is a writer for the body of a message that passes on its canonical form. It holds a small buffer, whatever is written. Close ends the
// body; it does not close w.
func (c Canon) Body(w io.Writer) io.WriteCloser {
	if c == Relaxed {
		return &relaxedBody{out: w}
	}
	return &simpleBody{out: w}
}
