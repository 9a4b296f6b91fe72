package service

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
)

// Bounds of net.
const (
	maxConns    = 8        // opened in one hook call
	maxReadLine = 64 << 10 // bytes
	maxReceived = 16 << 20 // bytes in one hook call, over all connections
	maxSent     = 16 << 20 // likewise
	maxAgain    = 64 << 10 // bytes sent on a kept connection that may be sent again
	netSteps    = 400      // of a system call
	connObject  = "connection"
	keepSession = "session"
)

func netService() Service {
	conn := Arg{Name: connObject, Kind: Given, Of: []string{connObject}}
	return Service{
		Name: "net", Doc: "Connections by TCP, with or without TLS, or to a socket of this machine. A hook may open 8 in one call, and send and receive 16 MiB. All waits end with the hook's time. " +
			"A connection ends with the call, unless it is kept for the next calls of the same session; then it ends with the session, or after a minute in which nobody used it, or when the plugin was replaced by a new version of it.",
		Objects: []Object{{
			Name: connObject, Number: true, Doc: "A connection that net.open gave.",
			Methods: []Func{
				{
					Name: "net.send", Args: []Arg{conn, {Name: "text", Kind: String | Given, Of: []string{secretObject}}}, Needs: "net",
					Doc: "Sends bytes as they are.",
					Call: func(c *Context, args []any) (any, error) {
						return nil, args[0].(*Conn).send(c, textOf(args[1]))
					},
				},
				{
					Name: "net.line", Args: []Arg{conn}, Result: "string?", Needs: "net",
					Doc: "The next line, without its end (LF or CRLF), of at most 64 KiB; nil at the end of what the other side sends.",
					Call: func(c *Context, args []any) (any, error) {
						return args[0].(*Conn).line(c)
					},
				},
				{
					Name: "net.read", Args: []Arg{conn, {Name: "n", Kind: Int}}, Result: "string?", Needs: "net",
					Doc: "The next n bytes, or fewer at the end; nil if there are none left.",
					Call: func(c *Context, args []any) (any, error) {
						return args[0].(*Conn).read(c, args[1].(int64))
					},
				},
				{
					Name: "net.close", Args: []Arg{conn}, Needs: "net",
					Doc: "Ends the connection, also one that was to be kept.",
					Call: func(_ *Context, args []any) (any, error) {
						args[0].(*Conn).end()
						return nil, nil
					},
				},
			},
		}},
		Funcs: []Func{{
			Name: "net.open", Args: []Arg{{Name: "address", Kind: String}, {Name: "options", Kind: Map, Optional: true}}, Result: connObject, Needs: "net",
			Form: `net.open(address[, {tls, keep}])`,
			Doc: `Opens a connection to "host:port" or "unix:/path". With tls = true it is encrypted, and the certificate must be that of the host. With keep = "session" it is ` +
				`the one that an earlier call of this session opened with the same arguments, if it is still there; when it turns out that the other side has ended that one, what was sent is sent once more, on a new one.`,
			Call: func(c *Context, args []any) (any, error) {
				options, _ := args[1].(map[string]any)
				return c.open(args[0].(string), options)
			},
		}},
	}
}

// Conn is the Thing that stands for a connection. One call uses it at a time.
type Conn struct {
	number int64
	key    connKey
	kept   bool // for the session
	nc     net.Conn
	r      *bufio.Reader
	open   func() (net.Conn, error)
	closed bool

	again []byte // what was sent on a kept connection before anything came back
	owed  bool   // something was sent, and nothing came back since
	tried bool   // it is a new one, or it is known to live
	idle  time.Time
}

// connKey tells connections apart that must not stand in for each other.
type connKey struct {
	needs *capability.Needs // of the plugin as it was loaded: another version of it has connections of its own
	where string
	tls   bool
}

// Object implements Thing.
func (n *Conn) Object() string { return connObject }

// Plain implements Thing.
func (n *Conn) Plain() any { return n.number }

var netReach = reach{"net", func(n *capability.Needs) []string { return n.Net }}

