package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newFewFilesSite is a site whose server may not open many files, before a sink that takes nothing yet.
func newFewFilesSite(t *testing.T, files int) (*server, *sink) {
	t.Helper()
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.3.0 not now")
	s := newSite(t, strings.Replace(relayConfig(sink.address), "[queue]", "[limits]\nsessions_per_ip = 1000\n\n[queue]", 1))
	s.limit = func(cmd *exec.Cmd) {
		shell := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)}, cmd.Args...)...)
		cmd.Path, cmd.Args = shell.Path, shell.Args
	}
	return s.start(), sink
}

// large is a message of some 28 kB: with enough of them the store's log is followed by new ones.
func large(t testing.TB, c *client, id string) {
	t.Helper()
	c.want(t, "MAIL FROM:<a@client.example>", "250 ")
	c.want(t, "RCPT TO:<u@example.net>", "250 ")
	c.want(t, "DATA", "354 ")
	c.want(t, letter(id)+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 390)+".", "250 2.0.0 queued as ")
}

// TestManyConnections: more connections come than the server may have files. Each is answered, those that are too many with 421;
// what is kept back is enough for the store and for deliveries, and when sessions have ended others are let in.
func TestManyConnections(t *testing.T) {
	const files, connections, reserve = 256, 600, 64
	sv, sink := newFewFilesSite(t, files)
	address := sv.address("mx")
	c := dial(t, address)
	var open []*client
	let, refused := 0, 0
	for i := range connections {
		other, err := connect(address)
		switch {
		case err == nil:
			let++
			open = append(open, other)
		case strings.Contains(err.Error(), "421 4.3.2 the server has too much open"):
			refused++
		default:
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if let < files/2 || let > files-reserve {
		t.Errorf("%d were let in, %d refused", let, refused)
	}
	if h := sv.status().Health; !strings.HasPrefix(h, "too many files and connections are open: ") {
		t.Errorf("health: %s", h)
	}
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprintf("<many.%d@client.example>", i))
		large(t, c, ids[i])
	}
	sink.refuses("RCPT", "")
	sv.empty()
	sink.exactly(ids)
	for _, other := range open {
		other.conn.Close()
	}
	eventually(t, "a new connection is let in", func() (bool, any) {
		other, err := connect(address)
		if err == nil {
			other.conn.Close()
		}
		return err == nil, err
	})
	for _, line := range []string{"cannot accept", "may not open any more files"} {
		if sv.console.last(line) >= 0 {
			t.Errorf("the log has a line with %q", line)
		}
	}
	sv.stop()
}

// TestNoFilesLeft: the process may open no file any more, not for a connection and not for itself, while a session brings so much
// mail that the log must be followed by new ones. The server goes on, and nothing is lost.
func TestNoFilesLeft(t *testing.T) {
	const files, most = 128, 3000
	sv, sink := newFewFilesSite(t, files)
	address := sv.address("mx")
	c := dial(t, address)
	sv.mayOpen(sv.lowestFree(), files)
	waiting, err := net.Dial("tcp", address) // the system takes the connection
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	var ids []string
	spent := func() bool { return sv.console.last("may not open any more files") >= 0 }
	for i := 0; i < most && !spent(); i++ {
		ids = append(ids, fmt.Sprintf("<files.%d@client.example>", i))
		large(t, c, ids[i])
	}
	sv.alive()
	if !spent() {
		t.Error("the server never ran out of files")
	}
	if n := strings.Count(strings.Join(sv.console.since(0), "\n"), "cannot accept connections"); n != 1 {
		t.Errorf("the log says %d times that connections cannot be accepted", n)
	}
	sv.mayOpen(files, files)
	greeting := make([]byte, 4)
	// How many files are open is known as of a second ago at most, so it may be told that there are too many, and the next is not.
	if _, err := waiting.Read(greeting); err != nil || string(greeting) != "220 " && string(greeting) != "421 " {
		t.Errorf("the connection that waited is told %q, %v", greeting, err)
	}
	eventually(t, "a new connection is let in", func() (bool, any) {
		other, err := connect(address)
		if err == nil {
			other.conn.Close()
		}
		return err == nil, err
	})
	sink.refuses("RCPT", "")
	sv.empty()
	sink.exactly(ids)
	sv.stop()
}

// mayOpen sets the number below which the process may open files; most bounds it.
func (sv *server) mayOpen(files, most uint64) {
	sv.t.Helper()
	limit := unix.Rlimit{Cur: files, Max: most}
	if err := unix.Prlimit(sv.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		sv.t.Fatal(err)
	}
}

// lowestFree is the number that the next file of the process would have.
func (sv *server) lowestFree() uint64 {
	for n := uint64(0); ; n++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", sv.cmd.Process.Pid, n)); errors.Is(err, os.ErrNotExist) {
			return n
		} else if err != nil {
			sv.t.Fatal(err)
		}
	}
}
