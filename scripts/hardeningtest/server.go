package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// patience is how long a server may take to start and to stop.
const patience = 60 * time.Second

// server is a Stagepost of our own. Its one process is the only one that is ever signalled.
type server struct {
	program, dir string
	admin        string // where its metrics are
	target       *target
	console      *console
	cmd          *exec.Cmd
	ended        chan struct{}
	hash         string // of the user's password
	kinds        []kind // of users whose log-ins are timed
	descriptors  int    // that it had when nobody had spoken to it
}

// configuration takes mail for the domain from strangers, and passes all of it to the sink. One client opens as many sessions here as
// many clients do elsewhere; the cases about one that opens too many are played from an address with a bound that is left alone.
func (s *server) configuration() string {
	return fmt.Sprintf(`hostname = "mail.test"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"
tls = "starttls"

[[listener]]
name = "tls"
address = "127.0.0.1:0"
role = "mx"
tls = "implicit"

[[listener]]
name = "submission"
address = "127.0.0.1:0"
role = "submission"
tls = "starttls"
auth = ["PLAIN", "LOGIN", "SCRAM-SHA-256"]

[[listener]]
name = "submissions"
address = "127.0.0.1:0"
role = "submission"
tls = "implicit"

[[listener]]
name = "clients"
address = "127.0.0.1:0"
role = "mx"
tls = "starttls"
client_certificates = "request"
client_ca = "ca.pem"

[[listener]]
name = "proxy"
address = "127.0.0.1:0"
role = "mx"
proxy_protocol = ["127.0.0.0/8"]

[[listener]]
name = "xclient"
address = "127.0.0.1:0"
role = "mx"
xclient = ["127.0.0.1"]

[tls]
certificate = "tls.pem"
key = "tls.pem"

[admin]
address = %[1]q

[resolver]
servers = ["127.0.0.1:9"]

[limits]
sessions_per_ip = 100
message_size = "10MB"
error_delay = "0s"

[plugins]
enable = ["auth", "sender-login", "domains", "relay", "headers", "auth-results", "route"]

[plugin.domains]
domains = [%[2]q]

[plugin.auth]
decoy = %[5]q

[plugin.auth.users]
%[4]q = %[5]q
%[6]s

[plugin.sender-login]
from = true

[plugin.headers.refuse]
X-Hardening = "^reject$"

[plugin.route]
default = %[3]q
`, s.admin, s.target.domain, s.target.sink.address(), s.target.user, s.hash, users(s.kinds))
}

// startStagepost starts one in a temporary folder.
func startStagepost(program string) (*target, error) {
	t := newTarget("Stagepost")
	t.strict = true
	t.has["own"] = true
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	if t.sink, err = newSink("127.0.0.1:0"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "stagepost-hardening")
	if err != nil {
		t.sink.close()
		return nil, err
	}
	s := &server{program: program, dir: dir, target: t, console: &console{}}
	t.settle = s.settle
	t.close = func() {
		s.kill()
		t.sink.close()
		os.RemoveAll(dir)
	}
	t.inspect = s.inspect
	t.restart = func() error {
		s.kill()
		return s.start()
	}
	if err := errors.Join(s.write(), s.start()); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// write makes the folder of the server.
func (s *server) write() (err error) {
	if s.admin, err = freeAddress(); err != nil {
		return err
	}
	s.target.user, s.target.password = "joe@"+s.target.domain, rand.Text()
	hash, err := bcrypt.GenerateFromPassword([]byte(s.target.password), 5)
	if err != nil {
		return err
	}
	s.hash = string(hash)
	if s.kinds, err = kinds(s.target.password); err != nil {
		return err
	}
	certificate, err := selfSigned(hostName)
	if err != nil {
		return err
	}
	if s.target.authority, err = newAuthority(); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(s.dir, "tls.pem"), certificate, 0o600),
		os.WriteFile(filepath.Join(s.dir, "ca.pem"), certificatePEM(s.target.authority.certificate.Raw), 0o600),
		os.WriteFile(filepath.Join(s.dir, "stagepost.toml"), []byte(s.configuration()), 0o600))
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

var listening = regexp.MustCompile(`([a-z]+) on (127\.0\.0\.1:\d+)`)

// start runs the server, waits until it is ready, and learns where it listens.
func (s *server) start() error {
	s.cmd = exec.Command(s.program, "serve")
	s.cmd.Dir = s.dir
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=")
	s.cmd.Stdout, s.cmd.Stderr = s.console, s.console
	mark := s.console.mark()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.ended = ended
	cmd := s.cmd
	go func() {
		cmd.Wait()
		close(ended)
	}()
	for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if line := s.console.find(mark, "ready: "); line != "" {
			for _, found := range listening.FindAllStringSubmatch(line, -1) {
				s.target.addresses[found[1]] = found[2]
			}
			s.descriptors = s.countDescriptors()
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended: %s; it said:\n%s", s.cmd.ProcessState, s.console.tail())
		default:
		}
		if time.Now().After(until) {
			return fmt.Errorf("the server is not ready after %s; it said:\n%s", patience, s.console.tail())
		}
	}
}

// stop ends the server as a service manager does.
func (s *server) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
		return fmt.Errorf("the server does not stop on SIGTERM within %s", patience)
	}
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("the server stops on SIGTERM with %s; it said:\n%s", s.cmd.ProcessState, s.console.tail())
	}
	return nil
}

func (s *server) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// countDescriptors is how many files and connections the server has open; 0 where that cannot be seen.
// countDescriptors leaves out slots of the store, which stay open for the next content.
func (s *server) countDescriptors() (n int) {
	folder := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(folder, e.Name())); !strings.HasPrefix(to, filepath.Join(s.dir, "data", "body")) {
			n++
		}
	}
	return n
}

// settle waits until no more sessions are ending, and the server has counted what it has open once more.
func (s *server) settle() {
	open := s.countDescriptors()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		time.Sleep(time.Second)
		before := open
		if open = s.countDescriptors(); open == before {
			return
		}
	}
}

// console keeps what a server writes.
type console struct {
	mu    sync.Mutex
	part  []byte
	lines []string
	more  int // that were not kept
}

const maxConsole = 1_000_000 // lines

var errConsole = errors.New("more lines than are kept")

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		rest = after
		if c.part = append(c.part, line...); !whole {
			break
		}
		if len(c.lines) < maxConsole {
			c.lines = append(c.lines, string(c.part))
		} else {
			c.more++
		}
		c.part = c.part[:0]
	}
	return len(p), nil
}

func (c *console) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// find gives the first line from mark on with a prefix.
func (c *console) find(mark int, prefix string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines[mark:] {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// all gives every line, and an error if some were not kept.
func (c *console) all() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more > 0 {
		return c.lines, errConsole
	}
	return c.lines, nil
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines[max(0, len(c.lines)-60):], "\n")
}
