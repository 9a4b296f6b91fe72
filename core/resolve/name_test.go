package resolve

import (
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	l63 := strings.Repeat("a", 63)
	n253 := l63 + "." + l63 + "." + l63 + "." + l63[:61]
	for in, want := range map[string]string{ // "" = no name
		"Example.ORG": "example.org", "example.org.": "example.org", ".": ".", "_dmarc.x": "_dmarc.x", "a+b=c.x": "a+b=c.x",
		l63 + ".x": l63 + ".x", l63 + "a.x": "", n253: n253, n253 + ".": n253, n253 + "a": "",
		"": "", "..": "", "a..b": "", ".a": "", "a..": "",
		"a b.x": "a b.x", "a\x00.x": "", "a\r\n.x": "", "\u00e9.x": "", "a\x7f.x": "",
	} {
		if got, ok := canonical(in); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, ok, want)
		}
	}
}

func TestHostText(t *testing.T) {
	for in, want := range map[string]string{
		"Mx.Example.org.": "mx.example.org", ".": ".",
		`a\@b.x.`: "a@b.x", `a\\b.x.`: `a\b.x`, // special to the library, not to the DNS
		`a\.b.x.`: `a\.b.x`, `a\000b.x.`: `a\000b.x`, `a\032b.x.`: "a b.x",
	} {
		if got := hostText(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestAppendUnescaped(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `a\"b`: `a"b`, `\\`: `\`, `\001\255x`: "\x01\xffx", `\`: `\`, `\1`: "1", `\12`: "12",
	} {
		if got := string(appendUnescaped(nil, in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
