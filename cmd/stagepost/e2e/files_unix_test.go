//go:build unix

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// TestNoFilesLeft: idle sessions take all the files that the process may open, while another session brings so much mail that
// the log must be followed by new ones. The server goes on, and nothing is lost.
func TestNoFilesLeft(t *testing.T) {
	const files, most = 64, 3000
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.3.0 not now")
	s := newSite(t, relayConfig(sink.address))
	s.limit = func(cmd *exec.Cmd) {
		shell := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)}, cmd.Args...)...)
		cmd.Path, cmd.Args = shell.Path, shell.Args
	}
	sv := s.start()
	address := sv.address("mx")
	c := dial(t, address)
	var idle []net.Conn
	for range files {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	padding := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 390)
	var ids []string
	spent := func() bool { return sv.console.last("may not open any more files") >= 0 }
	for i := 0; i < most && !spent(); i++ {
		id := fmt.Sprintf("<files.%d@client.example>", i)
		c.want(t, "MAIL FROM:<a@client.example>", "250 ")
		c.want(t, "RCPT TO:<u@example.net>", "250 ")
		c.want(t, "DATA", "354 ")
		c.want(t, letter(id)+padding+".", "250 2.0.0 queued as ")
		ids = append(ids, id)
	}
	sv.alive()
	if !spent() {
		t.Error("the server never ran out of files")
	}
	for _, conn := range idle {
		conn.Close()
	}
	sink.refuses("RCPT", "")
	s.empty()
	sink.exactly(ids)
	sv.stop()
}
