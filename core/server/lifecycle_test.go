package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/hooks"
)

const transaction = "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.org>\r\nDATA\r\n"

// greeted returns a client after EHLO.
func greeted(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.want("220 ")
	c.send("EHLO client.example\r\n")
	c.want("250 HELP")
	return c
}

// inContent returns a client that was told to send content.
func inContent(t testing.TB, addr string) *client {
	t.Helper()
	c := greeted(t, addr)
	c.send(transaction)
	c.want("250 ")
	c.want("250 ")
	c.want("354 ")
	return c
}

// over a pipe, in a bubble with its own clock.
func piped(t *testing.T, r *rig) *client {
	conn := r.pipe()
	return &client{t, conn, bufio.NewReader(conn)}
}

func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		talk  func(c *client)
		after time.Duration
		reply string
	}{
		{"no command", func(c *client) {}, 5 * time.Minute, "421 4.4.2"},
		{"half a command, octet by octet", func(c *client) {
			for range 9 {
				c.send("N")
				time.Sleep(33 * time.Second)
			}
		}, 5 * time.Minute, "421 4.4.2"},
		{"no content", func(c *client) {
			c.send("EHLO c\r\n")
			c.want("250 ")
			c.send(transaction)
			c.want("250")
			c.want("250")
			c.want("354")
		}, 3 * time.Minute, "421 4.4.2"},
		{"content too slow", func(c *client) {
			c.send("EHLO c\r\n")
			c.want("250 ")
			c.send(transaction)
			c.want("250")
			c.want("250")
			c.want("354")
			for range 5 {
				time.Sleep(59 * time.Second)
				c.send("slow\r\n")
			}
		}, 5 * time.Minute, "421 4.4.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, byName()...)
				start := time.Now()
				client := piped(t, r)
				client.want("220 ")
				c.talk(client)
				client.want(c.reply)
				if took := time.Since(start); took != c.after {
					t.Errorf("it took %s, want %s", took, c.after)
				}
				client.conn.Close()
				r.settle(t)
			})
		})
	}
}

// A client that does not read what it is told does not keep a session.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		conn := r.pipe()
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if n := r.srv.Sessions(); n != 0 {
			t.Errorf("%d sessions", n)
		}
		conn.Close()
		r.settle(t)
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hook(hooks.Rcpt, func(*hooks.Call) *hooks.Verdict {
			return &hooks.Verdict{Kind: hooks.Reject, Delay: 20 * time.Second}
		}))
		c := piped(t, r)
		c.want("220")
		c.send("EHLO c\r\n")
		c.want("250")
		c.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.org>\r\n")
		start := time.Now()
		c.want("250")
		if took := time.Since(start); took != 0 {
			t.Errorf("the reply before the delayed one took %s", took)
		}
		c.want("550")
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("the delayed reply took %s", took)
		}
		c.conn.Close()
		r.settle(t)
	})
}

func TestConnectionLimits(t *testing.T) {
	r := newRig(t)
	var perIP atomic.Int64
	perIP.Store(2)
	r.srv.Limits = func() Limits { return Limits{Sessions: 3, SessionsPerIP: int(perIP.Load())} }
	addr := r.listen(t)
	a, b := greeted(t, addr), greeted(t, addr)
	c := dial(t, addr)
	c.want("421 4.7.0 too many connections from your address")
	if got := c.line(); got != "closed" {
		t.Errorf("then %q", got)
	}
	perIP.Store(10) // a new session asks anew
	d := greeted(t, addr)
	dial(t, addr).want("421 4.3.2 too many connections")
	for _, c := range []*client{a, b, d} {
		c.send("QUIT\r\n")
		c.want("221")
	}
	r.settle(t)
	greeted(t, addr)
}

func TestEarlyTalker(t *testing.T) {
	talked := make(chan struct{})
	var early atomic.Bool
	r := newRig(t, hook(hooks.Connect, func(c *hooks.Call) *hooks.Verdict { <-talked; return nil }),
		hook(hooks.Disconnect, func(c *hooks.Call) *hooks.Verdict { early.Store(c.Session.Early); return nil }))
	c := dial(t, r.listen(t))
	c.send("EHLO client.example\r\n")
	close(talked)
	c.want("554 5.5.0 you spoke before the greeting")
	if got := c.line(); got != "closed" {
		t.Errorf("then %q", got)
	}
	c.conn.Close()
	r.settle(t)
	if !early.Load() {
		t.Error("plugins are not told")
	}
}

