package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/hooks"
)

// Refusals are prompt at first, then late, the more so the more there are, up to a bound; with a message it begins anew.
func TestErrorsAreLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byName()...)
		r.limits.ErrorDelay = 200 * time.Millisecond
		c := piped(t, r)
		c.want("220")
		c.send("EHLO c\r\n")
		c.want("250")
		late := func(send, want string) time.Duration {
			t.Helper()
			began := time.Now()
			c.send(send)
			c.want(want)
			return time.Since(began)
		}
		for round := range 2 {
			c.send("MAIL FROM:<a@client.example>\r\n")
			c.want("250")
			for i := range 25 {
				want := min(max(0, time.Duration(i+1-10)), 10) * 200 * time.Millisecond
				if took := late("RCPT TO:<reject@example.org>\r\n", "550"); took != want {
					t.Errorf("round %d, refusal %d took %s, want %s", round, i+1, took, want)
				}
				if took := late("RCPT TO:<u@example.org>\r\n", "250"); took != 0 {
					t.Errorf("what is accepted took %s", took)
				}
			}
			late("DATA\r\n", "354")
			late("text\r\n.\r\n", "250")
		}
		if n := r.srv.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		c.conn.Close()
		r.settle(t)
	})
}

// While a reply is late, no worker waits, and a shutdown is not held up.
func TestLateRepliesHoldNothing(t *testing.T) {
	const sessions = 100
	r := newRig(t, hook(hooks.Helo, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Reject, Delay: time.Minute} }))
	waits := make(chan struct{}, sessions)
	r.srv.After = func(time.Duration) <-chan time.Time { waits <- struct{}{}; return nil }
	addr := r.listen(t)
	var clients []*client
	for range sessions {
		c := dial(t, addr)
		c.want("220")
		c.send("EHLO client.example\r\n")
		clients = append(clients, c)
		<-waits
	}
	for end := time.Now().Add(10 * time.Second); r.srv.buffers.Lent() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d buffers are held", r.srv.buffers.Lent())
		}
	}
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(context.Background()) }()
	for _, c := range clients {
		c.want("550")
		c.want("421 4.3.2")
		c.conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGreetingDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.at.GreetingDelay = 6 * time.Second
		began := time.Now()
		c := piped(t, r)
		c.want("220")
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("the greeting came after %s", took)
		}
		c.send("EHLO c\r\n")
		c.want("250")
		c.conn.Close()
		r.settle(t)
	})
	for name, leave := range map[string]func(*client){
		"speaks": func(c *client) { c.send("EHLO client.example\r\n"); c.want("554 5.5.0 you spoke before the greeting") },
		"speaks as a flow": func(c *client) {
			c.send("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<u@example.org>\r\nDATA\r\n")
			c.want("554 5.5.0")
		},
		"goes away":   func(c *client) { c.conn.Close() },
		"half closes": func(c *client) { c.conn.(*net.TCPConn).CloseWrite(); c.want("220") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.at.GreetingDelay = time.Hour
			c := dial(t, r.listen(t))
			leave(c)
			if got := c.line(); got != "closed" {
				t.Errorf("then %q", got)
			}
			c.conn.Close()
			r.settle(t)
			if got := counted(r.srv.Board.Listeners()[0].Cut); strings.HasPrefix(name, "speaks") != (got == "1 early") {
				t.Errorf("cut: %s", got)
			}
		})
	}
	t.Run("shutdown", func(t *testing.T) {
		r := newRig(t)
		r.at.GreetingDelay = time.Hour
		c := dial(t, r.listen(t))
		for r.srv.Sessions() == 0 {
			time.Sleep(time.Millisecond)
		}
		done := make(chan error, 1)
		go func() { done <- r.srv.Shutdown(context.Background()) }()
		c.want("220")
		c.want("421 4.3.2")
		c.conn.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// No session lasts longer than it may, in whatever it is.
func TestSessionTime(t *testing.T) {
	for name, talk := range map[string]func(c *client){
		"silent":      func(*client) {},
		"in commands": func(c *client) { c.send("NOOP\r\n"); c.want("250") },
		"in content":  func(c *client) { c.send(strings.Repeat("0123456789\r\n", 5000)) }, // at its rate
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, byName()...)
				r.set.MaxSize = 100 << 20
				r.limits.Session, r.limits.Command, r.limits.Idle = time.Hour, 2*time.Hour, 1000
				began := time.Now()
				c := piped(t, r)
				c.want("220")
				if name == "in content" {
					c.send("EHLO c\r\n")
					c.want("250")
					c.send(transaction)
					c.want("250")
					c.want("250")
					c.want("354")
				}
				for range 59 {
					talk(c)
					time.Sleep(time.Minute)
				}
				c.want("421 4.4.2 the session has lasted long enough")
				if took := time.Since(began); took != time.Hour {
					t.Errorf("it lasted %s", took)
				}
				c.conn.Close()
				r.settle(t)
				if n := len(r.queue.all(t)); n != 0 {
					t.Errorf("%d messages", n)
				}
			})
		})
	}
}

