package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is the program under test with its folder. One process of it runs at a time; only that is ever signalled.
type server struct {
	*ledger
	program string
	dir     string
	log     logbook

	mu      sync.Mutex
	address string // "" unless it is ready
	process *process
}

type process struct {
	*life
	cmd   *exec.Cmd
	said  *console
	ended chan struct{}
}

// configuration takes mail from this machine for anybody and passes it to the sink.
func configuration(resolver, sink string) string {
	return fmt.Sprintf(`hostname = %q
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[resolver]
servers = [%q]

[queue]
retry = ["1s"]
warn = "1s"
expire = "30s"

[plugins]
folder = "plugins"
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route]
default = %q
`, hostname, resolver, sink)
}

func newServer(l *ledger, program, dir, resolver, sink string) (*server, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	return &server{ledger: l, program: program, dir: dir}, os.WriteFile(filepath.Join(dir, "stagepost.toml"), []byte(configuration(resolver, sink)), 0o644)
}

func (s *server) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	return cmd
}

// launch begins a life.
func (s *server) launch() error {
	p := &process{life: &life{started: time.Now()}, ended: make(chan struct{})}
	p.said = &console{book: &s.log, ready: make(chan string, 1), up: make(chan struct{})}
	p.cmd = s.command(context.Background(), "serve")
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		return err
	}
	s.do(func() { s.lives = append(s.lives, p.life) })
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	s.note(atStart)
	go func() {
		p.cmd.Wait()
		s.mu.Lock()
		s.address = ""
		s.mu.Unlock()
		s.do(func() { p.life.ended = time.Now() })
		close(p.ended)
	}()
	return nil
}

// ready waits until the server takes mail.
func (s *server) ready() error {
	p := s.process
	slow := time.AfterFunc(slowStart, func() {
		if where := waitsFor(p.cmd.Process.Pid); where != "" {
			s.do(func() { p.life.slow = where })
		}
	})
	defer slow.Stop()
	select {
	case address := <-p.said.ready:
		s.do(func() { p.life.ready = time.Now() })
		s.mu.Lock()
		s.address = address
		s.mu.Unlock()
		s.note(atReady)
		return nil
	case <-p.ended:
		return fmt.Errorf("it ended before it was ready: %s", p.cmd.ProcessState)
	case <-time.After(patience):
		return fmt.Errorf("it was not ready within %s", patience)
	}
}

// where gives the address and the life of the server; "" while it is not ready.
func (s *server) where() (string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address, s.ledger.life()
}

// kill ends the process as a crash does, and waits for that.
func (s *server) kill(after event, delay time.Duration) error {
	p := s.process
	select {
	case <-p.ended:
		return fmt.Errorf("it ended by itself: %s", p.cmd.ProcessState)
	default:
	}
	at := time.Now()
	p.cmd.Process.Kill()
	<-p.ended
	if p.cmd.ProcessState.ExitCode() >= 0 {
		return fmt.Errorf("it ended by itself: %s", p.cmd.ProcessState)
	}
	s.do(func() { p.life.killed, p.life.event, p.life.delay, p.life.undoes = at, after, delay, true })
	return nil
}

// stop ends the process as a service manager does.
func (s *server) stop() error {
	p := s.process
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("it did not stop on SIGTERM within %s", patience)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("it stopped on SIGTERM with %s", p.cmd.ProcessState)
	}
	return nil
}

// end makes sure that no process is left.
func (s *server) end() {
	if p := s.process; p != nil {
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// entry is a message as the queue lists it.
type entry struct {
	ID, Sender, State string
	Recipients        []struct {
		Address, State string
		LastReply      string `json:"last_reply"`
	}
}

// queue lists what the server holds.
func (s *server) queue(ctx context.Context) ([]entry, error) {
	text, err := s.ask(ctx, "queue", "list", "--json")
	if err != nil {
		return nil, err
	}
	var list []entry
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var e entry
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("queue list --json: %w", err)
		}
		list = append(list, e)
	}
	return list, nil
}

// ask runs a command of the program to its end.
func (s *server) ask(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("stagepost %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// leftBodies lists the body files that belong to no message in the queue. Slots are free as soon as no record names them.
func (s *server) leftBodies(queue []entry) ([]string, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "data", "body"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	known := map[string]bool{}
	for _, e := range queue {
		known[e.ID] = true
	}
	var left []string
	for _, f := range files {
		if !f.IsDir() && !known[f.Name()] {
			left = append(left, f.Name())
		}
	}
	return left, nil
}

const (
	tailLines = 60
	lineBytes = 2000
	bookLines = 20
)

// console keeps the last lines that a process writes, and finds the one that says ready.
type console struct {
	book  *logbook
	ready chan string
	up    chan struct{} // closed with it

	mu    sync.Mutex
	part  []byte
	lines []string
}

var readyLine = regexp.MustCompile(`^ready: mx on (127\.0\.0\.1:\d+)`)

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		rest = after
		if c.part = append(c.part, line[:min(len(line), lineBytes-min(lineBytes, len(c.part)))]...); whole {
			c.line(string(c.part))
			c.part = c.part[:0]
		}
	}
	return len(p), nil
}

func (c *console) line(text string) {
	if found := readyLine.FindStringSubmatch(text); found != nil {
		select {
		case c.ready <- found[1]:
			close(c.up)
		default:
		}
	}
	if c.lines = append(c.lines, text); len(c.lines) > tailLines {
		c.lines = c.lines[1:]
	}
	c.book.line(text)
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// logbook counts what all processes logged as warnings and errors, by their words, with the first line of each.
type logbook struct {
	mu    sync.Mutex
	count map[string]int
	first map[string]string
}

func (b *logbook) line(text string) {
	var e struct{ Level, Msg string }
	if !strings.Contains(text, `"level":"WARN"`) && !strings.Contains(text, `"level":"ERROR"`) || json.Unmarshal([]byte(text), &e) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count == nil {
		b.count, b.first = map[string]int{}, map[string]string{}
	}
	key := e.Level + " " + e.Msg
	if b.count[key] == 0 && len(b.count) >= bookLines {
		key = "further ones"
	}
	if b.count[key]++; b.first[key] == "" {
		b.first[key] = text
	}
}
