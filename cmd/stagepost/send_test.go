package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// script is an SMTP server that plays a transcript: what it says (S:) and what it must hear (C:, a line or a pattern that ends
// with *). It returns its address and what went wrong.
func script(t *testing.T, transcript string) (addr string, done <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	errs := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			errs <- err
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		errs <- play(conn, transcript)
	}()
	return l.Addr().String(), errs
}

func play(conn io.ReadWriter, transcript string) error {
	r := bufio.NewReader(conn)
	for want := range strings.Lines(transcript) {
		want = strings.TrimSuffix(want, "\n")
		if reply, ok := strings.CutPrefix(want, "S: "); ok {
			io.WriteString(conn, reply+"\r\n")
			continue
		}
		want, ok := strings.CutPrefix(want, "C: ")
		if !ok && want != "C:" {
			continue
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", want, err)
		}
		got := strings.TrimSuffix(line, "\r\n")
		if start, pattern := strings.CutSuffix(want, "*"); got != want && !(pattern && strings.HasPrefix(got, start)) && want != "C:" {
			return fmt.Errorf("got %q, want %q", got, want)
		}
	}
	return nil
}

const accepted = `S: 220 mx
C: EHLO localhost
S: 250-mx
S: 250 8BITMIME
C: MAIL FROM:<a@example.net> BODY=8BITMIME
S: 250 ok
C: RCPT TO:<u@example.org>
S: 250 ok
C: DATA
S: 354 go on
`

func TestSend(t *testing.T) {
	for _, tt := range []struct {
		name, transcript, input string
		args                    []string
		code                    int
		want                    []string
	}{
		{"composed", accepted + "C: From: <a@example.net>\nC: To: <u@example.org>\nC: Subject: =?utf-8?q?h=C3=A9?=\nC: Date: Sun, 01 Mar 2026 12:00:00 *\nC: Message-ID: <*\n" +
			"C: MIME-Version: 1.0\nC: Content-Type: text/plain; charset=utf-8\nC: Content-Transfer-Encoding: 8bit\nC: \nC: one\nC: ..\nC: two\nC: .\n" +
			"S: 250 2.0.0 queued as 01j0000000000000\nC: QUIT\nS: 221 bye\n", "",
			[]string{"--to", "u@example.org", "--from", "a@example.net", "--subject", "hé", "--body", "one\n.\ntwo\n"}, 0,
			[]string{"250 2.0.0 queued as 01j0000000000000\nstagepost trace 01j0000000000000\n"}},
		{"input with LF and CRLF", accepted + "C: X: 1\nC: \nC: a\nC: b\nC: .\nS: 250 done\nC: QUIT\n", "X: 1\n\r\na\r\nb",
			[]string{"--to", "u@example.org", "--from", "a@example.net", "--file", "-"}, 0, []string{"250 done\n", "!trace"}},
		{"null sender, no extensions, one of two", "S: 220 mx\nC: EHLO localhost\nS: 250 mx\nC: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<u@example.org>\nS: 550 5.1.1 no \x1b such user\n" +
			"C: RCPT TO:<v@example.org>\nS: 250 ok\nC: DATA\nS: 354 ok\nC: X: 1\nC: .\nS: 250 taken\nC: QUIT\n", "X: 1",
			[]string{"--to", "u@example.org", "--to", "v@example.org", "--from", "", "--file", "-"}, exitUnavailable, []string{"250 taken", "<u@example.org> was refused: 550 5.1.1 no ? such user"}},
		{"all refused", "S: 220 mx\nC: EHLO localhost\nS: 250 mx\nC: MAIL FROM:<postmaster@localhost>\nS: 250 ok\nC: RCPT TO:<u@example.org>\nS: 550 5.7.1 no\n" +
			"C: RCPT TO:<v@example.org>\nS: 451 4.7.1 later\nC: QUIT\n", "",
			[]string{"--to", "u@example.org", "--to", "v@example.org"}, exitTemporary, []string{"<u@example.org> was refused: 550 5.7.1 no\n", "<v@example.org> was refused: 451 4.7.1 later"}},
		{"sender refused", "S: 220 mx\nC: EHLO localhost\nS: 250 mx\nC: MAIL FROM:<postmaster@localhost>\nS: 452 4.3.1 full\nC: QUIT\n", "",
			[]string{"--to", "u@example.org"}, exitTemporary, []string{"MAIL FROM:<postmaster@localhost> was refused: 452 4.3.1 full"}},
		{"message refused", accepted + "C: X: 1\nC: .\nS: 554 5.6.0 no\nC: QUIT\n", "X: 1",
			[]string{"--to", "u@example.org", "--from", "a@example.net", "--file", "-"}, exitUnavailable, []string{"the message was refused: 554 5.6.0 no"}},
		{"greeting refused", "S: 421 busy\nC: QUIT\n", "", []string{"--to", "u@example.org"}, exitTemporary, []string{"the greeting was refused: 421 busy"}},
		{"broken off", "S: 220 mx\nC: EHLO localhost\n", "", []string{"--to", "u@example.org"}, exitTemporary, []string{"broke off"}},
		{"log-in", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AGpvZUBleGFtcGxlLm9yZwBwZW5jaWw=\nS: 235 2.7.0 yes\n" +
			"C: MAIL FROM:<joe@example.org>\nS: 250 ok\nC: RCPT TO:<u@example.org>\nS: 550 5.1.1 no\nC: QUIT\n", "pencil\r\n",
			[]string{"--to", "u@example.org", "--user", "joe@example.org", "--tls", "off"}, exitUnavailable, []string{"<u@example.org> was refused: 550 5.1.1 no"}},
		{"log-in refused", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGpvZQBwZW5jaWw=\nS: 535 5.7.8 wrong\nC: QUIT\n", "pencil",
			[]string{"--to", "u@example.org", "--user", "joe", "--tls", "off"}, exitUnavailable, []string{"the log-in of joe was refused: 535 5.7.8 wrong", "!pencil"}},
		{"other log-ins", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250 AUTH CRAM-MD5 PLAIN-CLIENTTOKEN\nC: QUIT\n", "pencil",
			[]string{"--to", "u@example.org", "--user", "joe", "--tls", "off"}, exitUnavailable, []string{"the server offers CRAM-MD5 PLAIN-CLIENTTOKEN to log in with, and not PLAIN"}},
		{"no log-in", "S: 220 mx\nC: EHLO localhost\nS: 250 mx\nC: QUIT\n", "pencil",
			[]string{"--to", "u@example.org", "--user", "joe", "--tls", "off"}, exitUnavailable, []string{"the server offers no log-in; where it does so within TLS only, write --tls starttls"}},
		{"no TLS for it", "S: 220 mx\nC: EHLO localhost\nS: 250 mx\nC: STARTTLS\nS: 502 5.5.1 no\nC: QUIT\n", "pencil",
			[]string{"--to", "u@example.org", "--user", "joe"}, exitUnavailable, []string{"STARTTLS was refused: 502 5.5.1 no"}},
		{"nonsense", "S: hello\n", "", []string{"--to", "u@example.org"}, exitTemporary, []string{"broke off", "bad reply"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, minimal)
			addr, done := script(t, tt.transcript)
			r := s.runInput(tt.input, append([]string{"send", "--server", addr}, tt.args...)...)
			if err := <-done; err != nil {
				t.Error(err)
			}
			s.want(r, tt.code, tt.want...)
		})
	}
}

