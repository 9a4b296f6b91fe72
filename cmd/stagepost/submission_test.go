package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// TestExampleSubmission runs examples/submission as it is, but for the ports it listens on and for its certificate: a user is made, logs in
// within TLS, and sends.
func TestExampleSubmission(t *testing.T) {
	s := newSite(t, minimal)
	s.dir = t.TempDir()
	s.config = filepath.Join(s.dir, localConfig)
	if err := os.CopyFS(s.dir, os.DirFS("../../examples/submission")); err != nil {
		t.Fatal(err)
	}
	text := s.read(localConfig)
	free := strings.NewReplacer("127.0.0.1:2465", "127.0.0.1:0", "127.0.0.1:2587", "127.0.0.1:0").Replace(text)
	if strings.Count(free, "127.0.0.1:0") != 2 {
		t.Fatal("the example listens elsewhere")
	}
	s.write(localConfig, free)
	ca := certstest.New(t, "an authority")
	certificate, key := certstest.Write(t, s.dir, "made", ca.Issue(t, nil, "mail.example.org"))
	for from, to := range map[string]string{certificate: "cert.pem", key: "key.pem"} {
		if err := os.Rename(from, filepath.Join(s.dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	s.want(s.user("pencil\n", "add", "office@example.org"), 0)
	next := &remote{name: "next"}
	if err := next.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.close)
	d := serveQuietly(t, s.config, daemonOptions{dial: (&internet{remotes: map[string]*remote{"127.0.0.1:2526": next}}).dial})

	s.write("password", "pencil\nthe rest is no password\n")
	logIn := []string{"send", "--to", "u@elsewhere.example", "--password-file", filepath.Join(s.dir, "password"), "--user"}
	s.want(s.run(append(logIn, "office@example.org")...), 0, "250 2.0.0 queued as ")
	if got := arrived(t, next, "u@elsewhere.example"); !strings.Contains(got, "From: <office@example.org>") {
		t.Errorf("arrived as\n%s", got)
	}
	s.want(s.run(append(logIn, "support@example.org")...), exitUnavailable, "the log-in of support@example.org was refused: 535 5.7.8")

	for i, tt := range []struct{ password, from, header, want string }{
		{"pencil", "office@example.org", "office@example.org", "250 2.0.0"},
		{"pencil", "sales@example.org", "Sales@example.org", "250 2.0.0"},
		{"pencil", "support@example.org", "office@example.org", "553 5.7.1"},
		{"pencil", "office@example.org", "support@example.org", "550 5.7.1"},
		{"crayon", "office@example.org", "office@example.org", "535 5.7.8"},
		{"", "office@example.org", "office@example.org", "530 5.7.0"},
	} {
		rcpt := fmt.Sprintf("u%d@elsewhere.example", i)
		conn, err := tls.Dial("tcp", d.bound.address("submissions"), &tls.Config{RootCAs: ca.Pool(), ServerName: "mail.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		ask := func(command string) (reply string) {
			t.Helper()
			if command != "" {
				fmt.Fprintf(conn, "%s\r\n", command)
			}
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if len(line) > 3 && line[3] != '-' {
					return line
				}
			}
		}
		commands := []string{"", "EHLO client.example"}
		if tt.password != "" {
			commands = append(commands, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00office@example.org\x00"+tt.password)))
		}
		commands = append(commands, "MAIL FROM:<"+tt.from+">", "RCPT TO:<"+rcpt+">", "DATA", "From: "+tt.header+"\r\nSubject: hello\r\n\r\nhello\r\n.")
		var reply string
		for _, c := range commands {
			if reply = ask(c); reply[0] > '3' {
				break
			}
		}
		conn.Close()
		if !strings.HasPrefix(reply, tt.want) {
			t.Errorf("%+v: %s", tt, reply)
		} else if tt.want[0] == '2' {
			if got := arrived(t, next, rcpt); fieldOf(got, "Subject") != "hello" || !strings.Contains(got, "with ESMTPSA") {
				t.Errorf("arrived as\n%s", got)
			}
		}
	}
}
