package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
	admin        string // where its metrics are
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
func start(program, dir, admin string) (*server, error) {
	s := &server{program: program, dir: dir, admin: admin, ended: make(chan struct{}), said: make(chan line, 1000), count: map[string]int{}, first: map[string]string{}}
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
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=", "GOGC=100") // collected often, so that what it holds is seen
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

// holding is what the process holds, memory in kB: all of it, compiled code of plugins, and what the garbage collector found alive.
type holding struct{ descriptors, watches, threads, memory, code, alive int }

// collected reads what the last collection found alive, in kB, when there was another few of them: with GOGC=100 the next one begins at twice
// that. To be asked makes garbage enough. What is kept for use again, such as buffers, is gone after two.
func (s *server) collected(ctx context.Context) (alive int) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const few = 4
	for end := 0.0; ctx.Err() == nil; {
		m := s.metrics(ctx)
		alive = int(m["go_memstats_next_gc_bytes"]) / 2 >> 10
		switch done := m["go_gc_duration_seconds_count"]; {
		case end == 0:
			end = done + few
		case done >= end:
			return alive
		}
	}
	return 0
}

// metrics are those without labels.
func (s *server) metrics(ctx context.Context) map[string]float64 {
	m := map[string]float64{}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return m
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return m
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			m[name] = n
		}
	}
	return m
}

// holds counts, on Linux, when the garbage is collected. Sockets come and go with sessions, so they do not count.
func (s *server) holds(ctx context.Context) (h holding, ok bool) {
	h.alive = s.collected(ctx)
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
	h.code = compiled(proc)
	return h, true
}

// compiled is the memory of machine code that is in no file: what compilers of plugins made.
func compiled(proc string) (kB int) {
	maps, _ := os.ReadFile(proc + "maps")
	for text := range strings.Lines(string(maps)) {
		fields := strings.Fields(text)
		if len(fields) != 5 || !strings.Contains(fields[1], "x") { // a sixth is the name of a file
			continue
		}
		var from, to uint64
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err == nil {
			kB += int(to-from) >> 10
		}
	}
	return kB
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
