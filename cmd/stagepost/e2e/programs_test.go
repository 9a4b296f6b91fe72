package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// loginProgram sends one message after a log-in.
type loginProgram struct {
	mechanism, program string
	args               func(l *loginTry) []string
}

// loginTry is what a program has to know. The message is in a file, and in the standard input.
type loginTry struct {
	*site
	host, port, letter, secret string
	implicit                   bool // TLS from the outset
}

// either gives what a program is told for TLS from the outset, or for STARTTLS.
func (l *loginTry) either(implicit, starttls string) string {
	if l.implicit {
		return implicit
	}
	return starttls
}

// pythonLogin is smtplib.
const pythonLogin = `
import smtplib, ssl, sys
host, port, ca, letter, secret, mechanism, kind = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
with smtplib.SMTP_SSL(host, int(port), timeout=30, context=context) if kind == "implicit" else smtplib.SMTP(host, int(port), timeout=30) as s:
    if kind != "implicit":
        s.starttls(context=context)
    s.ehlo()
    s.user, s.password = "joe@example.org", secret
    s.auth(mechanism, getattr(s, "auth_" + mechanism.lower()))
    s.sendmail("joe@example.org", ["u@example.net"], open(letter).read())
`

func loginPrograms() (list []loginProgram) {
	add := func(program string, args func(l *loginTry, mechanism string) []string, mechanisms ...string) {
		for _, m := range mechanisms {
			list = append(list, loginProgram{m, program, func(l *loginTry) []string { return args(l, m) }})
		}
	}
	add("swaks", func(l *loginTry, mechanism string) []string {
		return []string{"--server", l.host, "--port", l.port, "--from", "joe@example.org", "--to", "u@example.net", "--data", "@" + l.letter, "--silent", "2",
			l.either("--tls-on-connect", "--tls"), "--auth", mechanism, "--auth-user", "joe@example.org", "--auth-password", l.secret}
	}, "PLAIN", "LOGIN")
	add("msmtp", func(l *loginTry, mechanism string) []string {
		args := []string{"--file=/dev/null", "--host=" + l.host, "--port=" + l.port, "--tls=on", "--tls-starttls=" + l.either("off", "on"), "--tls-trust-file=" + l.path("ca.pem"),
			"--auth=" + strings.ToLower(mechanism), "--user=joe@example.org", "--passwordeval=echo " + l.secret, "--from=joe@example.org"}
		if mechanism == "EXTERNAL" {
			args = append(args, "--tls-cert-file="+l.path("joe.pem"), "--tls-key-file="+l.path("joe.key"))
		}
		return append(args, "u@example.net")
	}, "PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL")
	add("curl", func(l *loginTry, mechanism string) []string {
		args := []string{"--silent", "--show-error", "--ssl-reqd", "--cacert", l.path("ca.pem"), "--url", l.either("smtps", "smtp") + "://" + net.JoinHostPort(l.host, l.port) + "/client.example",
			"--login-options", "AUTH=" + mechanism, "--mail-from", "joe@example.org", "--mail-rcpt", "u@example.net", "--upload-file", l.letter, "--crlf"}
		switch mechanism {
		case "EXTERNAL":
			return append(args, "--user", "joe@example.org:", "--cert", l.path("joe.pem"), "--key", l.path("joe.key"))
		case "OAUTHBEARER":
			return append(args, "--user", "joe@example.org:", "--oauth2-bearer", l.secret)
		}
		return append(args, "--user", "joe@example.org:"+l.secret)
	}, "PLAIN", "LOGIN", "OAUTHBEARER", "EXTERNAL")
	add("python3", func(l *loginTry, mechanism string) []string {
		return []string{"-c", pythonLogin, l.host, l.port, l.path("ca.pem"), l.letter, l.secret, mechanism, l.either("implicit", "starttls")}
	}, "PLAIN", "LOGIN")
	return list
}

// vouching is a plugin that knows tokens and certificates, as a service of the house would.
const vouching = `plugin { id = "vouching", version = "1.0.0" }
function on.auth(l)
  if l.kind == "token" and l.token == "pencil" then return accept { user = l.name } end
  if l.kind == "certificate" and l.certificate.names[1] == "joe.example.org" then return accept { user = "joe@example.org" } end
end
`

