package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is one connection of a client. What is written goes out on a goroutine of its own, so that a server that answers before it has
// read everything is not waited for.
type conn struct {
	plain   *net.TCPConn
	secure  *tls.Conn // nil in clear
	forger  *forger   // what is written goes out by it; nil: by secure
	keys    keyLog    // of the last handshake
	hello   []byte    // the beginning of what the server sent in it
	lines   *bufio.Reader
	clear   bool          // close_notify was said: writes go out in clear
	writer  chan struct{} // closed when the write under way has ended; nil: none was begun
	failed  error         // of it, valid then
	written atomic.Int64
}

// Bounds of what is read.
const (
	maxReplyLine  = 8 << 10
	maxReplyLines = 500
)

func dial(address, from string, bound time.Duration) (*conn, error) {
	d := net.Dialer{Timeout: bound}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%s is not reached by TCP", address)
	}
	return &conn{plain: tcp, lines: bufio.NewReaderSize(tcp, maxReplyLine)}, nil
}

// stream is what the client writes to now.
func (c *conn) stream() net.Conn {
	switch {
	case c.secure == nil || c.clear:
		return c.plain
	case c.forger != nil:
		return c.forger
	}
	return c.secure
}

// write begins to write parts, with a pause between each two. The write before it must have ended.
func (c *conn) write(parts [][]byte, pause, bound time.Duration) {
	done := make(chan struct{})
	c.writer = done
	to := c.stream()
	go func() {
		defer close(done)
		for i, part := range parts {
			if i > 0 && pause > 0 {
				time.Sleep(pause)
			}
			to.SetWriteDeadline(time.Now().Add(bound))
			n, err := to.Write(part)
			c.written.Add(int64(n))
			if err != nil {
				c.failed = err
				return
			}
		}
	}()
}

// settle waits until what was written is on its way, or cannot be because the connection has ended.
func (c *conn) settle(bound time.Duration) error {
	if c.writer == nil {
		return nil
	}
	select {
	case <-c.writer:
	case <-time.After(bound):
		return hung("the server does not take what it is sent within %s", bound)
	}
	if errors.Is(c.failed, os.ErrDeadlineExceeded) {
		return hung("the server does not take what it is sent")
	}
	return nil
}

var errClosed = errors.New("the server closed the connection")

// reply reads one, with all its lines.
func (c *conn) reply(bound time.Duration) (r reply, err error) {
	c.plain.SetReadDeadline(time.Now().Add(bound))
	for {
		line, err := c.lines.ReadSlice('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return r, err
		case errors.Is(err, bufio.ErrBufferFull):
			return r, fail("a line of the reply has more than %d octets", maxReplyLine)
		case err != nil && (len(line) > 0 || len(r.lines) > 0):
			return r, fail("the server closed the connection within a reply: %q", line)
		case err != nil:
			return r, errClosed
		}
		code, text, more, ok := parseReplyLine(line)
		if !ok || len(r.lines) > 0 && code != r.code {
			return r, fail("this is no reply: %q", short(string(line)))
		}
		if r.code, r.lines = code, append(r.lines, text); !more {
			return r, nil
		}
		if len(r.lines) > maxReplyLines {
			return r, fail("the reply has more than %d lines", maxReplyLines)
		}
	}
}

func parseReplyLine(line []byte) (code int, text string, more, ok bool) {
	if len(line) < 5 || line[len(line)-2] != '\r' {
		return 0, "", false, false
	}
	line = line[:len(line)-2]
	for _, d := range line[:3] {
		if d < '0' || d > '9' {
			return 0, "", false, false
		}
		code = 10*code + int(d-'0')
	}
	if code < 200 || code > 599 {
		return 0, "", false, false
	}
	if len(line) == 3 {
		return code, "", false, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, false
	}
	for _, b := range line[4:] {
		if b < ' ' && b != '\t' || b == 0x7f {
			return 0, "", false, false
		}
	}
	return code, string(line[4:]), line[3] == '-', true
}

// ended waits for the end of the connection; a reply before it is an error. What comes in TLS after close_notify is not read.
func (c *conn) ended(bound time.Duration) error {
	c.plain.SetReadDeadline(time.Now().Add(bound))
	var r io.Reader = c.lines
	if c.clear {
		io.Copy(io.Discard, c.plain) // alerts, and perhaps more, which nobody can read
		r = c.plain
	}
	var b [maxReplyLine]byte
	n, err := r.Read(b[:])
	switch {
	case n > 0:
		return fail("the server says %q, want the end of the connection", short(string(b[:n])))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hung("the server does not close the connection within %s", bound)
	}
	return nil
}

func (c *conn) end(how ending) {
	switch how {
	case halfClose:
		c.plain.CloseWrite()
	case reset:
		c.plain.SetLinger(0)
		c.plain.Close()
	case closing:
		c.plain.Close()
	}
}

// handshake begins TLS. before goes out in the same write as ClientHello; slow is the time between two of its octets.
func (c *conn) handshake(config *tls.Config, before []byte, slow, bound time.Duration) error {
	first := &firstWrite{TCPConn: c.plain, before: before, slow: slow}
	c.keys = keyLog{}
	config.KeyLogWriter = &c.keys
	secure := tls.Client(first, config)
	c.plain.SetDeadline(time.Now().Add(bound))
	err := secure.Handshake()
	c.plain.SetDeadline(time.Time{})
	if err != nil {
		return err
	}
	c.secure, c.lines, c.hello = secure, bufio.NewReaderSize(secure, maxReplyLine), first.came
	return nil
}

// forge lets what is written go out by a forger.
func (c *conn) forge() (err error) {
	c.forger, err = newForger(c.plain, &c.keys, c.secure.ConnectionState(), c.hello)
	return err
}

// beginEarly begins a handshake with data before it, and gives the kind of the first record with which the server answers, or io.EOF. It
// goes no further: the server must not have taken the data.
func (c *conn) beginEarly(config *tls.Config, e *early, bound time.Duration) (kind byte, err error) {
	first := &firstWrite{TCPConn: c.plain, early: e}
	c.plain.SetDeadline(time.Now().Add(bound))
	tls.Client(first, config).Handshake() // it fails, since it knows nothing of what was changed
	if first.failed != nil {
		return 0, first.failed
	}
	if len(first.came) > 0 {
		return first.came[0], nil
	}
	return nextRecord(c.plain)
}

// firstWrite changes how the first octets of a handshake go out, and keeps the first that come.
type firstWrite struct {
	*net.TCPConn
	before []byte
	slow   time.Duration
	early  *early
	failed error // why early cannot be
	came   []byte
}

// maxCame is enough for ServerHello.
const maxCame = 512

func (f *firstWrite) Read(p []byte) (int, error) {
	n, err := f.TCPConn.Read(p)
	f.came = append(f.came, p[:min(n, maxCame-len(f.came))]...)
	return n, err
}

func (f *firstWrite) Write(p []byte) (int, error) {
	before, e := f.before, f.early
	f.before, f.early = nil, nil
	switch {
	case e != nil:
		changed, err := e.change(p)
		if f.failed = err; err != nil {
			return 0, err
		}
		if _, err := f.TCPConn.Write(changed); err != nil {
			return 0, err
		}
		return len(p), nil
	case f.slow > 0:
		for i := range p {
			if _, err := f.TCPConn.Write(p[i : i+1]); err != nil {
				return i, err
			}
			time.Sleep(f.slow)
		}
		return len(p), nil
	case len(before) == 0:
		return f.TCPConn.Write(p)
	}
	n, err := f.TCPConn.Write(append(before, p...))
	return max(0, n-len(before)), err
}