func (c *Context) open(where string, options map[string]any) (*Conn, error) {
	n := &Conn{key: connKey{needs: c.Needs}}
	for name, v := range options {
		ok := false
		switch name {
		case "tls":
			n.key.tls, ok = v.(bool)
		case "keep":
			n.kept, ok = true, v == keepSession
		default:
			hint := "; there are tls and keep"
			if near := config.Nearest(name, []string{"tls", "keep"}); near != "" {
				hint = "; did you mean " + near + "?"
			}
			return nil, fmt.Errorf("there is no option %q%s", cut(name), hint)
		}
		if !ok {
			return nil, fmt.Errorf(`the option %s is wrong; write tls = true or keep = "session"`, name)
		}
	}
	if c.opened >= maxConns {
		return nil, fmt.Errorf("more than %d connections in one hook call", maxConns)
	}
	c.opened++
	if err := c.spend(dialSteps, maxReadLine/8); err != nil {
		return nil, err
	}
	if err := c.aim(n, where); err != nil {
		return nil, err
	}
	if n.kept {
		if old := c.host.kept.take(c.life(), n.key); old != nil && !c.mayKeep(old, where) {
			old.end()
		} else if old != nil {
			old.open, n = n.open, old
			n.tried, n.again = false, nil
		}
	}
	if n.nc == nil {
		n.tried = true
		if err := n.connect(); err != nil {
			return nil, err
		}
	}
	n.number = c.hold(n)
	return n, nil
}

// aim checks where the connection shall lead, and says how it is opened.
func (c *Context) aim(n *Conn, where string) error {
	call, h, needs := c.call, c.host, c.Needs
	if path, ok := strings.CutPrefix(where, socketScope); ok {
		n.key.where = where
		if n.key.tls {
			return errors.New("there is no tls on a socket of this machine")
		}
		n.open = func() (net.Conn, error) {
			if h.Connect != nil {
				return h.Connect(call.Context(), where)
			}
			if sameFile(path, h.Control) {
				return nil, fmt.Errorf("%s: it is this server's own control socket, which is open to no plugin", where)
			}
			conn, err := h.Dial(call.Context(), "unix", path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, plainNet(err))
			}
			return conn, nil
		}
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf(`%q is not a socket of this machine, as "unix:/run/policy.sock"`, cut(where))
		}
		sockets := func(n *capability.Needs) []string { // patterns mean none, but the one that says so
			return slices.DeleteFunc(slices.Clone(n.Net), func(p string) bool { return p != where && p != capability.AnySocket })
		}
		for n := needs; n != nil; n = n.Given {
			if len(sockets(n)) == 0 {
				return needs.Withheld("a connection to "+where, fmt.Sprintf("net = {%q}", where), sockets, where)
			}
		}
		return nil
	}
	t, err := parseTarget(where)
	if err != nil {
		return err
	}
	n.key.where = t.String()
	if err := netReach.granted(needs, t); err != nil {
		return err
	}
	n.open = func() (net.Conn, error) {
		conn, err := h.dial(call.Context(), netReach, needs, t)
		if err != nil || !n.key.tls || h.Connect != nil {
			return conn, err
		}
		secure := tls.Client(conn, &tls.Config{ServerName: t.host, RootCAs: h.Roots, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(call.Context()); err != nil {
			conn.Close()
			if call.Context().Err() != nil {
				err = errTime
			}
			return nil, fmt.Errorf("%s: TLS: %w", t, err)
		}
		return secure, nil
	}
	return nil
}

// sameFile tells whether two paths lead to one file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// life is when the session of the call ends; nil where nobody knows.
func (c *Context) life() *message.Life {
	if c.call.Session == nil {
		return nil
	}
	return c.call.Session.Life
}

// mayKeep judges the address of a kept connection anew: where this server listens may have changed since.
func (c *Context) mayKeep(n *Conn, where string) bool {
	remote, ok := n.nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return true // a socket of this machine, which was named
	}
	t, err := parseTarget(where)
	return err == nil && c.host.closed(netReach, c.Needs, t, remote.AddrPort()) == nil
}