// newLoginSite is a server where joe@example.org may log in behind TLS, by every mechanism.
func newLoginSite(t *testing.T, sink *sink) *site {
	listener := func(tls string) string {
		return "tls = \"" + tls + "\"\nclient_certificates = \"request\"\nclient_ca = \"ca.pem\"\n" +
			"auth = [\"SCRAM-SHA-256-PLUS\", \"SCRAM-SHA-256\", \"EXTERNAL\", \"OAUTHBEARER\", \"XOAUTH2\", \"PLAIN\", \"LOGIN\"]\n"
	}
	config := strings.NewReplacer("role = \"mx\"\n", "role = \"mx\"\n"+listener("starttls")+"\n[[listener]]\nname = \"smtps\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n"+listener("implicit"),
		"[\"127.0.0.0/8\"]", "[]", "enable = [", "enable = [\"auth\", ").Replace(relayConfig(sink.address))
	s := newSite(t, config+"\n[plugin.auth]\nusers = \"lookup:users\"\n\n[lookup.users]\ntype = \"file\"\nfile = \"users.txt\"\n\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n")
	ca := certstest.New(t, "an authority")
	certstest.WriteFile(t, s.path("ca.pem"), certstest.PEM(ca.Certificate.Raw))
	certstest.Write(t, s.dir, "mx", ca.Issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, "mx.example.org"))
	certstest.Write(t, s.dir, "joe", ca.Issue(t, nil, "joe.example.org"))
	s.write("plugins/vouching.lua", vouching)
	add := s.command("user", "add", "--scram", "joe@example.org")
	add.Stdin = strings.NewReader("pencil\n")
	if r := runToEnd(t, add); r.code != 0 {
		t.Fatalf("user add: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	return s
}

// TestLoginPrograms: the programs that people send mail with log in by every mechanism that they know, behind STARTTLS and behind TLS
// from the outset, each log-in is logged, and only who is in may send on.
func TestLoginPrograms(t *testing.T) {
	sink := newSink(t)
	s := newLoginSite(t, sink)
	sv := s.start()
	var sent []string
	for i, listener := range []string{"mx", "smtps"} {
		for _, p := range loginPrograms() {
			t.Run(listener+"/"+p.mechanism+"/"+p.program, func(t *testing.T) {
				path := find(t, p.program)
				id := fmt.Sprintf("<%s-%s-%s@example.org>", listener, p.mechanism, p.program)
				l := &loginTry{site: s, letter: letterFile(t, id), implicit: i == 1}
				l.host, l.port, _ = net.SplitHostPort(sv.address(listener))
				run := func(secret string) result {
					l.secret = secret
					cmd := exec.Command(path, p.args(l)...)
					cmd.Env = append(os.Environ(), "HOME="+s.dir)
					in, err := os.Open(l.letter)
					if err != nil {
						t.Fatal(err)
					}
					defer in.Close()
					cmd.Stdin = in
					return runToEnd(t, cmd)
				}
				logged := func(mark int, result string) {
					t.Helper()
					sv.console.expect(t, mark, `{"time"`, `"msg":"log-in"`, `"listener":"`+listener+`"`, `"mechanism":"`+p.mechanism+`"`, `"name":"joe@example.org"`, `"result":"`+result+`"`)
				}
				mark := sv.console.mark()
				if r := run("pencil"); r.code != 0 {
					t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.err)
				}
				logged(mark, "accepted")
				sent = append(sent, id)
				if text := sink.text(id); !strings.Contains(text, " with ESMTPSA id ") || !strings.HasSuffix(strings.TrimRight(text, "\r\n"), "\r\n\r\ntext") {
					t.Errorf("it arrived as\n%s", text)
				}
				if p.mechanism == "EXTERNAL" { // it has no secret
					return
				}
				mark = sv.console.mark()
				if r := run("pen"); r.code == 0 {
					t.Errorf("a wrong secret: exit code 0\n%s%s", r.out, r.err)
				}
				logged(mark, "refused")
			})
		}
		t.Run(listener+"/by hand", func(t *testing.T) {
			id := "<" + listener + "-by-hand@example.org>"
			args := []string{"-connect", sv.address(listener)}
			begin := [2]string{"220 mx", "ehlo client.example"}
			if listener == "mx" {
				args, begin[0] = append(args, "-starttls", "smtp"), "250 HELP"
			}
			plain := func(secret string) [2]string {
				return [2]string{"250-AUTH ", "auth PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00joe@example.org\x00"+secret))}
			}
			out := talkTLS(t, s, [][2]string{begin, plain("pencil"), {"235 2.7.0", "mail from:<joe@example.org>"}, {"250 2.1.0", "rcpt to:<u@example.net>"}, {"250 2.1.5", "data"},
				{"354 ", "From: joe@example.org\nMessage-ID: " + id + "\n\ntext\n."}, {"250 2.0.0 queued", "quit"}}, args...)
			if !strings.Contains(out, "221 2.0.0 bye") {
				t.Errorf("it ended with\n%s", out)
			}
			sent = append(sent, id)
			sink.wants(t, id, "\r\n\r\ntext\r\n")
			out = talkTLS(t, s, [][2]string{begin, plain("pen"), {"535 5.7.8", "mail from:<joe@example.org>"}, {"250 2.1.0", "rcpt to:<u@example.net>"}, {"550 5.7.1 relay not permitted", "quit"}}, args...)
			if !strings.Contains(out, "221 2.0.0 bye") {
				t.Errorf("refused, it ended with\n%s", out)
			}
		})
	}
	sv.empty()
	sink.exactly(sent)
	sv.stop()
}

// TestCurlBareLF: curl sends the lines of a file as they are unless it is told --crlf. A Postfix that refuses bare LF, as we do, has it
// say the same of that: exit code 8, "Weird server reply", though the log-in before it and the reply are right.
func TestCurlBareLF(t *testing.T) {
	curl := find(t, "curl")
	sink := newSink(t)
	sv := newSite(t, relayConfig(sink.address)).start()
	send := func(t *testing.T, address, want string) {
		r := runToEnd(t, exec.Command(curl, "--silent", "--show-error", "--verbose", "--url", "smtp://"+address+"/client.example", "--mail-from", "a@client.example",
			"--mail-rcpt", "u@example.net", "--upload-file", letterFile(t, "<bare@client.example>")))
		if r.code != 8 || !strings.Contains(r.err, want) {
			t.Errorf("exit code %d, want 8 and %q\n%s", r.code, want, r.err)
		}
	}
	send(t, sv.address("mx"), "< 550 5.5.2 message holds a bare LF")
	t.Run("postfix", func(t *testing.T) {
		send(t, startPostfix(t, t.TempDir(), sv.address("mx"), "smtpd_forbid_bare_newline = reject", "smtpd_forbid_bare_newline_exclusions ="), "bare <LF> received")
	})
	sv.empty()
	sink.exactly(nil)
	sv.stop()
}
