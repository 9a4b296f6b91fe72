package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clientProgram sends one message with a Message-ID to an address.
type clientProgram struct {
	name    string
	program string // looked up in PATH; the packages of Debian that have them are in scripts/test
	args    func(host, port, file string) []string
	stdin   bool // the message is read from standard input
}

// pythonSend is a client in Python's smtplib.
const pythonSend = `
import smtplib, sys
with smtplib.SMTP(sys.argv[1], int(sys.argv[2]), timeout=30) as s:
    s.sendmail("a@client.example", ["u@example.net"], open(sys.argv[3]).read())
`

func clientPrograms() []clientProgram {
	return []clientProgram{
		{"swaks", "swaks", func(host, port, file string) []string {
			return []string{"--server", host, "--port", port, "--from", "a@client.example", "--to", "u@example.net", "--data", "@" + file, "--silent", "2"}
		}, false},
		{"swaks, pipelining", "swaks", func(host, port, file string) []string {
			return []string{"--server", host, "--port", port, "--from", "a@client.example", "--to", "u@example.net", "--data", "@" + file, "--silent", "2", "--pipeline"}
		}, false},
		{"curl", "curl", func(host, port, file string) []string {
			return []string{"--silent", "--show-error", "--url", "smtp://" + net.JoinHostPort(host, port) + "/client.example", "--mail-from", "a@client.example", "--mail-rcpt", "u@example.net", "--upload-file", file, "--crlf"}
		}, false},
		{"msmtp", "msmtp", func(host, port, file string) []string {
			return []string{"--file=/dev/null", "--host=" + host, "--port=" + port, "--auth=off", "--tls=off", "--from=a@client.example", "u@example.net"}
		}, true},
		{"smtplib", "python3", func(host, port, file string) []string { return []string{"-c", pythonSend, host, port, file} }, false},
	}
}

// TestClients takes a message from each program that people send mail with, and looks at what comes out.
func TestClients(t *testing.T) {
	sink := newSink(t)
	sv := newSite(t, relayConfig(sink.address)).start()
	for i, c := range clientPrograms() {
		t.Run(c.name, func(t *testing.T) {
			path := find(t, c.program)
			host, port, _ := net.SplitHostPort(sv.address("mx"))
			id := fmt.Sprintf("<client-%d@client.example>", i)
			file := filepath.Join(t.TempDir(), "message.eml")
			text := "From: a@client.example\nTo: u@example.net\nSubject: interoperation\nMessage-ID: " + id + "\n\na line\n.a line with a dot\n..two\n\nthe last\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, c.args(host, port, file)...)
			if c.stdin {
				in, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				cmd.Stdin = in
			}
			if r := runToEnd(t, cmd); r.code != 0 {
				t.Fatalf("%s: exit code %d\n%s%s", c.program, r.code, r.out, r.err)
			}
			sink.wants(t, id, "\r\n\r\na line\r\n.a line with a dot\r\n..two\r\n\r\nthe last\r\n")
		})
	}
	sv.empty()
	sv.stop()
}

// find looks a program up, or leaves the test out.
func find(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("left out: %s is not there", program)
	}
	return path
}

// wants waits for a message and checks how it ends.
func (s *sink) wants(t *testing.T, id, end string) {
	t.Helper()
	if got := s.text(id); !strings.HasSuffix(strings.TrimRight(got, "\r\n"), strings.TrimRight(end, "\r\n")) {
		t.Errorf("%s came as\n%q\nwant the end\n%q", id, got, end)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.took[id]; n != 1 {
		t.Errorf("%s came %d times", id, n)
	}
}
