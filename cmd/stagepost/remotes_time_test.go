package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
)

// In the table of remotes no time-out passes by itself, and none is shortened: a connection only notes by when it would give up. When the
// remote says nothing more and the server has read all that it said, the test lets that time pass. So what goes on beside a server that
// hangs is seen while it hangs, however fast or slow the machine is.

// outside is where made-up addresses lead.
type outside struct {
	t       *testing.T
	mu      sync.Mutex
	at      map[string]string // "[2001:db8::1]:25" to where it is in truth; "": nobody ever answers
	stills  []*still
	waiting map[*dialing]bool
	asked   map[string]int // how often for each address
	over    bool           // time passes
}

// dialing is a connection to an address where nobody answers.
type dialing struct {
	address string
	wait    time.Duration
	release chan struct{}
}

func (n *outside) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.asked[addr]++
	to, known := n.at[addr]
	if known && to == "" && !n.over {
		d := &dialing{address: addr, release: make(chan struct{})}
		if end, ok := ctx.Deadline(); ok {
			d.wait = time.Until(end)
		}
		n.waiting[d] = true
		n.mu.Unlock()
		select {
		case <-d.release:
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Unlock()
	if to == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, to)
	if err != nil {
		return nil, err
	}
	conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
	g := &still{Conn: conn, net: n}
	n.mu.Lock()
	n.stills = append(n.stills, g)
	n.mu.Unlock()
	return g, nil
}

// pass lets time pass for whoever waits in vain for one of the remotes, and tells for how long each would have waited.
func (n *outside) pass(addresses map[string]bool, remotes []*remotetest.Remote) (waited []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for d := range n.waiting {
		if addresses[d.address] {
			delete(n.waiting, d)
			close(d.release)
			waited = append(waited, d.wait)
		}
	}
	for _, r := range remotes {
		for _, c := range r.Hanging() {
			for _, g := range n.stills {
				if g.LocalAddr().String() == c.Client().String() && g.waits(c) {
					waited = append(waited, time.Duration(g.allowed.Load()))
					g.Conn.SetDeadline(time.Unix(1, 0))
				}
			}
		}
	}
	return waited
}

// end makes time pass for all.
func (n *outside) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	for d := range n.waiting {
		close(d.release)
	}
	n.waiting = nil
	for _, g := range n.stills {
		g.Conn.SetDeadline(time.Unix(1, 0))
	}
}

// still is a connection on which time does not pass.
type still struct {
	net.Conn
	net              *outside
	allowed          atomic.Int64 // how long what goes on may take
	got              atomic.Int64 // octets read
	reading, writing atomic.Bool
}

func (g *still) SetDeadline(t time.Time) error {
	left := time.Until(t)
	g.net.mu.Lock()
	defer g.net.mu.Unlock()
	if !t.IsZero() && left > 0 && !g.net.over {
		g.allowed.Store(int64(left))
		t = time.Time{}
	}
	return g.Conn.SetDeadline(t)
}

func (g *still) Read(p []byte) (int, error) {
	g.reading.Store(true)
	n, err := g.Conn.Read(p)
	g.reading.Store(false)
	g.got.Add(int64(n))
	return n, err
}

func (g *still) Write(p []byte) (int, error) {
	g.writing.Store(true)
	defer g.writing.Store(false)
	return g.Conn.Write(p)
}

// waits tells whether nothing but the end of the time can happen to what the server does on the connection.
func (g *still) waits(c *remotetest.Conn) bool {
	switch c.Hangs() {
	case "stuck":
		return g.writing.Load() || g.reading.Load() && g.got.Load() == c.Sent()
	case "trickle":
		return g.reading.Load()
	}
	return g.reading.Load() && g.got.Load() == c.Sent()
}

// round says a time as RFC 5321 does.
func round(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%d s", d/time.Second)
	}
}
