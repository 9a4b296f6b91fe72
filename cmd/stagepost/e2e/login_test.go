package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// loginConfig lets clients log in without TLS, and gives their mail to the sink.
func loginConfig(sink, plugins string) string {
	return fmt.Sprintf(`hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
auth = ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
auth_without_tls = true

[plugin.relay]
authenticated = true

[plugin.route]
default = %q

%s`, sink, plugins)
}

// swaksLogin has swaks log in and send a message; it gives what both said.
func swaksLogin(t *testing.T, address, mechanism, name, password, from, id string) result {
	t.Helper()
	return runToEnd(t, exec.Command(find(t, "swaks"), "--server", address, "--auth", mechanism, "--auth-user", name, "--auth-password", password,
		"--from", from, "--to", "u@example.net", "--header", "Message-Id: "+id, "--timeout", "50s"))
}

// TestLoginUsers: users that the command made log in by a program that people use, send, and send under their own addresses only.
func TestLoginUsers(t *testing.T) {
	find(t, "swaks")
	sink := newSink(t)
	s := newSite(t, loginConfig(sink.address, `[plugins]
enable = ["auth", "sender-login", "relay", "route"]
[plugin.auth]
users = "lookup:users"
[lookup.users]
type = "file"
file = "users.txt"
`))
	user := func(password string, args ...string) {
		t.Helper()
		cmd := s.command(append([]string{"user"}, args...)...)
		cmd.Stdin = strings.NewReader(password + "\n")
		if r := runToEnd(t, cmd); r.code != 0 {
			t.Fatalf("user %v: %d\n%s%s", args, r.code, r.out, r.err)
		}
	}
	user("pencil", "add", "joe@example.org")
	user("crayon", "add", "ann@example.org", "--scram")
	sv := s.start()
	var sent []string
	try := func(want, mechanism, name, password, from string) {
		t.Helper()
		id := fmt.Sprintf("<%d@example.org>", len(sent))
		r := swaksLogin(t, sv.address("mx"), mechanism, name, password, from, id)
		if !strings.Contains(r.out+r.err, want) {
			t.Errorf("%s as %s from %s: no %q in\n%s%s", mechanism, name, from, want, r.out, r.err)
		}
		if want == " 250 2.0.0" {
			sent = append(sent, id)
		}
	}
	try(" 250 2.0.0", "PLAIN", "joe@example.org", "pencil", "joe@example.org")
	try(" 250 2.0.0", "LOGIN", "JOE@example.org", "pencil", "joe+news@example.org")
	try(" 250 2.0.0", "PLAIN", "ann@example.org", "crayon", "ann@example.org")
	try("535 5.7.8", "PLAIN", "joe@example.org", "crayon", "joe@example.org")
	try("535 5.7.8", "LOGIN", "nobody@example.org", "pencil", "joe@example.org")
	try("553 5.7.1", "PLAIN", "joe@example.org", "pencil", "ann@example.org")

	mark := sv.console.mark()
	user("chalk", "passwd", "joe@example.org")
	sv.console.expect(t, mark, "is live")
	try("535 5.7.8", "PLAIN", "joe@example.org", "pencil", "joe@example.org")
	try(" 250 2.0.0", "PLAIN", "joe@example.org", "chalk", "joe@example.org")
	sv.empty()
	sink.exactly(sent)
	sv.stop()
}

// TestLoginDovecot: a real Dovecot knows who may log in, on its socket.
func TestLoginDovecot(t *testing.T) {
	find(t, "swaks")
	sink := newSink(t)
	socket := startDovecot(t, dovecotOptions{}).auth
	s := newSite(t, loginConfig(sink.address, fmt.Sprintf("[plugins]\nenable = [\"auth-dovecot\", \"relay\", \"route\"]\n[plugin.auth-dovecot]\nsocket = %q\n", socket)))
	loginElsewhere(t, s, sink)
}

// TestLoginProxy: a real submission server knows who may log in.
func TestLoginProxy(t *testing.T) {
	find(t, "swaks")
	sink := newSink(t)
	address := startDovecot(t, dovecotOptions{next: sink.address}).submission
	s := newSite(t, loginConfig(sink.address, fmt.Sprintf("[plugins]\nenable = [\"auth-proxy\", \"relay\", \"route\"]\n[plugin.auth-proxy]\nserver = %q\ntls = false\n", address)))
	loginElsewhere(t, s, sink)
}

// loginElsewhere logs in as joe, and as others who are not known; then nobody can tell any more.
func loginElsewhere(t *testing.T, s *site, sink *sink) {
	sv := s.start()
	for _, tt := range []struct{ mechanism, name, password, want string }{
		{"PLAIN", "joe", "pencil", " 250 2.0.0"},
		{"LOGIN", "joe", "pencil", " 250 2.0.0"},
		{"PLAIN", "joe", "crayon", "535 5.7.8"},
		{"PLAIN", "nobody", "pencil", "535 5.7.8"},
	} {
		r := swaksLogin(t, sv.address("mx"), tt.mechanism, tt.name, tt.password, "joe@example.org", "<"+tt.mechanism+"@example.org>")
		if !strings.Contains(r.out+r.err, tt.want) {
			t.Errorf("%s as %s: no %q in\n%s%s", tt.mechanism, tt.name, tt.want, r.out, r.err)
		}
	}
	sv.empty()
	sink.exactly([]string{"<PLAIN@example.org>", "<LOGIN@example.org>"})

	mark := sv.console.mark()
	config, err := os.ReadFile(s.path("stagepost.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "socket = \"", "socket = \"/nowhere", 1)
	if text == string(config) {
		text = strings.Replace(text, "server = \"127.0.0.1", "server = \"127.0.0.2", 1)
	}
	s.replace("stagepost.toml", text)
	sv.console.expect(t, mark, "is live")
	if r := swaksLogin(t, sv.address("mx"), "PLAIN", "joe", "pencil", "joe@example.org", "<x@example.org>"); !strings.Contains(r.out+r.err, "454 4.7.0") {
		t.Errorf("where nobody can tell:\n%s%s", r.out, r.err)
	}
	sv.stop()
}
