package service

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// lines serves connections: what answer gives for each line is sent back. "" ends the connection, "-" says nothing.
func lines(t *testing.T, answer func(conn int, line string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, answer)
	return l.Addr().String()
}

func serve(t *testing.T, l net.Listener, answer func(conn int, line string) string) {
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { l.Close(); cancel(); group.Wait() })
	group.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				for in := bufio.NewScanner(conn); in.Scan(); {
					switch a := answer(n, in.Text()); a {
					case "":
						return
					case "-":
					default:
						io.WriteString(conn, a)
					}
				}
			})
		}
	})
}

func TestNet(t *testing.T) {
	addr := lines(t, func(_ int, line string) string {
		switch line {
		case "bye":
			return ""
		case "long":
			return strings.Repeat("x", maxReadLine+2) + "\n"
		case "longest":
			return strings.Repeat("x", maxReadLine-1) + "\n"
		}
		return "got " + line + "\r\nmore"
	})
	o := newOutside(t, Options{}, &capability.Needs{Net: []string{addr}})
	var old any
	o.in(func(c *Context) {
		n, err := do(t, c, "net.open", addr)
		if err != nil {
			t.Fatal(err)
		}
		old = n
		step := func(want any, name string, args ...any) {
			t.Helper()
			if got, err := do(t, c, name, append([]any{n}, args...)...); err != nil || got != want {
				t.Errorf("%s: %v, %v; want %v", name, got, err, want)
			}
		}
		step(nil, "net.send", "hello\n")
		step("got hello", "net.line")
		step("mo", "net.read", int64(2))
		n = n.(Thing).Plain() // as WebAssembly has it
		step("re", "net.read", int64(2))
		step(nil, "net.send", "longest\n")
		if got, err := do(t, c, "net.line", n); err != nil || len(got.(string)) != maxReadLine-1 {
			t.Errorf("the longest line: %v", err)
		}
		step(nil, "net.send", "bye\n")
		step(nil, "net.line")
		step(nil, "net.close")
		_, err = do(t, c, "net.send", n, "x")
		wantError(t, err, "the connection is closed")
		n, _ = do(t, c, "net.open", addr)
		do(t, c, "net.send", n, "long\n")
		_, err = do(t, c, "net.line", n)
		wantError(t, err, "the line is longer than 65536 bytes")
		_, err = do(t, c, "net.read", n, int64(0))
		wantError(t, err, "n is 0; it may be 1 to ")
		_, err = do(t, c, "net.send", int64(77), "x")
		wantError(t, err, "connection is a number; it must be of type connection")
		_, err = do(t, c, "net.open", addr, map[string]any{"tsl": true})
		wantError(t, err, `there is no option "tsl"; did you mean tls?`)
		_, err = do(t, c, "net.open", addr, map[string]any{"keep": "always"})
		wantError(t, err, `write tls = true or keep = "session"`)
		for range maxConns - 2 {
			do(t, c, "net.open", addr)
		}
		_, err = do(t, c, "net.open", addr)
		wantError(t, err, "more than 8 connections in one hook call")
	})
	o.in(func(c *Context) {
		_, err := do(t, c, "net.send", old, "x")
		wantError(t, err, "the connection is closed")
	})
}

func TestNetTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	addr := hostOf(srv.URL)
	o := newOutside(t, Options{Roots: roots}, &capability.Needs{Net: []string{addr, "localhost:" + addr[strings.LastIndexByte(addr, ':')+1:]}})
	o.in(func(c *Context) {
		n, err := do(t, c, "net.open", addr, map[string]any{"tls": true})
		if err != nil {
			t.Fatal(err)
		}
		do(t, c, "net.send", n, "GET / HTTP/1.0\r\n\r\n")
		if got, err := do(t, c, "net.line", n); err != nil || got != "HTTP/1.0 404 Not Found" {
			t.Errorf("%v, %v", got, err)
		}
		_, err = do(t, c, "net.open", strings.Replace(addr, "127.0.0.1", "localhost", 1), map[string]any{"tls": true})
		wantError(t, err, "TLS: ")
	})
}

// TestKeptConnection: a kept connection serves the next calls of its session, is opened again when it turns out to have ended, and never gives
// one call the answer to another.
func TestKeptConnection(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	late := make(chan struct{}) // the line was read that nobody waits for
	addr := lines(t, func(conn int, line string) string {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%d %s", conn, line))
		switch line {
		case "end":
			return ""
		case "silent":
			close(late)
			return "-"
		}
		return fmt.Sprintf("%d\n", conn)
	})
	o := newOutside(t, Options{}, &capability.Needs{Net: []string{addr}})
	ask := func(line string) (answer any, err error) {
		o.in(func(c *Context) {
			n, err2 := do(t, c, "net.open", addr, map[string]any{"keep": "session"})
			if err = err2; err != nil {
				return
			}
			if _, err = do(t, c, "net.send", n, line+"\n"); err == nil && line != "silent" {
				answer, err = do(t, c, "net.line", n)
			}
		})
		return answer, err
	}
	want := func(line string, answer any) {
		t.Helper()
		if got, err := ask(line); got != answer || err != nil {
			t.Errorf("%s: %v, %v; want %v", line, got, err, answer)
		}
	}
	want("a", "1")
	want("b", "1")
	want("end", nil) // sent once more on the second, which ends, too
	if n := o.c.host.kept.count; n != 0 {
		t.Errorf("%d are kept that ended", n)
	}
	want("c", "3")
	want("silent", nil) // the answer may still come
	want("d", "4")
	o.session = &message.Session{Life: &message.Life{}}
	want("e", "5") // another session
	before := o.session
	o.session.Life.End()
	want("f", "6") // it ended: nothing is kept any more
	want("g", "7")
	if n := o.c.host.kept.count; n != 1 || before.Life == nil {
		t.Errorf("%d are kept, of the first session", n)
	}
	o.session = &message.Session{}
	want("h", "8") // nobody tells when it ends
	want("i", "9")
	<-late
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(seen)
	if got := strings.Join(seen, ", "); got != "1 a, 1 b, 1 end, 2 end, 3 c, 3 silent, 4 d, 5 e, 6 f, 7 g, 8 h, 9 i" {
		t.Errorf("the server saw %s", got)
	}
}

