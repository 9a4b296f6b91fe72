package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// A fault at each call of the file system, under the whole server: the store's calls are counted from the start of the process, and
// call number k fails. A few messages, small and large, come and go meanwhile. Afterwards a server without faults starts on
// what is there. Source and sink keep what they saw, and that is all that is judged.

var (
	callCases = flag.Int("cases", 60, "faults that TestEveryCall tries")
)

// callKind is one way in which calls fail.
type callKind struct {
	name   string
	err    syscall.Errno
	ops    string // of these alone, by spaces; "": of all
	sticky bool   // all calls from the k-th on
	short  bool   // half of what is to be written is
	waits  bool   // the server may wait until the fault is over, which it never is
}

var callKinds = []callKind{
	{name: "EIO", err: syscall.EIO},
	{name: "EIO for good", err: syscall.EIO, sticky: true},
	{name: "sync fails once, pages dropped", err: syscall.EIO, ops: "sync"},
	{name: "short write", err: syscall.EIO, ops: "write", short: true},
	{name: "ENOSPC", err: syscall.ENOSPC, ops: "create write sync allocate rename link mkdir opendir"},
	{name: "ENOSPC for good", err: syscall.ENOSPC, ops: "create write allocate rename link mkdir", sticky: true, waits: true},
	{name: "EDQUOT, half written", err: syscall.EDQUOT, ops: "create write allocate", short: true},
	{name: "EDQUOT for good", err: syscall.EDQUOT, ops: "create write allocate", sticky: true, waits: true},
	{name: "EMFILE", err: syscall.EMFILE, ops: "create open opendir list"},
	{name: "EROFS for good", err: syscall.EROFS, ops: "create write sync allocate rename remove link mkdir", sticky: true},
}

func (k *callKind) has(op string) bool {
	return k.ops == "" || slices.Contains(strings.Fields(k.ops), op)
}

const callVariable = "STAGEPOST_TEST_CALL" // kind, number of the call, file of the configuration

// TestCallChild is the server. It says when the call has come, and at the end how many calls there were of each kind. Two processes
// like it never have their calls in the same order, so a number stands for a moment more than for a call.
func TestCallChild(t *testing.T) {
	args := strings.SplitN(os.Getenv(callVariable), " ", 3)
	if len(args) < 3 {
		t.Skip("runs within TestEveryCall")
	}
	n, _ := strconv.Atoi(args[0])
	at, _ := strconv.ParseInt(args[1], 10, 64)
	kind := callKinds[n]
	counts := make([]atomic.Int64, len(callKinds))
	fs := &faultFS{FS: vfs.Default, short: kind.short, fails: func(op, name string) error {
		for i := range callKinds {
			if !callKinds[i].has(op) {
				continue
			}
			if c := counts[i].Add(1); i == n && at > 0 && (c == at || kind.sticky && c > at) {
				if c == at {
					fmt.Fprintf(os.Stderr, "fault: %s %s\n", op, filepath.Base(name))
				}
				return kind.err
			}
		}
		return nil
	}}
	log, out := observe.NewLog(os.Stderr, observe.LogOptions{Format: observe.JSON})
	d, err := startDaemon(context.Background(), args[2], daemonOptions{log: log, flush: out.Flush, console: os.Stderr, fs: fs})
	if err != nil {
		out.Close()
		fmt.Fprintln(os.Stderr, "stagepost: "+err.Error())
		var own *failure
		if !errors.As(startError(err), &own) {
			os.Exit(exitSoftware)
		}
		os.Exit(own.code)
	}
	fmt.Fprintln(os.Stderr, d.ready())
	io.Copy(io.Discard, os.Stdin)
	err = d.Shutdown(context.Background())
	out.Close()
	var text []string
	for i := range counts {
		text = append(text, strconv.FormatInt(counts[i].Load(), 10))
	}
	fmt.Fprintln(os.Stderr, "calls: "+strings.Join(text, " "))
	if err != nil {
		fmt.Fprintln(os.Stderr, "shutdown:", err)
	}
	os.Exit(0)
}

