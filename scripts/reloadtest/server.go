package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long anything may take that the server does by itself.
const patience = 60 * time.Second

// server is the program under test. Only its one process is ever signalled.
type server struct {
	program, dir string
	cmd          *exec.Cmd
	ended        chan struct{}
	said         chan line // what stands on its console beside the log

	mu    sync.Mutex
	part  []byte
	tail  []string
	count map[string]int    // of warnings and errors in its log, by their words
	first map[string]string // the first of each
}

type line struct {
	text string
	at   time.Time
}

// start runs the server and waits until it is ready.
func start(program, dir string) (*server, error) {
	s := &server{program: program, dir: dir, ended: make(chan struct{}), said: make(chan line, 1000), count: map[string]int{}, first: map[string]string{}}
	s.cmd = s.command(context.Background(), "serve")
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	for {
		l, err := s.next(time.After(patience))
		if err != nil {
			s.end()
			return nil, err
		}
		if strings.HasPrefix(l.text, "ready: ") {
			return s, nil
		}
	}
}

func (s *server) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	return cmd
}

// next gives the next line of the console.
func (s *server) next(late <-chan time.Time) (line, error) {
	select {
	case l := <-s.said:
		return l, nil
	case <-s.ended:
		return line{}, fmt.Errorf("the server ended: %s; it last said:\n%s", s.cmd.ProcessState, s.lately())
	case <-late:
		return line{}, fmt.Errorf("the server was silent; it last said:\n%s", s.lately())
	}
}

// Write takes what the server writes.
func (s *server) Write(p []byte) (int, error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := p; len(rest) > 0; {
		text, after, whole := bytes.Cut(rest, []byte("\n"))
		rest = after
		if s.part = append(s.part, text...); !whole {
			break
		}
		s.line(string(s.part), now)
		s.part = s.part[:0]
	}
	return len(p), nil
}

const tailLines = 20

func (s *server) line(text string, now time.Time) {
	if !strings.HasPrefix(text, "{") {
		if s.tail = append(s.tail, text); len(s.tail) > tailLines {
			s.tail = s.tail[1:]
		}
		select {
		case s.said <- line{text, now}:
		default: // a thousand that nobody waited for
		}
		return
	}
	var e struct{ Level, Msg string }
	if !strings.Contains(text, `"level":"WARN"`) && !strings.Contains(text, `"level":"ERROR"`) || json.Unmarshal([]byte(text), &e) != nil {
		return
	}
	key := e.Level + " " + e.Msg
	if s.count[key]++; s.first[key] == "" {
		s.first[key] = text
	}
}

func (s *server) lately() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.tail, "\n")
}

// status is the part of `status --json` that is asked about.
type status struct {
	Generation uint64
	Error      string `json:"generation_error"`
	Queue      struct{ Messages int }
}

func (s *server) status(ctx context.Context) (st status, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := s.command(ctx, "status", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &st)
	}
	if err != nil {
		err = fmt.Errorf("stagepost status --json: %w", err)
	}
	return st, err
}

// holding is what the process holds.
type holding struct{ descriptors, watches, memory, threads int } // memory in kB

// holds counts, on Linux. Sockets come and go with sessions, so they do not count.
func (s *server) holds() (h holding, ok bool) {
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		return h, false
	}
	for _, f := range files {
		if to, err := os.Readlink(proc + "fd/" + f.Name()); err != nil || strings.HasPrefix(to, "socket:") || strings.Contains(to, filepath.Join(s.dir, "data")) {
			continue // or files of the store
		}
		h.descriptors++
		info, _ := os.ReadFile(proc + "fdinfo/" + f.Name())
		h.watches += bytes.Count(info, []byte("inotify wd:"))
	}
	info, _ := os.ReadFile(proc + "status")
	for text := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(text, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch key {
		case "VmRSS":
			h.memory = n
		case "Threads":
			h.threads = n
		}
	}
	return h, true
}

// stop ends the server as a service manager does.
func (s *server) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
		return fmt.Errorf("the server did not stop on SIGTERM within %s", patience)
	}
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("the server stopped on SIGTERM with %s", s.cmd.ProcessState)
	}
	return nil
}

// end makes sure that no process is left.
func (s *server) end() {
	s.cmd.Process.Kill()
	<-s.ended
}
