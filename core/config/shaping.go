package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Source is one [source.NAME]: addresses from which mail is sent.
type Source struct {
	Address []netip.Addr
	Helo    string // empty: the server's name
	Warmup  Warmup

	ClientCertificate, ClientKey string // paths; empty: those of [tls]
}

// Site is one [site.NAME]: what bounds the mail to it. Zero fields leave what [queue] says.
type Site struct {
	Concurrency        int
	Rate               Rate
	ConnectionMessages int
	Prefer             string
	Window             *Window
	Times
	TLS string // of TLSWords; empty: that of [queue]
}

// Rate bounds messages in a time. The zero value says nothing; no messages in some time means that there is no bound.
type Rate struct {
	N   int
	Per time.Duration
}

func (s *Source) fields() []field {
	return []field{
		{
			name: "address", required: true, example: `["192.0.2.10", "2001:db8::10"]`,
			doc: "The addresses of this machine that connections begin at. Those of a family take turns; to a server of a family that has none here, nothing is sent.",
			to:  list(&s.Address, 64, "a list of IP addresses", address),
		},
		{
			name: "helo", example: `"out1.example.org"`, absent: "the server's name",
			doc: "The name to greet with, unless the plan says another. It should be that of the address in the DNS.",
			to:  one(&s.Helo, "a domain name in ASCII (xn-- for others) without a final dot", domainName),
		},
		{
			name: "warmup", doc: "How much an address may send that nobody knows yet. What is more goes by the next source of a pool, or waits for the next day.",
			to: section(s.warmupFields()),
		},
		{
			name: "client_certificate", example: `"out1.pem"`, absent: "that of [tls]",
			doc: "The file with the certificate that is shown to servers which ask for one (PEM, with those of its issuers).",
			to:  one(&s.ClientCertificate, "a path", text),
		},
		{
			name: "client_key", example: `"out1.key"`, absent: "that of [tls]",
			doc: "The file with its key (PEM, without a passphrase).",
			to:  one(&s.ClientKey, "a path", text),
		},
	}
}

func (s *Site) fields() []field {
	return append(s.Times.fields("that of [queue]"), []field{
		{
			name: "concurrency", example: "50", absent: "that of [queue]",
			doc: "Deliveries at once.",
			to:  wholeNumber(&s.Concurrency, 1, 10_000),
		},
		{
			name: "rate", example: `"1000/h"`, absent: "that of [queue]",
			doc: "Messages in a time. \"none\": as many as there are.",
			to:  one(&s.Rate, rateKind, rate),
		},
		{
			name: "connection_messages", example: "20", absent: "that of [queue]",
			doc: "Messages over one connection.",
			to:  wholeNumber(&s.ConnectionMessages, 1, 100_000),
		},
		{
			name: "prefer", example: `"ipv6"`, absent: "that of [queue]",
			doc: "Which addresses of its exchangers are tried first.",
			to:  oneOf(&s.Prefer, "any", "ipv4", "ipv6"),
		},
		{
			name: "window", example: `"Mon-Fri 08:00-18:00 Europe/Berlin"`, absent: "at all times",
			doc: "When mail is sent there: " + windowKind + ". At other times it waits, and is given up at its time all the same.",
			to:  one(&s.Window, windowKind, window),
		},
		{
			name: "tls", example: `"verified"`, absent: "that of [queue]",
			doc: "How connections are encrypted, unless the plan says another word. For a host that a plan names, the table of the host with its port counts, as [site.\"relay.example.net:587\"], in place of that of the site.",
			to:  oneOf(&s.TLS, TLSWords()...),
		},
	}...)
}