// callTally is what came out for one kind of fault.
type callTally struct {
	mu                                                              sync.Mutex
	tried, struck, unopened, ended, waited, acked, unknown, refused int
	lost, ghosts, twice, damaged, odd                               int
}

// callCase is one process with one fault, and what its clients saw.
type callCase struct {
	t       *testing.T
	kind    int
	at      int
	crashed bool   // the process did not end as it was asked to
	what    string // the call that failed
	sink    *remotetest.Remote
	mu      sync.Mutex
	said    map[string]string // by token: "acked", "refused", "unknown"
	filled  map[string]string // by token: the content
	came    map[string]int    // by token
	seen    map[*byte]bool    // contents that were counted
	damaged []string          // tokens
}

// sizes of the messages of a case: in the log, nearly the largest there, and beyond.
var callSizes = []int{500, 29_000, 70_000, 1200, 300_000, 500, 33_000, 2000}

func (c *callCase) send(address, token string, size int) (alive bool) {
	content := "Subject: " + token + "\r\n\r\n" + strings.Repeat(strings.Repeat(token[len(token)-1:], 60)+"\r\n", size/62)
	said := "refused" // until the dot was sent
	defer func() {
		c.mu.Lock()
		c.said[token], c.filled[token] = said, content
		c.mu.Unlock()
	}()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	x := newExchange(conn)
	var reply smtp.Reply
	for _, line := range []string{"", "EHLO client.example", "MAIL FROM:<>", "RCPT TO:<" + token + "@example.net>", "DATA"} {
		if reply, err = x.ask(line); err != nil || !reply.Positive() {
			return err == nil
		}
	}
	if _, err := io.WriteString(conn, content[:len(content)/2]); err != nil {
		return false
	}
	if _, err := io.WriteString(conn, content[len(content)/2:]+".\r\n"); err != nil {
		said = "unknown" // some of it may have gone, and with it the dot
		return false
	}
	said = "unknown"
	conn.SetReadDeadline(time.Now().Add(c.patience()))
	reply, err = x.reader.ReadReply()
	switch {
	case err != nil:
		return false
	case reply.Code/100 == 2:
		said = "acked"
	case reply.Code/100 == 4 || reply.Code/100 == 5:
		said = "refused"
	}
	return true
}

// patience is for the reply to the dot, and for what is to be delivered.
func (c *callCase) patience() time.Duration {
	if callKinds[c.kind].waits {
		return 500 * time.Millisecond
	}
	return faultPatience
}

func (c *callCase) acked() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.said {
		if s == "acked" {
			n++
		}
	}
	return n
}

// look counts what came to the sink since the last look.
func (c *callCase) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.sink.Messages()
	for _, m := range all {
		if c.seen[&m.Content[0]] {
			continue
		}
		c.seen[&m.Content[0]] = true
		_, text, _ := strings.Cut(string(m.Content), "Subject: ")
		token, _, _ := strings.Cut(text, "\r\n")
		c.came[token]++
		if "Subject: "+text != c.filled[token]+".\r\n" {
			c.damaged = append(c.damaged, token)
		}
	}
}

func (c *callCase) allCame() bool {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	for token, s := range c.said {
		if s == "acked" && c.came[token] == 0 {
			return false
		}
	}
	return true
}

