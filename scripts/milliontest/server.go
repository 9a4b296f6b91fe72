package main

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

const (
	hostname = "mx.example.org"
	patience = 60 * time.Second // for what the server does by itself
)

// server is the program under test.
type server struct {
	cmd     *exec.Cmd
	ended   chan error
	address string
	control string
	ready   time.Duration // after its start
}

// configure writes the configuration, where each domain goes to its next hop.
func configure(dir string, hops map[string]string) error {
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
`, hostname)
	for _, domain := range slices.Sorted(maps.Keys(hops)) {
		fmt.Fprintf(&b, "%q = %q\n", domain, hops[domain])
	}
	return os.WriteFile(filepath.Join(dir, "stagepost.toml"), []byte(b.String()), 0o644)
}

var readyLine = regexp.MustCompile(`(?m)^ready: mx on (\S+);`)

func start(ctx context.Context, program, dir string) (*server, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &server{cmd: exec.CommandContext(ctx, program, "serve"), ended: make(chan error, 1), control: filepath.Join(dir, "data", "control.sock")}
	s.cmd.Dir, s.cmd.Stderr, s.cmd.Env = dir, log, append(os.Environ(), "NOTIFY_SOCKET=")
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	for ; time.Since(began) < patience; time.Sleep(2 * time.Millisecond) {
		text, _ := os.ReadFile(log.Name())
		if m := readyLine.FindSubmatch(text); m != nil {
			s.ready, s.address = time.Since(began), string(m[1])
			return s, nil
		}
		select {
		case err := <-s.ended:
			return nil, fmt.Errorf("the server ended: %w\n%s", err, text)
		default:
		}
	}
	s.stop()
	return nil, errors.New("the server did not say that it is ready")
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// memory is what the process has of its own in memory, in MB: its proportional share, as the kernel counts it.
func (s *server) memory() (int64, error) {
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

// metrics are the server's numbers, those with labels by themselves and summed.
func (s *server) metrics() (map[string]float64, error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
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