func TestSendFinds(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:25": "127.0.0.1:25", ":25": "127.0.0.1:25", "[::]:25": "[::1]:25", "192.0.2.1:25": "192.0.2.1:25",
	} {
		if got := reachable(address); got != want {
			t.Errorf("%s is reached at %s, want %s", address, got, want)
		}
	}
	s := newSite(t, minimal)
	s.want(s.run("send", "--to", "u@example.org", "--file", "/nonexistent"), exitUnavailable, "no server is running") // port 0: only the server knows
	s.write("stagepost.toml", strings.Replace(minimal, "127.0.0.1:0", "127.0.0.1:1", 1))
	s.want(s.run("send", "--to", "u@example.org"), exitUnavailable, "nobody answers at 127.0.0.1:1", "stagepost serve --config")
	s.want(s.run("send", "--to", "u@example.org", "--file", "nonexistent"), exitNoInput, "nonexistent")
}

// TestSendPassword: what cannot be, is said before anything is sent.
func TestSendPassword(t *testing.T) {
	s := newSite(t, minimal)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--user", "joe"}, exitConfig, "no listener has the role \"submission\"; name a server with --server"},
		{[]string{"--password-file", "pw"}, exitUsage, "whose password it is, says --user NAME"},
		{[]string{"--user", "joe", "--server", "192.0.2.1:587", "--tls", "off"}, exitUsage, "without TLS everybody on the way to 192.0.2.1:587 could read the password"},
		{[]string{"--user", "joe", "--server", "127.0.0.1:1", "--file", "-"}, exitUsage, "give the password with --password-file"},
		{[]string{"--user", "joe", "--server", "127.0.0.1:1", "--password-file", "/nonexistent"}, exitNoInput, "/nonexistent"},
	} {
		s.want(s.run(append([]string{"send", "--to", "u@example.org"}, tt.args...)...), tt.code, tt.want)
	}
}

func TestCRLF(t *testing.T) {
	const in = "a\r\nb\nc\r\n\n\nd\r"
	for step := 1; step <= len(in); step++ {
		var b strings.Builder
		w := crlf{w: &b}
		for i := 0; i < len(in); i += step {
			io.WriteString(&w, in[i:min(i+step, len(in))])
		}
		if want := "a\r\nb\r\nc\r\n\r\n\r\nd\r"; b.String() != want {
			t.Errorf("in steps of %d: %q, want %q", step, b.String(), want)
		}
	}
}