// A session that waits has no buffer, and still sees what was sent before it waited.
func TestIdleSessionsHoldNoBuffers(t *testing.T) {
	r := newRig(t, byName()...)
	addr := r.listen(t)
	var clients []*client
	for range 20 {
		clients = append(clients, greeted(t, addr))
	}
	idle := func() {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); r.srv.buffers.Lent() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d buffers are held by sessions that wait", r.srv.buffers.Lent())
			}
		}
	}
	idle()
	for _, c := range clients {
		c.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.org>\r\n")
		c.want("250")
		c.want("250")
	}
	idle()
	for _, c := range clients {
		c.send("DATA\r\n")
		c.want("354")
	}
	idle()
	for _, c := range clients {
		c.send("text\r\n.\r\n")
		c.want("250 2.0.0 queued")
	}
	idle()
}

func TestShutdown(t *testing.T) {
	r := newRig(t, byName()...)
	addr := r.listen(t)
	idle, half, busy := greeted(t, addr), greeted(t, addr), inContent(t, addr)
	half.send("MAIL FR")
	busy.send("half of ")
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(context.Background()) }()
	idle.want("421 4.3.2")
	half.want("421 4.3.2")
	if conn, err := net.Dial("tcp", addr); err == nil {
		c := &client{t, conn, bufio.NewReader(conn)}
		if got := c.line(); got != "closed" && !strings.HasPrefix(got, "421 ") {
			t.Errorf("a new connection gets %q", got)
		}
		conn.Close()
	}
	busy.send("the text\r\n.\r\nMAIL FROM:<b@client.example>\r\n")
	busy.want("250 2.0.0 queued")
	busy.want("421 4.3.2")
	for _, c := range []*client{idle, half, busy} {
		c.conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(r.queue.all(t)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestShutdownCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byName()...)
		c := piped(t, r)
		c.want("220")
		c.send("EHLO c\r\n")
		c.want("250")
		c.send(transaction)
		c.want("250")
		c.want("250")
		c.want("354")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		err := r.srv.Shutdown(ctx)
		if took := time.Since(start); err == nil || took != 30*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		if got := c.line(); got != "closed" {
			t.Errorf("the client gets %q", got)
		}
		r.settle(t)
	})
}

// When it is not known whether a message was kept, the client is told nothing.
func TestUnknownOutcome(t *testing.T) {
	r := newRig(t, byName()...)
	r.queue.unknown = true
	c := inContent(t, r.listen(t))
	c.send("text\r\n.\r\n")
	if got := c.line(); got != "closed" {
		t.Errorf("the server says %q", got)
	}
}

// A client that goes away at any octet leaves nothing behind, and what it had completed stays.
func TestLostConnections(t *testing.T) {
	whole := "EHLO client.example\r\n|" + transaction + "|Subject: x\r\n\r\ntext\r\n.\r\n|QUIT\r\n"
	for _, reset := range []bool{false, true} {
		r := newRig(t, byName()...)
		addr := r.listen(t)
		before := runtime.NumGoroutine()
		completed := 0
		for n := 0; n <= len(whole); n++ {
			c := dial(t, addr)
			c.want("220")
			parts := strings.Split(whole[:n], "|")
			for i, part := range parts {
				c.send(part)
				if i == len(parts)-1 {
					break
				}
				switch i {
				case 0:
					c.want("250")
				case 1:
					c.want("250")
					c.want("250")
					c.want("354")
				case 2:
					c.want("250 2.0.0 queued")
				}
			}
			tcp := c.conn.(*net.TCPConn)
			if strings.HasSuffix(whole[:n], ".\r\n") || len(parts) == 4 {
				completed++
			}
			if reset && len(parts) < 3 {
				tcp.SetLinger(0)
				tcp.Close()
			} else {
				tcp.CloseWrite()
				io.Copy(io.Discard, tcp)
				tcp.Close()
			}
		}
		r.settle(t)
		if got := len(r.queue.all(t)); got != completed {
			t.Errorf("%d messages, want %d", got, completed)
		}
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+r.srv.workers.Spares(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
			}
		}
	}
}

