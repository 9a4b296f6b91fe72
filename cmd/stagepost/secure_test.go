package main

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

const secured = `hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
tls = "required"

[[listener]]
name = "smtps"
address = "127.0.0.1:0"
role = "mx"
tls = "implicit"
client_certificates = "require"
client_ca = "ca.pem"

[tls]
certificate = "mx.pem"
key = "mx.key"

[[tls.more]]
certificate = "lists.pem"
key = "lists.key"

[plugins]
folder = "plugins"

[admin]
address = "127.0.0.1:0"
`

// acceptAll says in its reply what it knows of the session's encryption.
const acceptAll = `plugin { id = "all", version = "1.0.0" }
on.rcpt = function(r)
  local t = r.message.session.tls
  if t and r.original.mailbox == "tell" then return reject("over " .. t.version .. " to " .. tostring(t.sni) .. " by " .. tostring(t.client)) end
  return accept("local")
end
`

// TestTLS: certificates are read with the configuration and again when they change, chosen by name, shown by check, status and metrics; a
// pair that is wrong changes nothing.
func TestTLS(t *testing.T) {
	s := newSite(t, secured)
	s.write("plugins/all.lua", acceptAll)
	ca := certstest.New(t, "test CA")
	certstest.WriteFile(t, filepath.Join(s.dir, "ca.pem"), certstest.PEM(ca.Certificate.Raw))
	certstest.Write(t, s.dir, "mx", ca.Issue(t, nil, "mx.example.org"))
	certstest.Write(t, s.dir, "lists", ca.Issue(t, nil, "*.lists.example.net", "lists.example.net"))
	s.want(s.run("check"), 0, "warning: mx.pem: the certificate expires on ", "stagepost.toml: ok")
	d := serveQuietly(t, s.config, daemonOptions{})
	shown := func(name string) string {
		t.Helper()
		config := &tls.Config{RootCAs: ca.Pool(), ServerName: name, Certificates: []tls.Certificate{ca.Issue(t, nil, "client.example")}}
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", d.bound.address("smtps"), config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	mx, lists := shown("mx.example.org"), shown("a.lists.example.net")
	s.want(s.run("status"), 0, "CERTIFICATE", "mx.pem", "lists.pem", "*.lists.example.net lists.example.net", "required", "implicit")
	s.want(s.run("send", "--to", "u@example.org"), 0, "250 2.0.0 queued as ")
	s.want(s.run("send", "--to", "tell@example.org"), exitUnavailable, "over TLSv1.3 to nil by nil")
	s.want(s.run("send", "--to", "u@example.org", "--tls", "off"), exitUnavailable, "530 5.7.0 say STARTTLS first")
	s.want(s.run("send", "--to", "u@example.org", "--tls", "ssl"), exitUsage, "--tls ssl: write off, starttls or implicit")
	s.want(s.run("send", "--to", "u@example.org", "--tls", "implicit", "--server", d.bound.address("smtps")), exitTemporary, "broke off")

	// a key that does not belong to the certificate
	key, err := os.ReadFile(filepath.Join(s.dir, "mx.key"))
	if err != nil {
		t.Fatal(err)
	}
	certstest.Write(t, s.dir, "mx", ca.Issue(t, nil, "mx.example.org"))
	next, err := os.ReadFile(filepath.Join(s.dir, "mx.key"))
	if err != nil {
		t.Fatal(err)
	}
	certstest.WriteFile(t, filepath.Join(s.dir, "mx.key"), key)
	why := "stagepost.toml:20: tls.key: mx.key is not the key of the certificate in mx.pem"
	s.want(s.run("reload"), exitConfig, why, "generation 1 stays")
	s.want(s.run("check"), exitConfig, why)
	s.want(s.run("status"), 0, "the latest change was refused: "+why)
	if shown("mx.example.org") != mx {
		t.Error("the certificate changed though its key is missing")
	}
	certstest.WriteFile(t, filepath.Join(s.dir, "mx.key"), next)
	s.eventually([]string{"status"}, "generation 2") // the watch sees it
	if shown("mx.example.org") == mx || shown("lists.example.net") != lists {
		t.Error("the new certificate is not shown, or another one for other names")
	}
	s.want(s.run("check"), 0)
	for _, want := range []string{
		`stagepost_tls_handshakes_total{listener="mx",role="mx",version="TLSv1.3"} 2`,
		`stagepost_tls_handshakes_total{listener="smtps",role="mx",version="TLSv1.3"} 5`,
		`stagepost_tls_handshakes_failed_total{listener="smtps",reason="client_certificate",role="mx"} 1`,
		`stagepost_certificate_expires_timestamp_seconds{file="` + filepath.Join(s.dir, "mx.pem") + `"} 1.`,
	} {
		// The server counts a handshake after the client has made its part.
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, body := fetch(t, d.bound.watched(), "/metrics"); strings.Contains(body, want) {
				break
			}
			if time.Now().After(end) {
				t.Errorf("the metrics lack %s", want)
				break
			}
		}
	}
	if err := os.Remove(filepath.Join(s.dir, "lists.pem")); err != nil {
		t.Fatal(err)
	}
	s.want(s.run("reload"), exitConfig, "stagepost.toml:23: tls.more.certificate: lists.pem cannot be read: no such file or directory")
	if err := os.Remove(filepath.Join(s.dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	r := s.run("reload")
	s.want(r, exitConfig, "stagepost.toml:16: listener.client_ca: ca.pem cannot be read: no such file or directory")
	if !strings.Contains(r.out+r.err, "lists.pem cannot be read") {
		t.Error("of several faults one is told")
	}
}