// limitFields are those of [queue].
func (q *Queue) limitFields() []field {
	return []field{
		{
			name: "concurrency", value: "20",
			doc: "Deliveries at once to one site, and so the connections to it. A site is all next hops that are served by the same exchangers.",
			to:  wholeNumber(&q.Concurrency, 1, 10_000),
		},
		{
			name: "rate", example: `"100/m"`, absent: "none",
			doc: "Messages to one site in a time, evenly spread over it. \"none\": as many as there are.",
			to:  one(&q.Rate, rateKind, rate),
		},
		{
			name: "connection_messages", value: "100",
			doc: "Messages over one connection to a site. Then another one is opened.",
			to:  wholeNumber(&q.ConnectionMessages, 1, 100_000),
		},
		{
			name: "prefer", value: `"any"`,
			doc: "Which addresses of a next hop, and of exchangers that are preferred alike, are tried first: \"ipv4\", \"ipv6\", or \"any\", in the order in which they are found. The others follow, and those of a host by turns, so a family without a route to the Internet costs one address.",
			to:  oneOf(&q.Prefer, "any", "ipv4", "ipv6"),
		},
		{
			name: "tls", value: `"auto"`,
			doc: "How connections to other servers are encrypted, unless their [site.\"NAME\"] or the plan says another word: \"auto\" as the receiving domain publishes by DANE or MTA-STS, and otherwise where the server offers it; " +
				"\"none\" never; \"opportunistic\" where the server offers it, whatever is published; \"required\" always; \"verified\" always, to servers that show by a certificate who they are; \"implicit\" the same from the outset, without STARTTLS. The page `encryption` tells more.",
			to: oneOf(&q.TLS, TLSWords()...),
		},
	}
}

const (
	rateKind = `a number of messages from 1 to 1000000, a slash, and s, m, h, d or a duration from 1s to 1d, or "none"`
	maxRate  = 1_000_000
)

func rate(v any) (Rate, error) {
	s, err := text(v)
	if err != nil {
		return Rate{}, err
	}
	if s == "none" {
		return Rate{Per: time.Second}, nil
	}
	count, per, ok := strings.Cut(s, "/")
	if !ok {
		return Rate{}, fmt.Errorf("%q has no slash", shorten(s))
	}
	var r Rate
	if _, err := fmt.Sscanf(count+"\n", "%d\n", &r.N); err != nil || r.N < 1 || r.N > maxRate || fmt.Sprint(r.N) != count {
		return Rate{}, fmt.Errorf("%q is not a number of messages", shorten(count))
	}
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	if r.Per, err = ParseDuration(per); err != nil || r.Per < time.Second || r.Per > day {
		return Rate{}, fmt.Errorf("%q is not a time in which messages are counted", shorten(per))
	}
	return r, nil
}

// address accepts an IP address of this machine.
func address(v any) (netip.Addr, error) {
	s, err := text(v)
	if err != nil {
		return netip.Addr{}, err
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
		return netip.Addr{}, fmt.Errorf("%q is not the IP address of an interface", shorten(s))
	}
	return ip.Unmap(), nil
}

const siteKind = `in quotes: a domain, a next hop such as "192.0.2.1:25", or what a plugin names in "site"; in lower case`

// siteName accepts what sites are called: domains, next hops, and names of plugins' own.
func siteName(v any) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
	case len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%q is not up to 255 characters of ASCII without spaces", shorten(s))
	case s != strings.ToLower(s):
		return "", fmt.Errorf("%q has capital letters", shorten(s))
	case strings.HasSuffix(s, "."):
		return "", errors.New("the final dot is not written")
	}
	return s, nil
}

// TLSWords are those that say how connections are encrypted; a test compares them with what plans may say.
func TLSWords() []string {
	return []string{"auto", "none", "opportunistic", "required", "verified", "implicit"}
}

// checkSources looks at what belongs together.
func (c *Config) checkSources(d *decoder) {
	for name, s := range c.Sources {
		bothOf(d, s.ClientCertificate, s.ClientKey, "source", name)
		if s.Address != nil && len(s.Address) == 0 {
			d.fail([]string{"source", name, "address"}, `the list is empty; write at least one, such as address = ["192.0.2.10"]`)
		}
	}
}
