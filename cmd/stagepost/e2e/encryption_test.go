package e2e

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestToPostfixByTLS sends mail to a Postfix that offers STARTTLS: in clear, whoever it is, and only if it shows who it is.
func TestToPostfixByTLS(t *testing.T) {
	asRoot(t)
	ca, stranger := certstest.New(t, "test CA"), certstest.New(t, "another CA")
	roots := filepath.Join(t.TempDir(), "roots.pem")
	certstest.WriteFile(t, roots, certstest.PEM(ca.Certificate.Raw))
	t.Setenv("SSL_CERT_FILE", roots)
	here := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
	for _, c := range []struct {
		name, word string
		by         *certstest.CA
		with       string // what its Received field has; empty: the mail waits
		trace      string
	}{
		{"none", "none", ca, " with ESMTP id ", "new, 250 "},
		{"opportunistic", "opportunistic", stranger, " with ESMTPS id ", "not verified, 250 "},
		{"verified", "verified", ca, " with ESMTPS id ", ", verified, 250 "},
		{"not by whom we trust", "verified", stranger, "", "451 4.7.5 the certificate is by an authority that is not trusted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := newSink(t)
			dir, keys := t.TempDir(), t.TempDir()
			certificate, key := certstest.Write(t, keys, "postfix", c.by.Issue(t, here, "postfix.example.net"))
			address := startPostfix(t, dir, sink.address, "smtpd_tls_security_level = may", "smtpd_tls_cert_file = "+certificate, "smtpd_tls_key_file = "+key)
			config := strings.Replace(relayConfig(address), "[queue]\n", "[queue]\ntls = \""+c.word+"\"\n", 1)
			sv := newSite(t, config).start()
			client := dial(t, sv.address("mx"))
			client.want(t, "EHLO client.example", "250")
			client.want(t, "MAIL FROM:<a@client.example>", "250")
			client.want(t, "RCPT TO:<u@example.net>", "250")
			client.want(t, "DATA", "354")
			id := strings.TrimSuffix(client.want(t, "From: a@client.example\r\nMessage-ID: <tls@client.example>\r\n\r\ntext\r\n.", "250"), "\r\n")
			id = id[strings.LastIndexByte(id, ' ')+1:]
			eventually(t, "an attempt", func() (bool, any) {
				got := sv.want(0, "trace", id)
				return strings.Contains(got, c.trace), got
			})
			if c.with == "" {
				if log, _ := os.ReadFile(filepath.Join(dir, "log")); strings.Contains(string(log), "from=<a@client.example>") {
					t.Errorf("Postfix took it:\n%s", log)
				}
				if got := sv.want(0, "queue", "list"); !strings.Contains(got, "a@client.example") {
					t.Errorf("it does not wait:\n%s", got)
				}
			} else {
				sink.wants(t, "<tls@client.example>", "\r\n\r\ntext\r\n")
				if text := sink.text("<tls@client.example>"); !strings.Contains(text, "(Postfix)"+c.with) && !strings.Contains(strings.ReplaceAll(text, "\r\n\t", " "), c.with) {
					t.Errorf("it came as\n%s", text)
				}
			}
			sv.stop()
		})
	}
}
