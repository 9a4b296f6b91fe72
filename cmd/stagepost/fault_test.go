package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// Faults of the disk, in a process of their own: the test runs itself again as a server, wired as serve wires it, on a file
// system that fails when it is told to.

// fault is what goes wrong with a disk.
type fault struct {
	name  string
	op    string // create, sync
	file  string // what the name of the file begins or ends with
	err   syscall.Errno
	times int  // times; -1: for good
	ends  bool // the process
	says  string
	aside bool // beside the mail, in the store's own work: no message need be under way when it strikes
}

var faults = []fault{
	{name: "log-sync", op: "sync", file: ".log", err: syscall.EIO, times: 1, ends: true, says: "input/output error"},
	{name: "log-creation-full", op: "create", file: ".log", err: syscall.ENOSPC, times: 1},
	{name: "log-creation-full-for-good", op: "create", file: ".log", err: syscall.ENOSPC, times: -1, ends: true, says: "no space left on device"},
	{name: "log-creation", op: "create", file: ".log", err: syscall.EIO, times: 1, ends: true, says: "input/output error"},
	{name: "manifest-sync", op: "sync", file: "MANIFEST", err: syscall.EIO, times: 1, ends: true, says: "MANIFEST", aside: true},
}

const (
	faultVariable = "STAGEPOST_TEST_FAULT"
	faultPatience = 60 * time.Second
)

// TestFaultChild is the server. It says ready, lets the fault loose when a line comes on standard input, and stops with the
// end of that.
func TestFaultChild(t *testing.T) {
	name, file, ok := strings.Cut(os.Getenv(faultVariable), " ")
	if !ok {
		t.Skip("runs within TestDiskFaults")
	}
	var loose atomic.Bool
	var left atomic.Int32
	var fault fault
	for _, f := range faults {
		if f.name == name {
			fault = f
			left.Store(int32(f.times))
		}
	}
	fs := &faultFS{FS: vfs.Default, fails: func(op, name string) error {
		base := filepath.Base(name)
		if !loose.Load() || op != fault.op || !strings.HasPrefix(base, fault.file) && !strings.HasSuffix(base, fault.file) {
			return nil
		}
		if left.Load() == 0 || left.Load() > 0 && left.Add(-1) < 0 {
			return nil
		}
		return fault.err
	}}
	log, out := observe.NewLog(os.Stderr, observe.LogOptions{Format: observe.JSON})
	d, err := startDaemon(context.Background(), file, daemonOptions{log: log, flush: out.Flush, console: os.Stderr, fs: fs})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, d.ready())
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadString('\n'); err != nil {
			break
		}
		loose.Store(true)
	}
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	out.Close()
}

// child is the server in its process.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	said  *console
	ended chan struct{}
}

func startChild(t *testing.T, fault, file string) *child {
	t.Helper()
	return spawn(t, "TestFaultChild", faultVariable+"="+fault+" "+file)
}

// spawn runs a test as a process of its own.
func spawn(t *testing.T, test string, env ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0], "-test.run=^"+test+"$"), said: &console{}, ended: make(chan struct{})}
	c.cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="), env...)
	c.cmd.Stderr = c.said
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.cmd.Process.Kill()
		<-c.ended
		if t.Failed() {
			t.Logf("the server said:\n%s", strings.Join(c.said.lines(20), ""))
		}
	})
	return c
}

// address waits until the server is ready.
func (c *child) address() string {
	_, rest, _ := strings.Cut(c.said.wait(c.t, "ready: mx on "), "ready: mx on ")
	address, _, _ := strings.Cut(rest, ";")
	return address
}

// end waits for the exit code.
func (c *child) end() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(faultPatience):
		c.t.Fatal("the server did not end")
	}
	return c.cmd.ProcessState.ExitCode()
}

// burst is mail from some sessions at once, and what its clients were told.
type burst struct {
	mu      sync.Mutex
	acked   map[string]bool
	refused map[string]bool
	unknown int // the final dot was sent and no reply came
	group   sync.WaitGroup
	stopped atomic.Bool
}

// filling makes messages so large that some hundred fill a memtable, and small enough to lie in it.
var filling = strings.Repeat(strings.Repeat("x", 70)+"\r\n", 410)

func startBurst(address string, sessions int) *burst {
	l := &burst{acked: map[string]bool{}, refused: map[string]bool{}}
	for n := range sessions {
		l.group.Go(func() { l.session(address, n) })
	}
	return l
}

