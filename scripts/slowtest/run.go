package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long anything may take that the server does by itself.
const patience = 60 * time.Second

const perAddress = 100 // the server's default

// configuration has one listener for the good and the slow, where one address may have as many sessions as are said.
const configuration = `hostname = "mx.example.org"
data = %q

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[limits]
sessions_per_ip = %d
message_size = "1MB"

[plugins]
folder = "plugins"
`

const plugin = `plugin { id = "keep", version = "1.0.0", description = "takes everything, and keeps it" }
function on.rcpt(r) return accept "local" end
function on.queue(m) return hold "kept" end
`

// run does all of it, and gives the violations.
func run(ctx context.Context, s settings, out io.Writer) ([]string, error) {
	violations, err := beside(ctx, s, out)
	if err != nil {
		return violations, err
	}
	more, err := flooded(ctx, s, out)
	return append(violations, more...), err
}

// beside compares the quiet server with the one that has slow senders, in turn, since much else makes a commit take longer now and
// then. What counts is the median of the rounds' p99.
func beside(ctx context.Context, s settings, out io.Writer) (violations []string, err error) {
	address, stop, err := start(ctx, s, "beside", 1_000_000)
	if err != nil {
		return nil, err
	}
	defer stop()
	control := filepath.Join(s.dir, "beside", "data", "control.sock")
	measure := func(what string) (time.Duration, error) {
		took, err := good(ctx, address, s.sessions, s.during)
		if err != nil {
			violations = append(violations, fmt.Sprintf("session: %s: %v", what, err))
		}
		if len(took) == 0 {
			return 0, fmt.Errorf("%s: the good client sent nothing: %w", what, err)
		}
		memory, err := metric(control, "process_resident_memory_bytes")
		fmt.Fprintf(out, "%-28s %6d messages, p50 %8s, p99 %8s; the server has %d MB\n", what, len(took), share(took, 50), share(took, 99), memory/1e6)
		return share(took, 99), err
	}
	if _, err = measure("to warm up"); err != nil {
		return violations, err
	}
	var quiet, loaded []time.Duration
	for range s.rounds {
		p99, err := measure("quiet")
		if err != nil {
			return violations, err
		}
		quiet = append(quiet, p99)
		slow, leave := context.WithCancel(ctx)
		there, ended := slowSenders(slow, address, s.slow)
		p99, err = measure(fmt.Sprintf("beside %d slow senders", there.Load()))
		loaded = append(loaded, p99)
		if n := there.Load(); n < int64(s.slow) {
			violations = append(violations, fmt.Sprintf("session: of %d slow senders %d were there at the end, so nothing was tried", s.slow, n))
		}
		leave()
		ended()
		if err != nil {
			return violations, err
		}
	}
	slices.Sort(quiet)
	slices.Sort(loaded)
	a, b := quiet[len(quiet)/2], loaded[len(loaded)/2]
	fmt.Fprintf(out, "the median p99 is %s quiet, %s beside slow senders: %.2f times\n", a, b, float64(b)/float64(a))
	if float64(b) > s.times*float64(a) {
		violations = append(violations, fmt.Sprintf("slow: the p99 is %s, and was %s", b, a))
	}
	more, err := endless(address, control, out)
	return append(violations, more...), err
}

// start runs a server; stop ends it.
func start(ctx context.Context, s settings, name string, perAddress int) (address string, stop func(), err error) {
	dir := filepath.Join(s.dir, name)
	for file, text := range map[string]string{"stagepost.toml": fmt.Sprintf(configuration, filepath.Join(dir, "data"), perAddress), "plugins/keep.lua": plugin} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return "", nil, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, s.program, "serve")
	cmd.Dir, cmd.Stderr = dir, log
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
		}
	}
	ready := regexp.MustCompile(`(?m)^ready: mx on (\S+);`)
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(log.Name())
		if m := ready.FindSubmatch(text); m != nil {
			return string(m[1]), stop, nil
		}
		select {
		case err := <-ended:
			return "", nil, fmt.Errorf("the server ended: %w\n%s", err, text)
		default:
		}
	}
	stop()
	return "", nil, errors.New("the server did not say that it is ready")
}

// session is one with the server, after EHLO.
type session struct {
	net.Conn
	in *bufio.Reader
}