// TestStale: the other side ended a kept connection meanwhile; what is sent goes over a new one.
func TestStale(t *testing.T) {
	ended := make(chan bool, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan bool)
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			line, _ := in.ReadString('\n')
			io.WriteString(conn, "re "+line)
			conn.Close() // after one answer
			ended <- true
		}
	}()
	defer func() { l.Close(); <-served }()
	addr := l.Addr().String()
	o := newOutside(t, Options{}, &capability.Needs{Net: []string{addr}})
	for _, line := range []string{"one", "two", "three"} {
		o.in(func(c *Context) {
			n, err := do(t, c, "net.open", addr, map[string]any{"keep": "session"})
			if err != nil {
				t.Fatal(err)
			}
			do(t, c, "net.send", n, line+"\n")
			if got, err := do(t, c, "net.line", n); err != nil || got != "re "+line {
				t.Errorf("%s: %v, %v", line, got, err)
			}
		})
		<-ended
	}
}

// TestHanging (S13): whatever the other side does not do, the call ends in time.
func TestHanging(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and nothing more
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	half := lines(t, func(_ int, line string) string {
		if line == "" { // the end of a request's header
			return "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
		}
		return "-"
	})
	silent := l.Addr().String()
	for _, c := range []struct {
		name string
		do   func(t *testing.T, c *Context) error
	}{
		{"TLS", func(t *testing.T, c *Context) error {
			_, err := do(t, c, "net.open", silent, map[string]any{"tls": true})
			return err
		}},
		{"line", func(t *testing.T, c *Context) error {
			n, err := do(t, c, "net.open", silent)
			if err != nil {
				t.Fatal(err)
			}
			_, err = do(t, c, "net.line", n)
			return err
		}},
		{"read", func(t *testing.T, c *Context) error {
			n, _ := do(t, c, "net.open", silent)
			_, err := do(t, c, "net.read", n, int64(10))
			return err
		}},
		{"send", func(t *testing.T, c *Context) error {
			n, _ := do(t, c, "net.open", silent)
			for {
				if _, err := do(t, c, "net.send", n, strings.Repeat("x", 1<<20)); err != nil {
					return err
				}
			}
		}},
		{"HTTP answer", func(t *testing.T, c *Context) error {
			_, err := do(t, c, "http.request", map[string]any{"url": "http://" + silent})
			return err
		}},
		{"HTTP TLS", func(t *testing.T, c *Context) error {
			_, err := do(t, c, "http.request", map[string]any{"url": "https://" + silent})
			return err
		}},
		{"HTTP body", func(t *testing.T, c *Context) error {
			_, err := do(t, c, "http.request", map[string]any{"url": "http://" + half})
			return err
		}},
		{"HTTP request", func(t *testing.T, c *Context) error {
			_, err := do(t, c, "http.request", map[string]any{"url": "http://" + silent, "body": strings.Repeat("x", 20<<20)})
			return err
		}},
		{"resolver", func(t *testing.T, c *Context) error {
			_, err := do(t, c, "net.open", "slow.example:1")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOutside(t, Options{Resolver: resolvetest.New(t, map[string][]string{"slow.example": {"!silent"}})}, &capability.Needs{Net: []string{silent, "slow.example:1"}, HTTP: []string{silent, half}})
			o.timeout = 200 * time.Millisecond
			o.in(func(ctx *Context) {
				err := c.do(t, ctx)
				if err == nil || !strings.Contains(err.Error(), "in time") && !strings.Contains(err.Error(), "deadline exceeded") && !strings.Contains(err.Error(), "bytes sent") && !strings.Contains(err.Error(), "slow.example") {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}

func TestSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "sp") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("left out: no socket can be made here: %v", err)
	}
	serve(t, l, func(_ int, line string) string { return "re " + line + "\n" })
	o := newOutside(t, Options{}, &capability.Needs{Net: []string{"unix:" + path}})
	o.in(func(c *Context) {
		n, err := do(t, c, "net.open", "unix:"+path, map[string]any{"keep": "session"})
		if err != nil {
			t.Fatal(err)
		}
		do(t, c, "net.send", n, "x\n")
		if got, err := do(t, c, "net.line", n); got != "re x" || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		_, err = do(t, c, "net.open", "unix:"+path, map[string]any{"tls": true})
		wantError(t, err, "there is no tls on a socket of this machine")
	})
}