// leave gives a connection of a call that ended to the next of the session, or ends it. One on which an answer may still come would
// give that to the next call.
func (c *Context) leave(n *Conn) {
	if life := c.life(); n.kept && !n.closed && !n.owed && n.r.Buffered() == 0 && life != nil {
		c.host.kept.put(life, n)
		return
	}
	n.end()
}

func (n *Conn) connect() error {
	nc, err := n.open()
	if err != nil {
		n.closed = true
		return err
	}
	n.nc, n.r = nc, bufio.NewReaderSize(nc, 4<<10)
	return nil
}

func (n *Conn) end() {
	if !n.closed && n.nc != nil {
		n.nc.Close()
	}
	n.closed = true
}

// during runs an exchange with the other side, which ends when the call does. A kept connection that ended before anything came
// back on it is opened once more, and what was sent is sent again.
func (n *Conn) during(c *Context, bytes int, do func() error) error {
	if n.closed {
		return errors.New("the connection is closed")
	}
	if err := c.spend(netSteps+bytes/64, bytes); err != nil {
		return err
	}
	for {
		ctx := c.call.Context()
		n.nc.SetDeadline(c.call.Deadline())
		stop := context.AfterFunc(ctx, func() { n.nc.SetDeadline(time.Unix(1, 0)) })
		err := do()
		stop()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errLong):
			n.end()
			return err
		case ctx.Err() != nil || isTimeout(err):
			n.end()
			return errors.New("no answer in time")
		case n.tried || n.r.Buffered() > 0 || len(n.again) > maxAgain:
			n.end()
			if errors.Is(err, io.EOF) {
				return io.EOF
			}
			return fmt.Errorf("the connection broke: %w", plainNet(err))
		}
		n.tried = true
		n.nc.Close()
		if err := n.connect(); err != nil {
			return err
		}
		if len(n.again) > 0 {
			n.nc.SetDeadline(c.call.Deadline())
			if _, err := n.nc.Write(n.again); err != nil {
				n.end()
				return fmt.Errorf("the connection broke: %w", plainNet(err))
			}
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

var errLong = fmt.Errorf("the line is longer than %d bytes", maxReadLine)

func (n *Conn) send(c *Context, text string) error {
	if c.sent += len(text); c.sent > maxSent {
		return fmt.Errorf("more than %d bytes sent in one hook call", maxSent)
	}
	n.owed = true
	err := n.during(c, len(text), func() error {
		_, err := io.WriteString(n.nc, text)
		return err
	})
	if !n.tried && len(n.again) <= maxAgain {
		n.again = append(n.again, text...)
	}
	return err
}

// received notes that something came back: the connection lives.
func (n *Conn) received(c *Context, bytes int) error {
	n.tried, n.again, n.owed = true, nil, false
	if c.received += bytes; c.received > maxReceived {
		n.end()
		return fmt.Errorf("more than %d bytes received in one hook call", maxReceived)
	}
	return c.spend(bytes/64, bytes)
}

func (n *Conn) line(c *Context) (any, error) {
	var line []byte
	err := n.during(c, 64, func() error {
		for {
			part, err := n.r.ReadSlice('\n')
			if line = append(line, part...); len(line) > maxReadLine {
				return errLong
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
	})
	switch {
	case err == io.EOF && len(line) == 0:
		return nil, nil
	case err != nil && err != io.EOF:
		return nil, err
	}
	if err := n.received(c, len(line)); err != nil {
		return nil, err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
}

func (n *Conn) read(c *Context, want int64) (any, error) {
	if want < 1 || want > maxReceived {
		return nil, fmt.Errorf("n is %d; it may be 1 to %d", want, maxReceived)
	}
	if err := c.spend(int(want)/64, int(want)); err != nil {
		return nil, err
	}
	buf := make([]byte, want)
	got := 0
	err := n.during(c, 0, func() error {
		m, err := io.ReadFull(n.r, buf[got:])
		if got += m; err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return err
	})
	switch {
	case err == io.EOF && got == 0:
		return nil, nil
	case err != nil && err != io.EOF:
		return nil, err
	}
	if err := n.received(c, got); err != nil {
		return nil, err
	}
	return string(buf[:got]), nil
}
