package transcript

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// wire is a connection in memory. It knows when the session has read all there is and waits for more, so a case never guesses
// whether the server is done. It has no deadlines: the case has one.
type wire struct {
	local, remote net.TCPAddr

	mu      sync.Mutex
	changed *sync.Cond
	in      []byte // from the client, not yet read
	out     []byte // from the server, not yet looked at
	waiting bool   // the session waits for input
	left    bool   // the client is gone
	closed  bool   // the server closed
}

// maxReplies bounds what a server says before somebody looks at it, in bytes.
const maxReplies = 1 << 20

func newWire(remote net.TCPAddr) *wire {
	w := &wire{remote: remote, local: net.TCPAddr{IP: net.IPv4(192, 0, 2, 25), Port: 25}}
	if remote.IP.To4() == nil {
		w.local.IP = net.ParseIP("2001:db8::25")
	}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// Read implements net.Conn, for the session.
func (w *wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.in) == 0 && !w.left && !w.closed {
		w.waiting = true
		w.changed.Broadcast()
		w.changed.Wait()
	}
	w.waiting = false
	switch {
	case w.closed:
		return 0, net.ErrClosed
	case len(w.in) == 0:
		return 0, io.EOF
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

// Write implements net.Conn, for the session.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.left || len(w.out)+len(p) > maxReplies {
		return 0, net.ErrClosed
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// Close implements net.Conn, for the session.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.changed.Broadcast()
	return nil
}

func (w *wire) LocalAddr() net.Addr              { return &w.local }
func (w *wire) RemoteAddr() net.Addr             { return &w.remote }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// say hands the session what the client sends.
func (w *wire) say(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.in = append(w.in, text...)
	w.waiting = false
	w.changed.Broadcast()
}

// leave is the client's end of the connection.
func (w *wire) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = true
	w.changed.Broadcast()
}

// settle waits until the session waits for more, or has closed.
func (w *wire) settle(ctx context.Context) (over bool, err error) {
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.waiting && !w.closed {
		if ctx.Err() != nil {
			return false, errSlow
		}
		w.changed.Wait()
	}
	return w.closed, nil
}

var errSlow = errors.New("the case did not end in time: a plugin hangs, or is far too slow")

// reply takes the next reply that the server gave; its lines become the texts of one.
func (w *wire) reply() (r smtp.Reply, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.out
	for {
		end := strings.Index(string(rest), "\r\n")
		if end < 3 {
			return smtp.Reply{}, false
		}
		text := string(rest[:end])
		rest = rest[end+2:]
		r.Code, _ = strconv.Atoi(text[:3])
		r.Text = append(r.Text, strings.TrimLeft(text[3:], "- "))
		if len(text) == 3 || text[3] == ' ' {
			w.out = rest
			return r, true
		}
	}
}

// once is a listener with one connection.
type once struct {
	conns chan net.Conn
	gone  chan struct{}
	close sync.Once
}

func newOnce(conn net.Conn) *once {
	o := &once{conns: make(chan net.Conn, 1), gone: make(chan struct{})}
	o.conns <- conn
	return o
}

// Accept implements net.Listener.
func (o *once) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.gone:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (o *once) Close() error {
	o.close.Do(func() { close(o.gone) })
	return nil
}

// Addr implements net.Listener.
func (o *once) Addr() net.Addr { return &net.TCPAddr{} }
