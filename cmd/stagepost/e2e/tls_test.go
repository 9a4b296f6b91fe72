package e2e

import (
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

const tlsConfig = `
[[listener]]
name = "smtps"
address = "127.0.0.1:0"
role = "mx"
tls = "implicit"

[[listener]]
name = "strict"
address = "127.0.0.1:0"
role = "mx"
tls = "required"
client_certificates = "request"
client_ca = "ca.pem"

[tls]
certificate = "mx.pem"
key = "mx.key"

[[tls.more]]
certificate = "lists.pem"
key = "lists.key"
`

// TestOpenSSL speaks TLS to the real server as OpenSSL does, and as clients do that are built on it or on GnuTLS.
func TestOpenSSL(t *testing.T) {
	find(t, "openssl")
	sink := newSink(t)
	s := newSite(t, relayConfig(sink.address)+tlsConfig)
	ca := certstest.New(t, "test CA")
	certstest.WriteFile(t, s.path("ca.pem"), certstest.PEM(ca.Certificate.Raw))
	certstest.Write(t, s.dir, "mx", ca.Issue(t, nil, "mx.example.org"))
	certstest.Write(t, s.dir, "lists", ca.IssueRSA(t, "lists.example.net"))
	clientCert, clientKey := certstest.Write(t, s.dir, "client", ca.Issue(t, nil, "client.example"))
	sv := s.start()
	smtps, strict := sv.address("smtps"), sv.address("strict")
	greeted, quit := [2]string{"220 mx", "EHLO c"}, [2]string{"250 HELP", "quit"} // s_client takes a line that begins with Q for itself
	for _, c := range []struct {
		name  string
		args  []string
		steps [][2]string
		want  []string
	}{
		{"from the outset", []string{"-connect", smtps, "-servername", "mx.example.org", "-verify_return_error", "-verify_hostname", "mx.example.org"}, [][2]string{greeted, quit}, []string{"TLSv1.3", "Verify return code: 0 (ok)", "221 2.0.0 bye"}},
		{"another name, RSA", []string{"-connect", smtps, "-servername", "lists.example.net", "-verify_return_error", "-verify_hostname", "lists.example.net"}, [][2]string{greeted, quit}, []string{"CN = lists.example.net", "221 2.0.0 bye"}},
		{"STARTTLS, TLS 1.2", []string{"-starttls", "smtp", "-connect", strict, "-tls1_2"}, [][2]string{quit}, []string{"TLSv1.2", "221 2.0.0 bye"}},
		{"forgotten", []string{"-starttls", "smtp", "-connect", strict}, [][2]string{{"250 HELP", "MAIL FROM:<a@client.example>"}, {"503 5.5.1 say EHLO or HELO first", "quit"}}, []string{"221 2.0.0 bye"}},
		{"the client's certificate is asked for", []string{"-starttls", "smtp", "-connect", strict, "-cert", clientCert, "-key", clientKey}, [][2]string{quit}, []string{"Acceptable client certificate CA names", "CN = test CA", "221 2.0.0 bye"}},
		{"TLS 1.1", []string{"-connect", smtps, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"}, nil, []string{"alert protocol version"}},
		{"another protocol", []string{"-connect", smtps, "-alpn", "http/1.1"}, nil, []string{"alert no application protocol"}},
		{"HTTP", []string{"-connect", smtps}, [][2]string{{"220 mx", "GET / HTTP/1.0"}}, []string{"554 5.5.0 this is SMTP, not HTTP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := strings.ReplaceAll(talkTLS(t, s, c.steps, c.args...), "\r", "")
			all = strings.NewReplacer("CN=", "CN = ").Replace(all) // as some versions write it
			for _, want := range c.want {
				if !strings.Contains(all, want) {
					t.Errorf("it lacks %q:\n%s", want, all)
				}
			}
		})
	}
	host, port, _ := net.SplitHostPort(strict)
	for name, args := range map[string][]string{
		"swaks": {"--server", host, "--port", port, "--tls", "--from", "a@client.example", "--to", "u@example.net", "--data", "@" + letterFile(t, "<tls-swaks@client.example>")},
		"curl":  {"--silent", "--show-error", "--ssl-reqd", "--cacert", s.path("ca.pem"), "--connect-to", "::" + strict, "--url", "smtp://mx.example.org/client.example", "--mail-from", "a@client.example", "--mail-rcpt", "u@example.net", "--upload-file", letterFile(t, "<tls-curl@client.example>"), "--crlf"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := runToEnd(t, exec.Command(find(t, name), args...)); r.code != 0 {
				t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.err)
			}
			id := "<tls-" + name + "@client.example>"
			if text := sink.text(id); !strings.Contains(text, "with ESMTPS id") || !strings.Contains(text, "tls TLS_") {
				t.Errorf("it arrived as\n%s", text)
			}
		})
	}
}

// talkTLS has OpenSSL say each line once a line of its output begins with what is before it, and gives the whole output.
func talkTLS(t *testing.T, s *site, steps [][2]string, args ...string) string {
	t.Helper()
	cmd := exec.Command(find(t, "openssl"), append([]string{"s_client", "-CAfile", s.path("ca.pem"), "-crlf"}, args...)...)
	out := &console{}
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for _, step := range steps {
		out.expect(t, 0, step[0])
		io.WriteString(in, step[1]+"\n")
	}
	cmd.Wait() // refused handshakes end with a code
	out.end()
	return out.tail(1000)
}

// letterFile is a message with this Message-ID.
func letterFile(t *testing.T, id string) string {
	file := filepath.Join(t.TempDir(), "message.eml")
	certstest.WriteFile(t, file, []byte("From: a@client.example\nTo: u@example.net\nMessage-ID: "+id+"\n\ntext\n"))
	return file
}
