package dkim

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// naive is the canonical form of a body, written as RFC 6376 section 3.4 has it.
func naive(c Canon, body string) string {
	lines := strings.SplitAfter(body, "\r\n")
	if c == Relaxed {
		for i, l := range lines {
			text, end := strings.CutSuffix(l, "\r\n")
			var b strings.Builder
			for j := 0; j < len(text); j++ {
				if text[j] == ' ' || text[j] == '\t' {
					if j+1 < len(text) && (text[j+1] == ' ' || text[j+1] == '\t') || j+1 == len(text) {
						continue
					}
					b.WriteByte(' ')
				} else {
					b.WriteByte(text[j])
				}
			}
			if lines[i] = b.String(); end {
				lines[i] += "\r\n"
			}
		}
	}
	out := strings.Join(lines, "")
	for strings.HasSuffix(out, "\r\n") {
		out = strings.TrimSuffix(out, "\r\n")
	}
	if c == Relaxed && out == "" {
		return ""
	}
	return out + "\r\n"
}

func canonical(c Canon, pieces ...string) string {
	var out bytes.Buffer
	w := c.Body(&out)
	for _, p := range pieces {
		w.Write([]byte(p))
	}
	w.Close()
	return out.String()
}

func TestBody(t *testing.T) {
	for _, tt := range []struct{ body, simple, relaxed string }{
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n\r\n", "\r\n", ""},
		{" \r\n\t\r\n", " \r\n\t\r\n", ""},
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"}, // RFC 6376 section 3.4.5
		{"a", "a\r\n", "a\r\n"},
		{"a  ", "a  \r\n", "a\r\n"},
		{"a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"a\r\n \t\r\nb", "a\r\n \t\r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"\ta\r\n", "\ta\r\n", " a\r\n"},
		{"a\rb\nc\r", "a\rb\nc\r\r\n", "a\rb\nc\r\r\n"},
		{"a \rb", "a \rb\r\n", "a \rb\r\n"},
		{"\xff\x00 x", "\xff\x00 x\r\n", "\xff\x00 x\r\n"},
	} {
		for cut := range len(tt.body) + 1 {
			if got := canonical(Simple, tt.body[:cut], tt.body[cut:]); got != tt.simple {
				t.Errorf("simple %q cut at %d: %q, want %q", tt.body, cut, got, tt.simple)
			}
			if got := canonical(Relaxed, tt.body[:cut], tt.body[cut:]); got != tt.relaxed {
				t.Errorf("relaxed %q cut at %d: %q, want %q", tt.body, cut, got, tt.relaxed)
			}
		}
	}
}

// TestBodyPieces: bodies of a few octets, in pieces of any length, against the plain way.
func TestBodyPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString([]string{"a", "b", " ", "\t", "\r\n", "\r\n", "\r", "\n", " \r\n"}[r.IntN(9)])
		}
		body := b.String()
		var pieces []string
		for rest := body; rest != ""; {
			n := 1 + r.IntN(len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		for _, c := range []Canon{Simple, Relaxed} {
			if got, want := canonical(c, pieces...), naive(c, body); got != want {
				t.Fatalf("%s of %q in %q: %q, want %q", c, body, pieces, got, want)
			}
		}
	}
}

// FuzzBody: pieces make no difference.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "a\r\n\r\n", " \t\r\n x", "\r\r\n\n", strings.Repeat("\r\n", 100) + "x", "a  b \r\n"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, body string, n int) {
		n = max(1, n%50)
		for _, c := range []Canon{Simple, Relaxed} {
			var pieces []string
			for rest := body; rest != ""; {
				m := min(n, len(rest))
				pieces, rest = append(pieces, rest[:m]), rest[m:]
			}
			if got, want := canonical(c, pieces...), naive(c, body); got != want {
				t.Fatalf("%s of %q by %d: %q, want %q", c, body, n, got, want)
			}
		}
	})
}

func TestHeaderCanon(t *testing.T) {
	for _, tt := range []struct{ field, simple, relaxed string }{
		{"A: X\r\n", "A: X\r\n", "a:X\r\n"}, // RFC 6376 section 3.4.5
		{"B : Y\t\r\n\tZ  \r\n", "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"},
		{"SUBJect: AbC\r\n", "SUBJect: AbC\r\n", "subject:AbC\r\n"},
		{"A:\r\n", "A:\r\n", "a:\r\n"},
		{"A: \t \r\n", "A: \t \r\n", "a:\r\n"},
		{"A:x\r\n  \r\n y", "A:x\r\n  \r\n y\r\n", "a:x y\r\n"},
	} {
		if got := string(Simple.Header(nil, []byte(tt.field))); got != tt.simple {
			t.Errorf("simple %q: %q", tt.field, got)
		}
		if got := string(Relaxed.Header(nil, []byte(tt.field))); got != tt.relaxed {
			t.Errorf("relaxed %q: %q", tt.field, got)
		}
	}
}