func (l *burst) session(address string, n int) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	x := &exchange{conn, smtp.NewReader(conn)}
	x.reader.Attach(make([]byte, 4<<10), 0)
	for _, line := range []string{"", "EHLO client.example"} {
		if _, err := x.ask(line); err != nil {
			return
		}
	}
	for i := 0; !l.stopped.Load(); i++ {
		token := fmt.Sprintf("token-%d-%d-end", n, i)
		var reply smtp.Reply
		for _, line := range []string{"MAIL FROM:<>", "RCPT TO:<u@example.net>", "DATA"} {
			if reply, err = x.ask(line); err != nil {
				return
			}
			if reply.Temporary() { // the disk is full
				time.Sleep(10 * time.Millisecond)
				break
			}
		}
		if reply.Code != 354 {
			continue
		}
		if _, err := io.WriteString(conn, "Subject: "+token+"\r\n\r\n"+filling+".\r\n"); err != nil {
			return
		}
		reply, err := x.ask("")
		l.mu.Lock()
		switch {
		case err != nil:
			l.unknown++
		case reply.Positive():
			l.acked[token] = true
		default:
			l.refused[token] = true
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (l *burst) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// TestDiskFaults: when the log or the manifest cannot be written the process ends with 74 and one line, nobody hears a 250 that
// is not true, and a start on the same folder has all that was acknowledged. A disk that is full for a while ends nothing.
func TestDiskFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			waiting := remotetest.New(t, remotetest.Script{"banner": "silent"}).Listen()
			taking := remotetest.New(t)
			file := filepath.Join(t.TempDir(), localConfig)
			configure := func(next string) {
				t.Helper()
				text := "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n" +
					"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \"" + next + "\"\n"
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			until := func(what string, ok func() bool) {
				t.Helper()
				for end := time.Now().Add(faultPatience); !ok(); time.Sleep(5 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("not so: " + what)
					}
				}
			}
			configure(waiting)
			sv := startChild(t, f.name, file)
			l := startBurst(sv.address(), 6)
			until("mail flows", func() bool { return l.count() >= 20 })
			before := l.count()
			io.WriteString(sv.in, "now\n")
			if f.ends {
				if code := sv.end(); code != exitIO {
					t.Errorf("exit code %d, want %d", code, exitIO)
				}
				var last string
				lines := 0
				for _, line := range sv.said.lines(math.MaxInt) {
					if last = line; strings.HasPrefix(line, "stagepost: store: ") {
						lines++
					}
				}
				if lines != 1 || !strings.HasPrefix(last, "stagepost: store: ") || !strings.Contains(last, f.says) {
					t.Errorf("%d lines of the end; the last that the server says is %q, want %q in it", lines, last, f.says)
				}
				l.group.Wait()
			} else {
				sv.said.wait(t, `"store: there is space on the disk again"`)
				now := l.count()
				until("mail flows again", func() bool { return l.count() >= now+20 })
				l.stopped.Store(true)
				l.group.Wait()
				sv.in.Close()
				if code := sv.end(); code != 0 {
					t.Errorf("exit code %d", code)
				}
			}
			t.Logf("%d acknowledged before the fault was let loose, %d afterwards, %d without an answer, %d refused", before, len(l.acked)-before, l.unknown, len(l.refused))
			if f.ends && !f.aside && l.unknown == 0 {
				t.Error("the process ended in the middle of a message, and every message had an answer")
			}

			configure(taking.Listen())
			sv = startChild(t, "none", file)
			came := func() (tokens map[string]int, damaged int) {
				tokens = map[string]int{}
				for _, m := range taking.Messages() {
					text := string(m.Content)
					_, rest, _ := strings.Cut(text, "Subject: ")
					token, _, _ := strings.Cut(rest, "\r\n")
					if tokens[token]++; !strings.HasSuffix(text, "\r\n\r\n"+filling+".\r\n") {
						damaged++
					}
				}
				return tokens, damaged
			}
			until("everything acknowledged is delivered", func() bool {
				tokens, _ := came()
				for token := range l.acked {
					if tokens[token] == 0 {
						return false
					}
				}
				return true
			})
			sv.in.Close()
			if code := sv.end(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			tokens, damaged := came()
			twice, ghosts := 0, 0
			for token, n := range tokens {
				if n > 1 {
					twice++
				}
				if l.refused[token] {
					ghosts++
				}
			}
			if twice+ghosts+damaged > 0 {
				t.Errorf("%d came twice, %d though they were refused, %d damaged", twice, ghosts, damaged)
			}
			t.Logf("%d delivered after the restart: lost 0, unanswered and delivered %d", len(tokens), len(tokens)-len(l.acked))
		})
	}
}

// console keeps what a process says.
type console struct {
	mu   sync.Mutex
	text []byte
}

func (w *console) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	return len(p), nil
}

// lines gives the last whole ones.
func (w *console) lines(n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.SplitAfter(string(w.text), "\n")
	all = all[:len(all)-1]
	return all[max(0, len(all)-n):]
}

// wait gives the first line that holds want.
func (w *console) wait(t *testing.T, want string) string {
	t.Helper()
	for end := time.Now().Add(faultPatience); ; time.Sleep(5 * time.Millisecond) {
		for _, line := range w.lines(math.MaxInt) {
			if strings.Contains(line, want) {
				return line
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no line with %q in\n%s", want, strings.Join(w.lines(20), ""))
		}
	}
}
