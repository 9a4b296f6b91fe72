package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// template is text of a case file whose braces are filled in when it is sent.
type template []piece

// piece is one part of a template: octets as they are, a variable, or what is made of an inner template.
type piece struct {
	octets   []byte
	variable string
	times    int // of inner
	inner    template
	base64   bool
	random   int // that many octets of any value
}

// Bounds of a template: of what it makes, and of braces in braces.
const (
	maxText  = 128 << 20
	maxDepth = 8
)

// variables are the names that may stand in braces.
func variables() []string {
	return []string{"token", "from", "to", "bad", "domain", "user", "password", "n"}
}

// parseTemplate reads text in which braces hold, besides a variable: "x 0D 0A" octets in hex, "10 * text" a repetition, "base64 text",
// "random 10" octets of any value. Two opening braces are one.
func parseTemplate(s string) (template, error) {
	t, rest, err := parsePieces(s, 0)
	if err == nil && rest != "" {
		err = errors.New("more closing braces than opening ones")
	}
	if err == nil && t.size() > maxText {
		err = fmt.Errorf("it makes more than %d octets", maxText)
	}
	return t, err
}

// parsePieces reads up to the brace that closes what it is in; at depth 0, up to the end.
func parsePieces(s string, depth int) (t template, rest string, err error) {
	if depth > maxDepth {
		return nil, "", errors.New("braces in braces in braces, too deep")
	}
	var plain []byte
	flush := func() {
		if len(plain) > 0 {
			t, plain = append(t, piece{octets: plain}), nil
		}
	}
	for s != "" {
		switch {
		case strings.HasPrefix(s, "{{"):
			plain, s = append(plain, '{'), s[2:]
		case s[0] == '{':
			flush()
			var p piece
			if p, s, err = parseBraces(s[1:], depth+1); err != nil {
				return nil, "", err
			}
			t = append(t, p)
		case s[0] == '}' && depth > 0:
			flush()
			return t, s, nil
		default:
			plain, s = append(plain, s[0]), s[1:]
		}
	}
	flush()
	if depth > 0 {
		return nil, "", errors.New("a brace is not closed")
	}
	return t, "", nil
}

// parseBraces reads what stands behind an opening brace, and the closing one.
func parseBraces(s string, depth int) (p piece, rest string, err error) {
	word := s[:len(s)-len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz0123456789"))]
	after := s[len(word):]
	times, number := strconv.Atoi(word)
	switch {
	case number == nil && strings.HasPrefix(after, " * ") && times >= 0:
		p.times = times
		p.inner, rest, err = parsePieces(after[3:], depth)
	case word == "base64" && strings.HasPrefix(after, " "):
		p.times, p.base64 = 1, true
		p.inner, rest, err = parsePieces(after[1:], depth)
	case word == "x" || word == "random":
		arg, _, closed := strings.Cut(after, "}")
		if !closed {
			return p, "", errors.New("a brace is not closed")
		}
		rest = after[len(arg):]
		if word == "x" {
			p.octets, err = parseHex(arg)
		} else if p.random, err = strconv.Atoi(strings.TrimSpace(arg)); err != nil || p.random < 0 || p.random > maxText {
			err = fmt.Errorf("random%s: want a number of octets", arg)
		}
	default:
		for _, name := range variables() {
			if word == name {
				p.variable, rest = word, after
			}
		}
		if p.variable == "" {
			err = fmt.Errorf("{%s is nothing that is known; an opening brace itself is written twice", firstWord(s))
		}
	}
	if err != nil {
		return p, "", err
	}
	if !strings.HasPrefix(rest, "}") {
		return p, "", errors.New("a brace is not closed")
	}
	return p, rest[1:], nil
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word[:min(len(word), 40)]
}

func parseHex(s string) ([]byte, error) {
	octets, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		return nil, fmt.Errorf("%q is not octets in hex", strings.TrimSpace(s))
	}
	return octets, nil
}

// size is an upper bound of what is made, where variables are of usual length.
func (t template) size() (n int) {
	for _, p := range t {
		inner := p.inner.size()
		if p.times > 0 && inner > maxText/p.times {
			return maxText + 1
		}
		if n += len(p.octets) + len(p.variable) + p.random + 2*p.times*inner; n > maxText {
			return maxText + 1
		}
	}
	return n
}

// fill gives the text with the values of variables. The octets that stand for random ones are the same for each token.
func (t template) fill(values map[string]string) []byte {
	var b bytes.Buffer
	for _, p := range t {
		b.Write(p.octets)
		b.WriteString(values[p.variable])
		if p.random > 0 {
			var seed [32]byte
			copy(seed[:], values["token"])
			octets := make([]byte, p.random)
			rand.NewChaCha8(seed).Read(octets)
			b.Write(octets)
		}
		if p.times > 0 {
			inner := p.inner.fill(values)
			if p.base64 {
				inner = base64.StdEncoding.AppendEncode(nil, inner)
			}
			for range p.times {
				b.Write(inner)
			}
		}
	}
	return b.Bytes()
}

// counts tells whether the number of the repetition is in the text.
func (t template) counts() bool {
	return slices.ContainsFunc(t, func(p piece) bool { return p.variable == "n" || p.inner.counts() })
}
