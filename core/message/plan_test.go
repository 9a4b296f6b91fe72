package message

import (
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/smtp"
)

func TestPlanCheck(t *testing.T) {
	many := make([]string, maxHosts+1)
	for i := range many {
		many[i] = "h.example.org"
	}
	for _, c := range []struct {
		name string
		plan Plan
		err  string
	}{
		{"nothing set", Plan{}, ""},
		{"a plugin delivers", Plan{Via: "webhook"}, ""},
		{"helo", Plan{Helo: "mail.example.org"}, ""},
		{"mx and hosts to fall back to", Plan{Hosts: []string{"a.example"}, MX: "b.example"}, ""},
		{"mx and too many hosts", Plan{Hosts: many[1:], MX: "b.example"}, "at most 15"},
		{"mx and hosts by LMTP", Plan{Via: ViaLMTP, Hosts: []string{"a.example"}, MX: "b.example"}, "not both"},
		{"too many hosts", Plan{Hosts: many}, "at most 16"},
		{"bad host", Plan{Hosts: []string{"a.example", "b b"}}, "hosts:"},
		{"bad mx", Plan{MX: "b b"}, "mx:"},
		{"bad helo", Plan{Helo: "x\r\nRSET"}, "helo:"},
		{"tls", Plan{TLS: TLSVerified}, ""},
		{"bad tls", Plan{TLS: "Required"}, `tls: "Required" is not one of auto,`},
		{"a transport", Plan{Via: "box", Transport: true}, ""},
		{"a transport that cannot be one", Plan{Via: "../box", Transport: true}, `"../box" is not the name of a [transport.NAME]`},
		{"lmtp to nowhere", Plan{Via: ViaLMTP}, "needs hosts"},
		{"a log-in", Plan{MX: "b.example", Auth: Auth{User: "u", Secret: "smtp/b.example", Mechanism: "PLAIN", TLS: "optional"}}, ""},
		{"a log-in nowhere", Plan{Auth: Auth{User: "u", Secret: "s"}}, "beside hosts or mx"},
		{"a log-in of nobody", Plan{MX: "b.example", Auth: Auth{Secret: "s"}}, "user and secret"},
		{"a log-in without a secret", Plan{MX: "b.example", Auth: Auth{User: "u"}}, "user and secret"},
		{"a user with a NUL", Plan{MX: "b.example", Auth: Auth{User: "u\x00v", Secret: "s"}}, "the user is not"},
		{"a secret outside", Plan{MX: "b.example", Auth: Auth{User: "u", Secret: "../s"}}, "cannot name a secret"},
		{"an unknown mechanism", Plan{MX: "b.example", Auth: Auth{User: "u", Secret: "s", Mechanism: "CRAM-MD5"}}, "is one of SCRAM"},
		{"a URL", Plan{Hosts: []string{"https://in.example/x"}, Auth: Auth{Secret: "in"}}, ""},
		{"URLs by the word", Plan{Via: ViaHTTP, Hosts: []string{"https://in.example/x", "HTTPS://in.example"}, Auth: Auth{Secret: "in"}}, ""},
		{"a URL without a secret", Plan{Hosts: []string{"https://in.example/x"}}, "needs the name of the secret"},
		{"a URL with a user", Plan{Hosts: []string{"https://in.example/x"}, Auth: Auth{User: "u", Secret: "in"}}, "nothing else of auth"},
		{"a URL and a secret outside", Plan{Hosts: []string{"https://in.example/x"}, Auth: Auth{Secret: "../in"}}, "cannot name a secret"},
		{"a URL and a host", Plan{Hosts: []string{"https://in.example/x", "in.example:25"}, Auth: Auth{Secret: "in"}}, "is not a URL with https"},
		{"a host and a URL", Plan{Hosts: []string{"in.example:25", "https://in.example/x"}}, "is a URL; beside it"},
		{"a URL by LMTP", Plan{Via: ViaLMTP, Hosts: []string{"https://in.example/x"}}, "is a URL; beside it"},
		{"a URL with a comma", Plan{Hosts: []string{"https://in.example/x,y"}, Auth: Auth{Secret: "in"}}, "write %2C"},
		{"a long URL", Plan{Hosts: []string{"https://in.example/" + strings.Repeat("x", 240)}, Auth: Auth{Secret: "in"}}, "declare it as [transport.NAME]"},
		{"a URL to fall back to", Plan{MX: "b.example", Hosts: []string{"https://in.example/x"}, Auth: Auth{Secret: "in"}}, "and no mx"},
		{"by HTTP to nowhere", Plan{Via: ViaHTTP, Auth: Auth{Secret: "in"}}, "has hosts, as"},
		{"a URL and a bad source", Plan{Hosts: []string{"https://in.example/x"}, Auth: Auth{Secret: "in"}, Source: "A"}, "source:"},
		{"an unknown way with TLS", Plan{MX: "b.example", Auth: Auth{User: "u", Secret: "s", TLS: "never"}}, `tls is "optional"`},
	} {
		err := c.plan.Check()
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
	u := Plan{Hosts: []string{"HTTPS://In.Example:443/Box", "https://[2001:db8::1]:8443"}, Auth: Auth{Secret: "in"}, Source: "pool"}
	if err := u.Check(); err != nil || u.Via != ViaHTTP || u.Lane() != "https://in.example/Box,https://[2001:db8::1]:8443/ source=pool" || strings.Join(u.Hops(), " ") != "in.example:443 [2001:db8::1]:8443" {
		t.Errorf("lane %s, hops %q, %v", u.Lane(), u.Hops(), err)
	}
	p := Plan{Via: ViaLMTP, Hosts: []string{"A.Example"}}
	if err := p.Check(); err != nil || p.Lane() != "lmtp:a.example:24" {
		t.Errorf("lane %s, %v", p.Lane(), err)
	}
}

func TestPlanMergeAndEqual(t *testing.T) {
	sender := smtp.Address{Text: "a@example.org", Local: "a", Domain: "example.org"}
	p := Plan{MX: "first.example"}
	p.Merge(&Plan{Via: ViaSMTP, Hosts: []string{"second.example:25"}, Helo: "h.example", Sender: &sender, Source: "pool", TLS: TLSRequired}, "a")
	p.Merge(&Plan{Via: ViaLMTP, MX: "third.example", Helo: "other.example", Source: "other", Site: "bulk", TLS: TLSNone}, "b")
	if p.Source != "pool" || p.SourceBy != "a" || p.Site != "bulk" || p.SiteBy != "b" || p.TLS != TLSRequired {
		t.Errorf("merged to %+v", p)
	}
	if got := p.Lane(); got != "mx:first.example source=pool site=bulk" {
		t.Errorf("lane %q", got)
	}
	if hop, source, site := SplitLane(p.Lane()); hop != "mx:first.example" || source != "pool" || site != "bulk" {
		t.Errorf("split into %q, %q, %q", hop, source, site)
	}
	if hop, source, site := SplitLane("mx:first.example"); hop != "mx:first.example" || source != "" || site != "" {
		t.Errorf("split into %q, %q, %q", hop, source, site)
	}
	for _, other := range []Plan{{Source: "x"}, {Site: "x"}, {TLS: TLSAuto}} {
		q := p
		other.Merge(&p, "c")
		if q.Equal(&other) {
			t.Errorf("%+v equals %+v", q, other)
		}
	}
	p.Source, p.Site = "", ""
	if p.MX != "first.example" || p.Hosts != nil || p.Via != ViaSMTP || p.Helo != "h.example" || p.Sender != &sender {
		t.Errorf("merged to %+v", p)
	}
	if p.Lane() != "mx:first.example" || (&Plan{Via: "webhook", MX: "x.example"}).Lane() != "plugin:webhook" {
		t.Error("lanes of an mx or plugin plan are wrong")
	}
	copied := sender
	q := p
	q.Sender = &copied
	if !p.Equal(&q) {
		t.Error("plans with the same sender differ")
	}
	q.Sender = nil
	if p.Equal(&q) || q.Equal(&p) {
		t.Error("a plan with a sender of its own equals one without")
	}
}

// TestPasswordsStayWithTheirHosts: whoever names the next hop first has the log-in to it named, too, or none is made there.
func TestPasswordsStayWithTheirHosts(t *testing.T) {
	with := Plan{Hosts: []string{"relay.example:587"}, Auth: Auth{User: "u", Secret: "s"}}
	p := Plan{MX: "first.example"}
	if p.Merge(&with, "b"); p.Auth != (Auth{}) {
		t.Errorf("%+v is for another next hop", p.Auth)
	}
	p = Plan{Helo: "me.example"}
	if p.Merge(&with, "b"); p.Auth != with.Auth {
		t.Errorf("the log-in is %+v", p.Auth)
	}
	posts := Plan{Via: ViaHTTP, Hosts: []string{"https://in.example/x"}, Auth: Auth{Secret: "s"}}
	p = Plan{Hosts: []string{"first.example:25"}}
	if p.Merge(&posts, "b"); p.Via != "" || p.Check() != nil {
		t.Errorf("%+v is to be posted", p)
	}
	p = Plan{Helo: "me.example"}
	if p.Merge(&posts, "b"); p.Via != ViaHTTP || p.Check() != nil {
		t.Errorf("%+v is not to be posted", p)
	}
	p = Plan{Helo: "me.example"}
	p.Merge(&with, "b")
	q := p
	if q.Auth.User = "v"; p.Equal(&q) {
		t.Error("plans with different log-ins are equal")
	}
}

func TestCanonicalHost(t *testing.T) {
	for _, c := range []struct{ in, via, want, err string }{
		{"127.0.0.1:2526", "", "127.0.0.1:2526", ""},
		{"Relay.Example.org", "", "relay.example.org:25", ""},
		{"relay.example.org:587", ViaSMTP, "relay.example.org:587", ""},
		{"127.0.0.1", ViaLMTP, "127.0.0.1:24", ""},
		{"[::1]:2400", ViaLMTP, "[::1]:2400", ""},
		{"[2001:DB8::1]:25", "", "[2001:db8::1]:25", ""},
		{"[2001:db8::1]", "", "[2001:db8::1]:25", ""},
		{"2001:db8:0::1", "", "[2001:db8::1]:25", ""},
		{"", "", "", "neither a host name nor an IP"},
		{"host:0", "", "", "port"},
		{"host:65536", "", "", "port"},
		{"host:25:25", "", "", "not host:port"},
		{"25", "", "", "neither"},
		{"ho st", "", "", "neither"},
		{"host]", "", "", "neither"},
		{"[host", "", "", "neither"},
		{"host\x00:25", "", "", "neither"},
	} {
		got, err := CanonicalHost(c.in, c.via)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("CanonicalHost(%q, %q) = %q, %v; want %q, error %q", c.in, c.via, got, err, c.want, c.err)
		}
	}
	for _, bad := range []string{"a b", "-a.example"} {
		if p := (&Plan{MX: bad}); p.Check() == nil {
			t.Errorf("mx %q passes", bad)
		}
	}
}

func TestParseHop(t *testing.T) {
	for in, want := range map[string]string{
		"Host.example": "smtp:host.example:25", "host.example:2525": "smtp:host.example:2525", "smtp:10.0.0.1": "smtp:10.0.0.1:25", "lmtp:[::1]:24": "lmtp:[::1]:24",
		" mx:Example.org ": "mx:example.org", "a.example,b.example:26": "smtp:a.example:25,b.example:26",
		"": "", "mx:": "", "mx:a b": "", "smtp:": "", "lmtp:": "", "host:0": "", "host:x": "", "a,": "", "plugin:x": "", "https://in.example/x": "", "transport:box": "transport:box", "transport:": "", "transport:Box": "", "transport:a b": "", strings.Repeat("a.example,", 16) + "a.example": "",
	} {
		p, err := ParseHop(in)
		if (err == nil) != (want != "") || err == nil && p.Hop() != want {
			t.Errorf("%q is %+v, %v; want %q", in, p, err, want)
		}
		if err == nil {
			if again, err := ParseHop(p.Hop()); err != nil || !again.Equal(p) {
				t.Errorf("%q reads as %+v, %v", p.Hop(), again, err)
			}
		}
	}
}
