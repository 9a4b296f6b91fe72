package e2e

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// submission is a server that wants a log-in: joe's, with the password pencil.
type submission struct {
	address, user string
	mechanisms    []string // that it offers, the best first
	received      string   // what its field Received says of who logged in
}

// authority issues certificates for this machine, which the servers of a site trust.
type authority struct {
	*certstest.CA
	t *testing.T
}

func newAuthority(t *testing.T) authority { return authority{certstest.New(t, "an authority"), t} }

// trusted has the servers of a site trust the authority alone.
func (a authority) trusted(s *site) {
	certstest.WriteFile(a.t, s.path("ca.pem"), certstest.PEM(a.Certificate.Raw))
	s.limit = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+s.path("ca.pem")) }
}

// pair writes a certificate for 127.0.0.1 and its key, which a user may read.
func (a authority) pair(dir, name, owner string) (certificate, key string) {
	a.t.Helper()
	c := a.Issue(a.t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, name)
	certificate, key = certstest.Write(a.t, dir, name, c)
	if u, err := user.Lookup(owner); err == nil {
		uid, _ := strconv.Atoi(u.Uid)
		for _, file := range []string{certificate, key} {
			if err := os.Chown(file, uid, -1); err != nil {
				a.t.Fatal(err)
			}
		}
	}
	return certificate, key
}

// TestOutboundAuth logs in at real submission servers, behind TLS that shows who they are: a Postfix that asks a Dovecot, a Dovecot, and
// another Stagepost. Each mechanism that is offered is used where the route names it, and the best where it names none. A wrong password
// makes mail wait, loses nothing, stands in no record, and a new one counts at once.
func TestOutboundAuth(t *testing.T) {
	ca := newAuthority(t)
	all := []string{"SCRAM-SHA-256", "PLAIN", "LOGIN"}
	for name, start := range map[string]func(t *testing.T, next string) submission{
		"postfix": func(t *testing.T, next string) submission {
			auth := startDovecot(t, dovecotOptions{mechanisms: "plain login scram-sha-256"}).auth
			dir := t.TempDir()
			certificate, key := ca.pair(t.TempDir(), "postfix.example.net", "root")
			return submission{startPostfix(t, dir, next, "mynetworks =", "smtpd_recipient_restrictions = permit_sasl_authenticated, reject", "smtpd_sasl_auth_enable = yes",
				"smtpd_sasl_type = dovecot", "smtpd_sasl_path = "+auth, "smtpd_sasl_authenticated_header = yes", "smtpd_tls_auth_only = yes",
				"smtpd_tls_security_level = may", "smtpd_tls_cert_file = "+certificate, "smtpd_tls_key_file = "+key), "joe", all, "(Authenticated sender: joe)"}
		},
		"dovecot": func(t *testing.T, next string) submission {
			certificate, key := ca.pair(t.TempDir(), "dovecot.example.net", "dovecot")
			return submission{startDovecot(t, dovecotOptions{mechanisms: "plain login scram-sha-256", next: next, certificate: certificate, key: key}).submission, "joe", all, " with ESMTPSA\r\n"}
		},
		"stagepost": func(t *testing.T, next string) submission {
			s := newSite(t, strings.NewReplacer("role = \"mx\"\n", "role = \"submission\"\ntls = \"starttls\"\nauth = [\"SCRAM-SHA-256-PLUS\", \"SCRAM-SHA-256\", \"PLAIN\", \"LOGIN\"]\n",
				"[\"127.0.0.0/8\"]", "[]\nauthenticated = true", "enable = [", "enable = [\"auth\", ").Replace(relayConfig(next))+
				"\n[plugin.auth]\nusers = \"lookup:users\"\n\n[lookup.users]\ntype = \"file\"\nfile = \"users.txt\"\n\n[tls]\ncertificate = \"second.example.net.pem\"\nkey = \"second.example.net.key\"\n")
			ca.pair(s.dir, "second.example.net", "")
			add := s.command("user", "add", "--scram", "joe@example.org")
			add.Stdin = strings.NewReader("pencil\n")
			if r := runToEnd(t, add); r.code != 0 {
				t.Fatalf("user add: exit code %d\n%s%s", r.code, r.out, r.err)
			}
			return submission{s.start().address("mx"), "joe@example.org", append([]string{"SCRAM-SHA-256-PLUS"}, all...), " with ESMTPSA id "}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := newSink(t)
			logsIn(t, ca, sink, start(t, sink.address))
		})
	}
}

