package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

// TestToPostfixByTLS sends mail to a Postfix that offers STARTTLS: in clear, whoever it is, and only if it shows who it is. There are two, one with a
// certificate that is trusted: what takes long here is that each has to be started.
func TestToPostfixByTLS(t *testing.T) {
	asRoot(t)
	ours, sink := newAuthority(t), newSink(t)
	start := func(ca authority) (address, log string) {
		dir := t.TempDir()
		certificate, key := ca.pair(t.TempDir(), "postfix.example.net", "root")
		return startPostfix(t, dir, sink.address, "smtpd_tls_security_level = may", "smtpd_tls_cert_file = "+certificate, "smtpd_tls_key_file = "+key), filepath.Join(dir, "log")
	}
	trusted, _ := start(ours)
	stranger, log := start(newAuthority(t))
	for _, c := range []struct {
		name, word string
		at         string
		with       string // what its Received field has; empty: the mail waits
		trace      string
	}{
		{"none", "none", trusted, " with ESMTP id ", "new, 250 "},
		{"opportunistic", "opportunistic", stranger, " with ESMTPS id ", "not verified, 250 "},
		{"verified", "verified", trusted, " with ESMTPS id ", ", verified, 250 "},
		{"stranger", "verified", stranger, "", "451 4.7.5 the certificate is by an authority that is not trusted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, strings.Replace(relayConfig(c.at), "[queue]\n", "[queue]\ntls = \""+c.word+"\"\n", 1))
			ours.trusted(s)
			sv := s.start()
			client, sender, message := dial(t, sv.address("mx")), c.name+"@client.example", "<"+c.name+"@client.example>"
			client.want(t, "EHLO client.example", "250")
			client.want(t, "MAIL FROM:<"+sender+">", "250")
			client.want(t, "RCPT TO:<u@example.net>", "250")
			client.want(t, "DATA", "354")
			id := queued(t, client.want(t, letter(message)+".", "250"))
			eventually(t, "an attempt", func() (bool, any) {
				got := sv.want(0, "trace", id)
				return strings.Contains(got, c.trace), got
			})
			if c.with == "" {
				if said, err := os.ReadFile(log); err != nil || strings.Contains(string(said), "from=<"+sender+">") {
					t.Errorf("Postfix took it: %v\n%s", err, said)
				}
				if got := sv.want(0, "queue", "list"); !strings.Contains(got, sender) {
					t.Errorf("it does not wait:\n%s", got)
				}
			} else if text := sink.text(message); !strings.Contains(text, "(Postfix)"+c.with) && !strings.Contains(strings.ReplaceAll(text, "\r\n\t", " "), c.with) {
				t.Errorf("it came as\n%s", text)
			}
			sv.stop()
		})
	}
	sink.exactly([]string{"<none@client.example>", "<opportunistic@client.example>", "<verified@client.example>"})
}

// TestFallBackByTLS sends mail of a domain by its MX, where no exchanger takes it, and by a relay behind them that has a word of its own for
// encryption: it counts for the relay, and that of the domain's site for the exchanger, whichever is stricter.
func TestFallBackByTLS(t *testing.T) {
	asRoot(t) // exchangers are at port 25
	host := fmt.Sprintf("127.%d.%d.%d", 64+rand.N(64), rand.N(256), 1+rand.N(254))
	dns := dnsServer(t, map[string][]string{"partner.example": {"MX 10 mx.partner.example"}, "mx.partner.example": {"A " + host}})
	ours := newAuthority(t)
	inClear := remotetest.Script{"EHLO": "250-mx.partner.example\n250 PIPELINING"}
	for _, c := range []struct {
		name, site, word string
		exchanger        remotetest.Script
		ca               authority // of the relay's certificate
		taken            bool      // by the relay
		trace            []string
	}{
		{"a stricter word for the domain", "verified", "opportunistic", inClear, newAuthority(t), true,
			[]string{"the server offers no encryption (STARTTLS)", "not verified, 250 "}},
		{"a stricter word for the relay", "none", "verified", remotetest.Script{"banner": "421 4.3.2 busy"}, ours, true, []string{"421 4.3.2 busy", ", verified, 250 "}},
		{"a stranger as the relay", "none", "verified", remotetest.Script{"banner": "421 4.3.2 busy"}, newAuthority(t), false,
			[]string{"421 4.3.2 busy", "451 4.7.5 the certificate is by an authority that is not trusted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mx := remotetest.New(t, c.exchanger)
			if _, err := mx.ListenAt(host + ":25"); err != nil {
				t.Skipf("left out: %v", err)
			}
			relay := remotetest.New(t, remotetest.Script{"EHLO": "250-relay.example\n250 STARTTLS", "STARTTLS": "220 2.0.0 go ahead | tls"})
			relay.Change = func(side *tls.Config) {
				side.Certificates = []tls.Certificate{c.ca.Issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, "relay.example")}
			}
			at := relay.Listen()
			config := strings.Replace(relayConfig(""), "default = \"\"\n", fmt.Sprintf("fallback = [%q]\n\n[plugin.route.domains]\n\"partner.example\" = \"mx:partner.example\"\n", at), 1) +
				fmt.Sprintf("\n[resolver]\nservers = [%q]\n\n[site.\"partner.example\"]\ntls = %q\n\n[site.%q]\ntls = %q\n", dns.Addr(), c.site, at, c.word)
			s := newSite(t, config)
			ours.trusted(s)
			sv := s.start()
			id := dial(t, sv.address("mx")).deliver(t, "u@partner.example", "<fallen@client.example>")
			eventually(t, "an attempt", func() (bool, any) {
				got := sv.want(0, "trace", id)
				for _, want := range c.trace {
					if !strings.Contains(got, want) {
						return false, got
					}
				}
				return true, got
			})
			if got := len(relay.Messages()); got > 0 != c.taken {
				t.Errorf("the relay took %d", got)
			}
			if len(mx.Conns()) == 0 || len(mx.Seen()) > 0 {
				t.Errorf("the exchanger was asked %d times, and heard of %d messages", len(mx.Conns()), len(mx.Seen()))
			}
			sv.stop()
		})
	}
}