// When sessions are nearly used up, one whose message does not come makes room, though it began before.
func TestStress(t *testing.T) {
	for name, c := range map[string]struct {
		others int
		after  time.Duration
		cut    string
	}{
		"quiet":  {6, 3 * time.Minute, "1 timeout"},
		"stress": {7, 10 * time.Second, "1 rate"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, byName()...)
				r.limits.Sessions = 10
				tally := r.srv.Board.New("mx", "mx")
				enter := func() *client {
					ours, theirs := net.Pipe()
					r.srv.admit(gate.Arrived(theirs), &r.at, tally)
					return &client{t, ours, nil}
				}
				slow := piped(t, r)
				slow.want("220")
				slow.send("EHLO c\r\n")
				slow.want("250")
				var all []*client
				for range c.others {
					all = append(all, enter())
				}
				slow.send(transaction)
				slow.want("250")
				slow.want("250")
				slow.want("354")
				began := time.Now()
				slow.want("421 4.4.2")
				if took := time.Since(began); took != c.after {
					t.Errorf("cut off after %s, want %s", took, c.after)
				}
				for _, o := range append(all, slow) {
					o.conn.Close()
				}
				r.settle(t)
			})
		})
	}
}

// A connection that comes while the process has little of something left is told to come again, and what was begun goes on.
func TestWatermarks(t *testing.T) {
	var uses atomic.Pointer[gate.Reading]
	var now atomic.Int64
	set := func(r gate.Reading) { uses.Store(&r); now.Add(1) }
	set(gate.Reading{})
	r := newRig(t, byName()...)
	r.srv.Gate = gate.New(gate.Options{Read: func() gate.Reading { return *uses.Load() }, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	addr := r.listen(t)
	begun := inContent(t, addr)
	for reply, reading := range map[string]gate.Reading{
		"421 4.3.2 the server has little memory left": {Memory: 99, MemoryLimit: 100},
		"421 4.3.2 the server has too much open":      {Files: 99, FileLimit: 100},
	} {
		set(reading)
		c := dial(t, addr)
		c.want(reply)
		if got := c.line(); got != "closed" {
			t.Errorf("then %q", got)
		}
	}
	begun.send("text\r\n.\r\n")
	begun.want("250 2.0.0 queued")
	set(gate.Reading{})
	greeted(t, addr).conn.Close()
	begun.conn.Close()
	r.settle(t)
	if got := counted(r.srv.Board.Listeners()[0].Refused); got != "1 memory, 1 descriptors" {
		t.Errorf("refused: %s", got)
	}
}

// With a PROXY header a session is that of the client it names, for plugins and for the limits.
func TestProxy(t *testing.T) {
	seen := make(chan string, 10)
	r := newRig(t, hook(hooks.Connect, func(c *hooks.Call) *hooks.Verdict {
		s := c.Session
		seen <- fmt.Sprint(s.IP, " ", s.Port, " ", s.LocalIP, " ", s.LocalPort)
		return nil
	}))
	r.limits.SessionsPerIP = 1
	r.at.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	addr := r.listen(t)
	begin := func(text string) *client {
		c := dial(t, addr)
		c.send(text)
		return c
	}
	from := func(ip string) string { return "PROXY TCP6 " + ip + " 2001:db8:ffff::1 4711 25\r\n" }
	a := begin(from("2001:db8::1"))
	a.want("220")
	if got := <-seen; got != "2001:db8::1 4711 2001:db8:ffff::1 25" {
		t.Errorf("plugins see %s", got)
	}
	begin(from("2001:db8::2")).want("421 4.7.0") // of the same /64
	b := begin(from("2001:db8:0:1::1"))
	b.want("220")
	early := begin(from("2001:db8:0:2::1") + "EHLO c\r\n")
	early.want("554 5.5.0") // what follows the header is the session's
	early.conn.Close()
	wrong := begin("EHLO client.example\r\n")
	if got := wrong.line(); got != "closed" {
		t.Errorf("without a header: %q", got)
	}
	wrong.conn.Close()
	for _, c := range []*client{a, b} {
		c.send("QUIT\r\n")
		c.want("221")
		c.conn.Close()
	}
	r.settle(t)
	if got := counted(r.srv.Board.Listeners()[0].Refused); got != "1 per_ip, 1 header" {
		t.Errorf("refused: %s", got)
	}
	if n := r.srv.Gate.Open(); n != 0 {
		t.Errorf("%d sessions are counted", n)
	}
}

// From others a header is a command that is not known, or comes too early.
func TestProxyFromOthers(t *testing.T) {
	r := newRig(t)
	r.at.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	c := dial(t, r.listen(t))
	c.want("220")
	c.send("PROXY TCP4 198.51.100.7 203.0.113.9 4711 25\r\n")
	c.want("500 5.5.1")
	c.conn.Close()
}
