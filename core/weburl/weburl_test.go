package weburl

import (
	"strings"
	"testing"
)

var cases = []struct{ in, want, at string }{
	{"https://inbound.example.org/mail?box=1", "https://inbound.example.org/mail?box=1", "inbound.example.org:443"},
	{"HTTPS://Inbound.Example.org:443/Mail", "https://inbound.example.org/Mail", "inbound.example.org:443"},
	{"https://192.0.2.1:8443", "https://192.0.2.1:8443/", "192.0.2.1:8443"},
	{"https://[2001:DB8::1]/x%2Cy", "https://[2001:db8::1]/x%2Cy", "[2001:db8::1]:443"},
	{"https://a.example:/x", "https://a.example/x", "a.example:443"},
	{"https://a.example:0/", "", `port "0"`},
	{"https://a.example:65536/", "", `port "65536"`},
	{"https://[fe80::1%25eth0]/", "", "neither a host name"},
	{"http://inbound.example.org/", "", "is not a URL with https"},
	{"https:inbound.example.org", "", "is not a URL with https"},
	{"https:///mail", "", "is not a URL with https"},
	{"https://a.example:x/", "", "is not a URL with https"},
	{"https://joe:secret@a.example/", "", "a name and password"},
	{"https://a.example/#", "", "a fragment"},
	{"https://a.example/x y", "", "without spaces"},
	{"https://a.example/é", "", "ASCII"},
	{"https://a.example/" + strings.Repeat("x", maxURL), "", "up to 1000"},
	{"https://-a.example/", "", "neither a host name"},
	{"https://a..example/", "", "neither a host name"},
	{"https://" + strings.Repeat("a.", 127) + "aa/", "", "neither a host name"},
}

func TestParse(t *testing.T) {
	for _, c := range cases {
		u, err := Parse(c.in)
		switch {
		case c.want == "" && (err == nil || !strings.Contains(err.Error(), c.at)):
			t.Errorf("%.60q: %v, want %q", c.in, err, c.at)
		case c.want != "" && (err != nil || u.String() != c.want || HostPort(u) != c.at):
			t.Errorf("%.60q: %v, %v, want %s at %s", c.in, u, err, c.want, c.at)
		}
	}
}

// FuzzParse: what is read can be written and read again, and is one word.
func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := Parse(s)
		if err != nil {
			return
		}
		text := u.String()
		again, err := Parse(text)
		if err != nil || again.String() != text || strings.ContainsAny(text, " \t\r\n") || HostPort(again) != HostPort(u) {
			t.Errorf("%q reads as %q, and that as %v, %v", s, text, again, err)
		}
	})
}
