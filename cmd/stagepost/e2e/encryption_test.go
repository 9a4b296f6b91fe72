package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