func TestConcurrentSessions(t *testing.T) {
	const sessions, messages = 50, 10
	r := newRig(t, byName()...)
	addr := r.listen(t)
	var all sync.WaitGroup
	for i := range sessions {
		c := greeted(t, addr)
		all.Go(func() {
			for j := range messages {
				io.WriteString(c.conn, transaction)
				for range 3 {
					c.line()
				}
				fmt.Fprintf(c.conn, "Subject: %d\r\n\r\n%s\r\n.\r\n", i, strings.Repeat("0123456789abcdef\r\n", 100*j))
				if got := c.line(); !strings.HasPrefix(got, "250 2.0.0 queued") {
					t.Errorf("session %d: %q", i, got)
					return
				}
			}
			c.conn.Close()
		})
	}
	all.Wait()
	r.settle(t)
	if n := len(r.queue.all(t)); n != sessions*messages {
		t.Errorf("%d messages, want %d", n, sessions*messages)
	}
}

// failingListener cannot accept for a while.
type failingListener struct {
	net.Listener
	left atomic.Int32
}

func (f *failingListener) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptGoesOn(t *testing.T) {
	r := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failingListener{Listener: ln}
	f.left.Store(3)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.srv.Serve(ctx, f, &mx) }()
	c := greeted(t, ln.Addr().String())
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.send("NOOP\r\n") // sessions go on
	c.want("250")
	c.conn.Close()
	r.settle(t)
	if n := strings.Count(r.log.String(), "cannot accept"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	other, _ := net.Listen("tcp", "127.0.0.1:0")
	other.Close()
	if err := r.srv.Serve(t.Context(), other, &mx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}

// A connection refused before any message leaves a record under the session's id.
func TestSessionRecord(t *testing.T) {
	r := newRig(t, hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Close} }),
		hook(hooks.Disconnect, func(c *hooks.Call) *hooks.Verdict { return nil }))
	c := dial(t, r.listen(t))
	c.want("421")
	c.conn.Close()
	r.settle(t)
	if len(r.records.steps) != 1 {
		t.Fatalf("%d records", len(r.records.steps))
	}
	for _, steps := range r.records.steps {
		if len(steps) != 2 || steps[0].Verdict != "close 421 4.7.0" || steps[1].Stage != "disconnect" {
			t.Errorf("%+v", steps)
		}
	}
}

// 421 and 554 are the only codes that a greeting may refuse with (RFC 5321 section 4.3.2).
func TestGreetingOfAClosedConnection(t *testing.T) {
	for code, want := range map[int]string{550: "554 5.7.0", 450: "421 4.7.0", 421: "421 4.7.0"} {
		r := newRig(t, hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Close, Code: code} }))
		c := dial(t, r.listen(t))
		c.want(want)
		c.conn.Close()
		r.settle(t)
	}
}

func TestHugeContentIsGivenUp(t *testing.T) {
	r := newRig(t, byName()...)
	c := inContent(t, r.listen(t))
	go func() {
		chunk := strings.Repeat("0123456789abcdef", 4096)
		for range 100 {
			if _, err := io.WriteString(c.conn, chunk); err != nil {
				return
			}
		}
	}()
	c.want("552 5.3.4")
	if got := c.line(); got != "closed" {
		t.Errorf("then %q", got)
	}
}

// A reply is not kept back because half of the next command came with it.
func TestHalfACommandBehindAWhole(t *testing.T) {
	c := greeted(t, newRig(t, byName()...).listen(t))
	c.send("MAIL FROM:<a@client.example>\r\nRC")
	c.want("250 2.1.0")
	c.send("PT TO:<u@example.org>\r\n")
	c.want("250 2.1.5")
}

// A session that does not wait when Shutdown begins is told when it would.
func TestShutdownDuringCommand(t *testing.T) {
	asked, shut := make(chan struct{}), make(chan struct{})
	r := newRig(t, hook(hooks.Mail, func(*hooks.Call) *hooks.Verdict { close(asked); <-shut; return nil }))
	c := greeted(t, r.listen(t))
	c.send("MAIL FROM:<a@client.example>\r\n")
	<-asked
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(context.Background()) }()
	<-r.srv.drain
	r.srv.Sessions() // has the lock when Shutdown has passed the deadlines
	close(shut)
	c.want("250 2.1.0")
	c.want("421 4.3.2")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
