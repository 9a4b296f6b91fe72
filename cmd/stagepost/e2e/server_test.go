package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a running stagepost serve.
type server struct {
	*site
	cmd     *exec.Cmd
	console *console // its standard error
	ended   chan struct{}
}

// start runs the server until it says ready. It is killed at the end of the test, if it still runs then.
func (s *site) start() *server {
	s.t.Helper()
	sv := s.launch()
	if line := sv.console.expect(s.t, 0, "ready: "); !strings.HasPrefix(line, "ready: ") {
		s.t.Fatalf("the line that says ready: %q", line)
	}
	return sv
}

// launch runs the server without waiting for it.
func (s *site) launch() *server {
	s.t.Helper()
	sv := &server{site: s, cmd: s.command("serve"), console: &console{}, ended: make(chan struct{})}
	if s.limit != nil {
		s.limit(sv.cmd)
	}
	sv.cmd.Stdout, sv.cmd.Stderr = sv.console, sv.console
	if err := sv.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		sv.cmd.Wait()
		sv.console.end()
		close(sv.ended)
	}()
	s.t.Cleanup(func() {
		sv.cmd.Process.Kill()
		<-sv.ended
		if s.t.Failed() {
			s.t.Logf("the server in %s said:\n%s", s.dir, sv.console.tail(100))
		}
	})
	return sv
}

// address is where a listener waits; "" if there is none of the name.
func (s *site) address(listener string) string {
	s.t.Helper()
	for _, l := range s.status().Listeners {
		if l.Name == listener {
			return l.Address
		}
	}
	return ""
}

func (sv *server) signal(sig os.Signal) {
	sv.t.Helper()
	if err := sv.cmd.Process.Signal(sig); err != nil {
		sv.t.Fatal(err)
	}
}

// wait gives the exit code of a server that ends; -1 if a signal ended it.
func (sv *server) wait() int {
	sv.t.Helper()
	select {
	case <-sv.ended:
	case <-time.After(patience):
		sv.t.Fatal("the server did not end")
	}
	return sv.cmd.ProcessState.ExitCode()
}

// stop ends the server as a service manager does.
func (sv *server) stop() {
	sv.t.Helper()
	sv.signal(syscall.SIGTERM)
	if code := sv.wait(); code != 0 {
		sv.t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// closed waits until the server takes no connections any more, as it does when it stops.
func (sv *server) closed(address string) {
	sv.t.Helper()
	eventually(sv.t, "nobody listens at "+address, func() (bool, any) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED), err
	})
}

// kill ends the server as a crash does.
func (sv *server) kill() {
	sv.t.Helper()
	sv.signal(os.Kill)
	sv.wait()
}

// alive fails the test if the server has ended.
func (sv *server) alive() {
	sv.t.Helper()
	select {
	case <-sv.ended:
		sv.t.Fatalf("the server ended: %s", sv.cmd.ProcessState)
	default:
	}
}

// live waits for a generation.
func (sv *server) live(number uint64) {
	sv.t.Helper()
	sv.console.expect(sv.t, 0, fmt.Sprintf("generation %d is live", number))
	if st := sv.status(); st.Generation != number || st.Error != "" {
		sv.t.Fatalf("status: generation %d, error %q, want %d and none", st.Generation, st.Error, number)
	}
}

// refuses waits until the console says, after mark, why a change is refused and that generation number stays, and checks that
// status says the same.
func (sv *server) refuses(mark int, number uint64, why string) {
	sv.t.Helper()
	line := sv.console.expect(sv.t, mark, fmt.Sprintf("; generation %d stays", number))
	if !strings.Contains(line, why) {
		sv.t.Fatalf("the refusal: %q, want %q in it", line, why)
	}
	if st := sv.status(); st.Generation != number || !strings.Contains(st.Error, why) {
		sv.t.Fatalf("status: generation %d, error %q, want %d and %q", st.Generation, st.Error, number, why)
	}
}

// console keeps the lines that a server writes.
type console struct {
	mu    sync.Mutex
	part  string
	lines []string
	ended bool
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(c.part+string(p), "\n")
	c.part = lines[len(lines)-1]
	c.lines = append(c.lines, lines[:len(lines)-1]...)
	return len(p), nil
}

func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// mark is the place of the next line.
func (c *console) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// find gives the first line from mark on that holds all the words. What the log says in JSON does not count unless the words
// begin with a brace: people read the other lines.
func (c *console) find(mark int, words ...string) (line string, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
next:
	for _, line := range c.lines[min(mark, len(c.lines)):] {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		if strings.HasPrefix(line, "{") != strings.HasPrefix(words[0], "{") {
			continue
		}
		return line, c.ended
	}
	return "", c.ended
}

// expect waits for a line.
func (c *console) expect(t testing.TB, mark int, words ...string) string {
	t.Helper()
	var line string
	eventually(t, fmt.Sprintf("a line with %q", words), func() (bool, any) {
		var ended bool
		if line, ended = c.find(mark, words...); line == "" && ended {
			t.Fatalf("the server ended without a line with %q:\n%s", words, c.tail(20))
		}
		return line != "", c.tail(5)
	})
	return line
}

func (c *console) tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines[max(0, len(c.lines)-n):], "\n")
}

// since gives the lines from mark on.
func (c *console) since(mark int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines[min(mark, len(c.lines)):]...)
}

// freePort is an address that nobody listened at a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// logged gives the id in the first event of the log with this message; it waits for one.
func (sv *server) logged(msg string) string {
	sv.t.Helper()
	line := sv.console.expect(sv.t, 0, `{"time"`, `"msg":"`+msg+`"`)
	var event struct{ ID string }
	if err := json.Unmarshal([]byte(line), &event); err != nil || event.ID == "" {
		sv.t.Fatalf("the log: %s (%v)", line, err)
	}
	return event.ID
}

// last gives the place of the last line that holds the words; -1 if there is none.
func (c *console) last(words string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.lines) - 1; i >= 0; i-- {
		if strings.Contains(c.lines[i], words) {
			return i
		}
	}
	return -1
}

// metrics are those of the server, in Prometheus' text format.
func (sv *server) metrics() string {
	sv.t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sv.path("data/control.sock"))
	}}}
	defer c.CloseIdleConnections()
	r, err := c.Get("http://stagepost/metrics")
	if err != nil {
		sv.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		sv.t.Fatal(err)
	}
	return string(text)
}