// run is the first life, with the fault; it gives the numbers of calls if it came to its end.
func (c *callCase) run(file string, tally *callTally) (calls []int) {
	kind, waited := callKinds[c.kind], false
	sv := spawn(c.t, "TestCallChild", fmt.Sprintf("%s=%d %d %s", callVariable, c.kind, c.at, file))
	ready, patience := false, faultPatience
	if kind.waits {
		patience = time.Second
	}
	for end := time.Now().Add(patience); !ready; time.Sleep(10 * time.Millisecond) {
		select {
		case <-sv.ended:
		default:
			ready = strings.Contains(strings.Join(sv.said.lines(math.MaxInt), ""), "ready: mx on ")
			if time.Now().After(end) {
				if kind.waits { // there is no space to open the store
					waited = true
					sv.cmd.Process.Kill()
					<-sv.ended
					break
				}
				c.t.Fatalf("%s at %d: the server neither starts nor ends", kind.name, c.at)
			}
			continue
		}
		break
	}
	if ready {
		address := sv.address()
		var group sync.WaitGroup
		for n := range 2 {
			group.Go(func() {
				for i, size := range callSizes {
					if i%2 == n && !c.send(address, fmt.Sprintf("token-%d", i), size) && isOver(sv) {
						return
					}
				}
			})
		}
		group.Wait()
		for end := time.Now().Add(2 * time.Second); !c.allCame() && !isOver(sv) && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		sv.in.Close()
		if kind.waits {
			select {
			case <-sv.ended:
			case <-time.After(time.Second):
				waited = true
				sv.cmd.Process.Kill()
			}
		}
	}
	select {
	case <-sv.ended:
	case <-time.After(faultPatience):
		c.t.Fatalf("%s at %d: the server does not end", kind.name, c.at)
	}
	lines, code := sv.said.lines(math.MaxInt), sv.cmd.ProcessState.ExitCode()
	last, words := "", 0
	tally.mu.Lock()
	defer tally.mu.Unlock()
	if tally.tried++; waited {
		tally.waited++
	}
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "fault: "):
			tally.struck++
			c.what = strings.TrimSpace(line[7:])
		case strings.HasPrefix(line, "calls: "):
			for _, s := range strings.Fields(line[7:]) {
				n, _ := strconv.Atoi(s)
				calls = append(calls, n)
			}
		case strings.HasPrefix(line, "stagepost: "):
			words++
		}
		last = line
	}
	odd := ""
	switch {
	case !ready && code == exitIO || ready && code == exitIO:
		tally.ended++
		if words != 1 || !strings.HasPrefix(last, "stagepost: ") {
			odd = fmt.Sprintf("%d last words", words)
		}
	case !ready && waited:
	case !ready:
		tally.unopened++
		if words != 1 || code < exitUsage || code > exitConfig {
			odd = "it did not start"
		}
	case code > 0 || code < 0 && !kind.waits:
		odd = "it ended"
	}
	if odd != "" {
		tally.odd++
		c.t.Errorf("%s at %d: %s, exit code %d; it said\n%s", kind.name, c.at, odd, code, strings.Join(sv.said.lines(30), ""))
	}
	c.crashed = code != 0
	return calls
}

func isOver(sv *child) bool {
	select {
	case <-sv.ended:
		return true
	default:
		return false
	}
}

// callFolder has a data folder in which mail waits, so that a start has something to read.
func callFolder(t *testing.T) (folder string, said, filled map[string]string) {
	c := &callCase{t: t, said: map[string]string{}, filled: map[string]string{}}
	folder = t.TempDir()
	file := c.configure(folder, remotetest.New(t, remotetest.Script{"MAIL": "451 4.3.0 later"}).Listen())
	d := c.start(file)
	for i, size := range []int{800, 20_000, 90_000} {
		c.send(d.bound.address("mx"), fmt.Sprintf("before-%d", i), size)
	}
	c.stop(d)
	if c.acked() != 3 {
		t.Fatalf("%v", c.said)
	}
	return folder, c.said, c.filled
}

func (c *callCase) configure(folder, next string) (file string) {
	file = filepath.Join(folder, localConfig)
	text := "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n[queue]\nretry = [\"1s\"]\n" +
		"[plugins]\nenable = [\"relay\", \"route\"]\n[plugin.relay]\nnetworks = [\"127.0.0.0/8\"]\n[plugin.route]\ndefault = \"" + next + "\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func (c *callCase) start(file string) *daemon {
	c.t.Helper()
	d, err := startDaemon(context.Background(), file, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard})
	if err != nil {
		c.t.Fatalf("%s at %d: a server without faults does not start on what is there: %v", callKinds[c.kind].name, c.at, err)
	}
	return d
}

