package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/sasl"
)

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"5m": 5 * time.Minute, "36d": 36 * day, "1h30m": 90 * time.Minute, "1d1ms": day + time.Millisecond,
		"250ms": 250 * time.Millisecond, "0s": 0, "106751d": 106751 * day,
	} {
		got, err := ParseDuration(s)
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
		if back := FormatDuration(got); back != s {
			t.Errorf("%s comes back as %s", s, back)
		}
	}
	for _, s := range []string{
		"", "5", "m", "5 m", "-5m", "+5m", "1.5h", "5m5m", "30m1h", "5x", "1h 30m", "106752d", "106751d24h",
		"9999999999999999999s", "5µs", "1w", "٣s",
	} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"50MB": 50_000_000, "64KiB": 65536, "1kB": 1000, "1MiB": 1 << 20, "3GB": 3e9, "2GiB": 1 << 31, "17B": 17, "0B": 0,
	} {
		got, err := ParseSize(s)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", s, got, err)
		}
		if back := FormatSize(got); back != s {
			t.Errorf("%s comes back as %s", s, back)
		}
	}
	if got, err := ParseSize("1KB"); err != nil || got != 1000 {
		t.Errorf("1KB: got %d, %v", got, err)
	}
	for _, s := range []string{"", "50", "MB", "50 MB", "50mb", "-1B", "1.5GB", "9999999999GiB", "99999999999999999999B", "1TB"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q: %d, want an error", s, got)
		}
	}
}

func TestDomainName(t *testing.T) {
	label := strings.Repeat("a", 63)
	for s, ok := range map[string]bool{
		"mx1.example.org": true, "localhost": true, "xn--bcher-kva.example": true, "3com.example": true, "a-b.c": true,
		label + ".org": true,
		"":             false, ".": false, "a..b": false, "a.": false, "-a.b": false, "a-.b": false, "a_b.c": false, "bücher.example": false,
		"192.0.2.1": false, "[192.0.2.1]": false, "a b": false, "a\n": false, label + "a.org": false,
		strings.Repeat("a.", 126) + "ab": false,
	} {
		if _, err := domainName(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"sessions", "sessions_per_ip", "message_size", "recipients", "tls"}
	for name, want := range map[string]string{
		"sesions": "sessions", "session": "sessions", "sessoins": "sessions", "mesage_size": "message_size",
		"session_per_ip": "sessions_per_ip", "tsl": "tls", "tl": "tls", "recipient": "recipients",
		"zzz": "", "": "", "t": "", "address": "", strings.Repeat("s", 1000): "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := Nearest("ac", []string{"", "ab", "ad"}); got != "ab" {
		t.Errorf("of two equally near ones: %q", got)
	}
}

// TestMechanisms: a listener may offer just the mechanisms that there are, and offers none unless it is told to.
func TestMechanisms(t *testing.T) {
	if got, want := mechanisms(), sasl.Mechanisms(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	listener := "hostname = \"a.example\"\n[[listener]]\nname = \"mx\"\naddress = \":25\"\nrole = \"mx\"\n"
	for _, tt := range []struct {
		keys string
		want []string
	}{{"", nil}, {"auth = []\n", []string{}}, {"auth = [\"PLAIN\", \"SCRAM-SHA-256\"]\n", []string{"PLAIN", "SCRAM-SHA-256"}}} {
		c, err := Parse("x.toml", []byte(listener+tt.keys), Options{})
		if err != nil || !slices.Equal(c.Listeners[0].Auth, tt.want) || c.Listeners[0].AuthWithoutTLS {
			t.Errorf("%s: got %+v, %v", tt.keys, c, err)
		}
	}
	if _, err := Parse("x.toml", []byte(listener+"auth = [\"CRAM-MD5\"]\n"), Options{}); err == nil || !strings.Contains(err.Error(), "x.toml:6: listener.auth: \"CRAM-MD5\" is not known") {
		t.Errorf("got %v", err)
	}
}

// TestExtensions: a listener may leave out just those extensions that can be left out.
func TestExtensions(t *testing.T) {
	if got, want := extensions(), esmtp.Switchable(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c, err := Parse("x.toml", []byte("hostname = \"a.example\"\n[[listener]]\nname = \"mx\"\naddress = \":25\"\nrole = \"mx\"\nwithout = [\"dsn\", \"limits\"]\n"), Options{})
	if err != nil || !slices.Equal(c.Listeners[0].Without, []string{"dsn", "limits"}) {
		t.Errorf("got %+v, %v", c, err)
	}
	_, err = Parse("x.toml", []byte("hostname = \"a.example\"\n[[listener]]\nname = \"mx\"\naddress = \":25\"\nrole = \"mx\"\nwithout = [\"dsm\"]\n"), Options{})
	if err == nil || !strings.Contains(err.Error(), `did you mean "dsn"?`) {
		t.Errorf("got %v", err)
	}
}

func TestNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.0/24": "192.0.2.0/24", "::1": "::1/128", "::ffff:192.0.2.1": "192.0.2.1/32", "0.0.0.0/0": "0.0.0.0/0",
		"192.0.2.1/24": "is an address in the network 192.0.2.0/24", "::ffff:192.0.2.0/120": "is neither", "fe80::1%eth0": "is neither",
		"192.0.2.0/33": "is neither", "lb.example.org": "is neither", "": "empty",
	} {
		p, err := network(text)
		got := p.String()
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
