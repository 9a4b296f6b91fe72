package longrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What the server under test is called, and how long it is waited for.
const (
	Hostname = "mx.example.org"
	Patience = 60 * time.Second
)

// Server is the program under test.
type Server struct {
	Address string        // where it takes mail
	Ready   time.Duration // after its start

	cmd     *exec.Cmd
	ended   chan error
	control string
}

// Configure writes the configuration, where each domain goes to its next hop.
func Configure(dir string, hops map[string]string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `hostname = %q
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[plugins]
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route.domains]
`, Hostname)
	for _, domain := range slices.Sorted(maps.Keys(hops)) {
		fmt.Fprintf(&b, "%q = %q\n", domain, hops[domain])
	}
	return os.WriteFile(filepath.Join(dir, "stagepost.toml"), []byte(b.String()), 0o644)
}

var readyLine = regexp.MustCompile(`(?m)^ready: mx on (\S+);`)

// Start runs it in dir and waits until it is ready.
func Start(ctx context.Context, program, dir string) (*Server, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &Server{cmd: exec.CommandContext(ctx, program, "serve"), ended: make(chan error, 1), control: filepath.Join(dir, "data", "control.sock")}
	s.cmd.Dir, s.cmd.Stderr, s.cmd.Env = dir, log, append(os.Environ(), "NOTIFY_SOCKET=")
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	for ; time.Since(began) < Patience; time.Sleep(2 * time.Millisecond) {
		text, _ := os.ReadFile(log.Name())
		if m := readyLine.FindSubmatch(text); m != nil {
			s.Ready, s.Address = time.Since(began), string(m[1])
			return s, nil
		}
		select {
		case err := <-s.ended:
			return nil, fmt.Errorf("the server ended: %w\n%s", err, text)
		default:
		}
	}
	s.Stop()
	return nil, errors.New("the server did not say that it is ready")
}

// Stop ends it.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(Patience):
		s.Kill()
	}
}

// Kill ends it at once, without waiting for what others have still to answer.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.ended
}

// Memory is what the process has of its own in memory, in MB: its proportional share, as the kernel counts it.
func (s *Server) Memory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			var kb int64
			_, err := fmt.Sscan(string(rest), &kb)
			return kb >> 10, err
		}
	}
	return 0, errors.New("the kernel does not tell how much memory the server has")
}

// tick is the unit of CPU times in /proc.
const tick = 10 * time.Millisecond

// CPU is the time that the process has had of all CPUs, as the kernel counts it.
func (s *Server) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // the name before may hold anything
	var user, system int64
	if len(fields) < 13 {
		return 0, errors.New("the kernel does not tell how much time the server has had")
	}
	_, err = fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &system)
	return time.Duration(user+system) * tick, err
}

// Metrics are the server's numbers, those with labels by themselves and summed.
func (s *Server) Metrics() (map[string]float64, error) {
	c := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.control)
	}}}
	r, err := c.Get("http://stagepost/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line[:at], "{")
		var of float64
		fmt.Sscan(line[at+1:], &of)
		all[name] += of
		all[line[:at]] = of
	}
	return all, err
}