// logsIn sends by a server that wants log-ins.
func logsIn(t *testing.T, ca authority, sink *sink, at submission) {
	config := strings.Replace(relayConfig(at.address), "[queue]\n", "[secrets]\nfolder = \"secrets\"\n\n[queue]\ntls = \"verified\"\n", 1) + "\n[plugin.route.auth]\n"
	login := func(domain, secret, mechanism string) {
		config += fmt.Sprintf("%q = { user = %q, secret = %q", domain, at.user, secret)
		if mechanism != "" {
			config += fmt.Sprintf(", mechanism = %q", mechanism)
		}
		config += " }\n"
	}
	login("best.example", "smtp/right", "")
	login("wrong.example", "smtp/wrong", "")
	for _, m := range at.mechanisms {
		login(strings.ToLower(m)+".example", "smtp/right", m)
	}
	if at.mechanisms[0] != "SCRAM-SHA-256-PLUS" {
		login("plus.example", "smtp/right", "SCRAM-SHA-256-PLUS")
	}
	s := newSite(t, config)
	ca.trusted(s)
	password := func(name, text string) {
		t.Helper()
		s.write("secrets/smtp/"+name, text+"\n")
		if err := os.Chmod(s.path("secrets/smtp/"+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	password("right", "pencil")
	password("wrong", "a-crayon")
	sv := s.start()
	c := dial(t, sv.address("mx"))
	var sent []string
	send := func(domain string) string {
		id := "<" + domain + "@client.example>"
		sent = append(sent, id)
		return c.deliver(t, "u@"+domain, id)
	}
	traced := func(id, want string) string {
		t.Helper()
		var trace string
		eventually(t, want, func() (bool, any) {
			trace = s.want(0, "trace", id)
			return strings.Contains(trace, want), trace
		})
		return trace
	}
	for _, domain := range append([]string{"best"}, at.mechanisms...) {
		mechanism := domain
		if domain == "best" {
			mechanism = at.mechanisms[0]
		}
		domain = strings.ToLower(domain) + ".example"
		traced(send(domain), ", verified, logged in by "+mechanism+", 250 ")
		text := sink.text("<" + domain + "@client.example>")
		if !strings.Contains(text, at.received) {
			t.Errorf("by %s: it arrived as\n%s", mechanism, text)
		}
	}
	if at.mechanisms[0] != "SCRAM-SHA-256-PLUS" { // nothing weaker takes the place of what the route names
		traced(send("plus.example"), "but the route wants SCRAM-SHA-256-PLUS")
		s.replace("stagepost.toml", strings.Replace(config, `mechanism = "SCRAM-SHA-256-PLUS"`, `mechanism = "PLAIN"`, 1))
		sv.live(2)
	}

	id := send("wrong.example")
	trace := traced(id, `454 4.7.8 the server refused the log-in with the secret "smtp/wrong" (`+at.mechanisms[0]+`): 535 `)
	if sink.times("<wrong.example@client.example>") > 0 {
		t.Error("it arrived with a wrong password")
	}
	traced(id, "; it is not tried again for some minutes")
	password("wrong", "pencil")
	sv.empty()
	sink.exactly(sent)
	said := trace + traced(id, "logged in by ") + sv.console.tail(1000)
	filepath.WalkDir(s.path("data"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			text, _ := os.ReadFile(path)
			said += string(text)
		}
		return nil
	})
	for _, secret := range []string{"pencil", "a-crayon", "cGVuY2ls", "YS1jcmF5b24"} {
		if strings.Contains(said, secret) {
			t.Errorf("%q stands in a record, in the log or in the data folder", secret)
		}
	}
	sv.stop()
}
