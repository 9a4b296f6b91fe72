package e2e

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestClientCertificate sends to servers that let nobody in without a certificate of an authority of theirs, a Postfix and another Stagepost.
// They are shown that of the source, or else the one of the server, and by which they know the client. Without one the mail waits, until
// the configuration names one. And each of a plan's hosts has its own word for encryption: by that of the mail's site nothing would be encrypted.
func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	for name, start := range map[string]func(t *testing.T, next string) (address, received string){
		"postfix": func(t *testing.T, next string) (string, string) {
			keys := t.TempDir()
			certificate, key := ca.pair(keys, "postfix.example.net", "root")
			certstest.WriteFile(t, keys+"/ca.pem", certstest.PEM(ca.Certificate.Raw))
			return startPostfix(t, t.TempDir(), next, "smtpd_tls_security_level = encrypt", "smtpd_tls_req_ccert = yes", "smtpd_tls_CAfile = "+keys+"/ca.pem", "smtpd_tls_received_header = yes",
				"smtpd_tls_cert_file = "+certificate, "smtpd_tls_key_file = "+key), `(Client CN "%s", Issuer "an authority" (verified OK))`
		},
		"stagepost": func(t *testing.T, next string) (string, string) {
			s := newSite(t, strings.Replace(relayConfig(next), "role = \"mx\"\n", "role = \"mx\"\ntls = \"required\"\nclient_certificates = \"require\"\nclient_ca = \"ca.pem\"\n", 1)+
				"\n[tls]\ncertificate = \"second.example.net.pem\"\nkey = \"second.example.net.key\"\n")
			ca.pair(s.dir, "second.example.net", "")
			certstest.WriteFile(t, s.path("ca.pem"), certstest.PEM(ca.Certificate.Raw))
			s.write("plugins/seen.lua", `plugin { id = "seen", needs = { edit = { "headers" } } }
function on.mail(m) m:add_header("X-Client", m.session.tls.client) end
`)
			return s.start().address("mx"), "X-Client: CN=%s\r\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := newSink(t)
			address, received := start(t, sink.address)
			config := strings.NewReplacer("[queue]\n", "[queue]\ntls = \"none\"\n", ", \"route\"]", "]", "\n[plugin.route]\ndefault = \""+address+"\"\n", "").Replace(relayConfig(address)) +
				fmt.Sprintf("\n[site.%q]\ntls = \"verified\"\n\n[source.own]\naddress = [\"127.0.0.1\"]\nclient_certificate = \"own.pem\"\nclient_key = \"own.key\"\n\n[source.plain]\naddress = [\"127.0.0.1\"]\n", address)
			s := newSite(t, config)
			ca.trusted(s)
			for _, name := range []string{"out", "own"} {
				certstest.Write(t, s.dir, name, ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, name+".example.org"))
			}
			s.write("plugins/sources.lua", fmt.Sprintf(`plugin { id = "sources", needs = { route = { "*", "private" } } }
function on.route(r) return route { hosts = { %q, %q }, source = string.match(r.address.domain, "^[^.]*") } end
`, freePort(t), address))
			sv := s.start()
			c := dial(t, sv.address("mx"))
			id := c.deliver(t, "u@plain.example", "<plain@client.example>")
			eventually(t, "an attempt without a certificate", func() (bool, any) {
				q := s.want(0, "queue", "list")
				return strings.Contains(q, "deferred") || strings.Contains(s.want(0, "trace", id), "deferred 4"), q + s.want(0, "trace", id)
			})
			c.deliver(t, "u@own.example", "<own@client.example>")
			want := func(id, client string) {
				t.Helper()
				if text := strings.ReplaceAll(sink.text(id), "\r\n\t", " "); !strings.Contains(text, fmt.Sprintf(received, client)) {
					t.Errorf("%s is not known in\n%s", client, text)
				}
			}
			want("<own@client.example>", "own.example.org")
			if sink.times("<plain@client.example>") > 0 {
				t.Error("it was let in without a certificate")
			}
			s.replace("stagepost.toml", config+"\n[tls]\nclient_certificate = \"out.pem\"\nclient_key = \"out.key\"\n")
			want("<plain@client.example>", "out.example.org")
			if trace := s.want(0, "trace", id); !strings.Contains(trace, ", verified, 250 ") {
				t.Errorf("the record:\n%s", trace)
			}
			sv.empty()
			sink.exactly([]string{"<plain@client.example>", "<own@client.example>"})
			sv.stop()
		})
	}
}