func (c *callCase) stop(d *daemon) {
	if err := d.Shutdown(context.Background()); err != nil {
		c.t.Errorf("%s at %d: %v", callKinds[c.kind].name, c.at, err)
	}
}

// tryCall is one case.
func tryCall(t *testing.T, template string, said, filled map[string]string, kind, at int, tally *callTally) (calls []int) {
	folder, err := os.MkdirTemp("", "stagepost-call-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.CopyFS(folder, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	c := &callCase{t: t, kind: kind, at: at, said: maps.Clone(said), filled: maps.Clone(filled), came: map[string]int{}, seen: map[*byte]bool{}, sink: remotetest.New(t, remotetest.Script{"MAIL#2": "451 4.3.0 later"})}
	file := c.configure(folder, c.sink.Listen())
	calls = c.run(file, tally)

	d := c.start(file)
	for end := time.Now().Add(faultPatience); (!c.allCame() || d.store.Health().Depth > 0) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	left := d.store.Health().Depth
	c.stop(d)
	c.look()
	tally.mu.Lock()
	defer tally.mu.Unlock()
	violate := func(count *int, format string, args ...any) {
		*count++
		t.Errorf("%s at %d, %s: %s", callKinds[kind].name, at, c.what, fmt.Sprintf(format, args...))
	}
	for token, how := range c.said {
		n, most := c.came[token], 1
		if c.crashed { // between the reply and its mark
			most++
		}
		switch how {
		case "acked":
			tally.acked++
			if n == 0 {
				violate(&tally.lost, "%s was acknowledged and is lost", token)
			}
		case "unknown":
			tally.unknown++
		default:
			tally.refused++
			if n > 0 {
				violate(&tally.ghosts, "%s was refused and came", token)
			}
		}
		if n > most {
			violate(&tally.twice, "%s came %d times", token, n)
		}
	}
	for _, token := range c.damaged {
		violate(&tally.damaged, "%s is not what was sent", token)
	}
	if left > 0 {
		violate(&tally.odd, "%d messages are left in the queue", left)
	}
	return calls
}

// TestEveryCall: whatever call of the file system fails, and however, no message is lost that was acknowledged, none comes that was refused,
// none comes twice but for a crash, and the server goes on, or ends with one line; the next start has everything.
func TestEveryCall(t *testing.T) {
	template, said, filled := callFolder(t)
	os.Remove(filepath.Join(template, "data", "ballast"))
	calls := tryCall(t, template, said, filled, 0, 0, &callTally{})
	if len(calls) != len(callKinds) || t.Failed() {
		t.Fatalf("without a fault: calls %v", calls)
	}
	t.Logf("calls of a run without faults, by kind: %v", calls)
	random := rand.New(rand.NewPCG(*imageSeed, 0))
	tallies := make([]callTally, len(callKinds))
	type task struct{ kind, at int }
	tasks := make(chan task)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for c := range tasks {
				tryCall(t, template, said, filled, c.kind, c.at, &tallies[c.kind])
			}
		})
	}
	each := (*callCases + len(callKinds) - 1) / len(callKinds)
	for i := range *callCases {
		kind, n := i%len(callKinds), i/len(callKinds)
		// One from each stretch of the calls, so that few cases see all of the life as well.
		low, high := n*calls[kind]/each, (n+1)*calls[kind]/each
		tasks <- task{kind, 1 + low + random.IntN(max(1, high-low))}
	}
	close(tasks)
	group.Wait()
	for i := range tallies {
		c := &tallies[i]
		t.Logf("%-32s %4d tried, struck in %d: did not start %d, ended %d, waited for good %d; acknowledged %d, no answer %d, refused %d; lost %d, ghosts %d, twice %d, damaged %d, odd %d",
			callKinds[i].name, c.tried, c.struck, c.unopened, c.ended, c.waited, c.acked, c.unknown, c.refused, c.lost, c.ghosts, c.twice, c.damaged, c.odd)
	}
}