func open(address string) (*session, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	s := &session{conn, bufio.NewReader(conn)}
	if err = s.want("220"); err == nil {
		err = s.say("EHLO client.example\r\n", "250")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *session) say(text, want string) error {
	if _, err := io.WriteString(s, text); err != nil {
		return err
	}
	return s.want(want)
}

// want reads a reply.
func (s *session) want(code string) error {
	s.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("%q, not %s", line, code)
		}
		return nil
	}
}

const envelope = "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.org>\r\n"

// good sends for a time, and gives how long each message took from MAIL to the reply to the dot.
func good(ctx context.Context, address string, sessions int, during time.Duration) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var errs []error
	var wait sync.WaitGroup
	for range sessions {
		wait.Go(func() {
			s, err := open(address)
			var took []time.Duration
			for end := time.Now().Add(during); err == nil && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
				began := time.Now()
				err = s.message()
				took = append(took, time.Since(began))
			}
			if s != nil {
				s.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			all, errs = append(all, took...), append(errs, err)
		})
	}
	wait.Wait()
	slices.Sort(all)
	return all, errors.Join(errs...)
}

func (s *session) message() error {
	if err := s.say(envelope+"DATA\r\n", "250"); err != nil {
		return err
	}
	if err := s.want("250"); err != nil {
		return err
	}
	if err := s.want("354"); err != nil {
		return err
	}
	return s.say("Subject: x\r\n\r\n"+strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 30)+".\r\n", "250")
}

// share is a percentile of sorted times.
func share(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}

const octetEvery = 10 * time.Second

// slowSenders begin at once and send until ctx ends; open is how many the server has not cut off, and ended waits for them.
func slowSenders(ctx context.Context, address string, n int) (there *atomic.Int64, ended func()) {
	there = new(atomic.Int64)
	var begun, all sync.WaitGroup
	doors := make(chan struct{}, 50) // that many begin at once
	for i := range n {
		begun.Add(1)
		all.Go(func() {
			doors <- struct{}{}
			s, err := open(address)
			switch i % 3 {
			case 1:
				if err == nil {
					err = errors.Join(s.say(envelope+"DATA\r\n", "250"), s.want("250"), s.want("354"))
				}
			case 2:
				if err == nil {
					err = errors.Join(s.say(envelope, "250"), s.want("250"))
					io.WriteString(s, "BDAT 1000000 LAST\r\n")
				}
			}
			<-doors
			begun.Done()
			if err != nil {
				return
			}
			defer s.Close()
			there.Add(1)
			defer there.Add(-1)
			first := time.After(time.Duration(i) * octetEvery / time.Duration(n)) // spread over the time
			for next := first; ; next = time.After(octetEvery) {
				select {
				case <-next:
				case <-ctx.Done():
					return
				}
				if _, err := io.WriteString(s, "X"); err != nil {
					return
				}
			}
		})
	}
	begun.Wait()
	return there, all.Wait
}

// flooded opens more connections from one address than it may have.
func flooded(ctx context.Context, s settings, out io.Writer) (violations []string, err error) {
	address, stop, err := start(ctx, s, "flooded", perAddress)
	if err != nil {
		return nil, err
	}
	defer stop()
	var in, refused, other atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var conns []net.Conn
	began := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range s.flood / 50 {
				asked := time.Now()
				conn, err := net.DialTimeout("tcp", address, patience)
				if err != nil {
					other.Add(1)
					continue
				}
				conn.SetReadDeadline(time.Now().Add(patience))
				line, _ := bufio.NewReader(conn).ReadString('\n')
				switch {
				case strings.HasPrefix(line, "220 "):
					in.Add(1)
				case strings.HasPrefix(line, "421 4.7.0 "):
					refused.Add(1)
				default:
					other.Add(1)
				}
				mu.Lock()
				took, conns = append(took, time.Since(asked)), append(conns, conn)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	whole := time.Since(began)
	for _, conn := range conns {
		conn.Close()
	}
	slices.Sort(took)
	if len(took) == 0 {
		return nil, errors.New("no connection came about")
	}
	fmt.Fprintf(out, "%d connections from one address in %s: %d let in, %d told 421, %d neither; answered in p50 %s, p99 %s, at most %s\n",
		len(took), whole.Round(time.Millisecond), in.Load(), refused.Load(), other.Load(), share(took, 50), share(took, 99), share(took, 100))
	if in.Load() != perAddress || other.Load() > 0 {
		violations = append(violations, fmt.Sprintf("address: %d were let in, %d got no answer", in.Load(), other.Load()))
	}
	return violations, nil
}
