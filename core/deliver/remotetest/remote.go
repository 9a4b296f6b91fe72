// Package remotetest is a mail server that misbehaves as it is told: for tests of whatever sends mail, and by hand with
// scripts/faultremote. It speaks SMTP and LMTP, keeps all that it got, and refuses what a server must refuse, so a client that skips
// a RSET is found out.
//
// A Script says for one connection what happens at a stage instead of the good answer. Its keys, the most exact first:
//
//	"RCPT <u@example.org>"   this recipient; also "dot <u@example.org>", for the replies of LMTP
//	"MAIL#2"                 the second MAIL of the connection
//	"MAIL"                   banner, EHLO, LHLO, HELO, STARTTLS, RSET, MAIL, RCPT, DATA, dot (the end of the content, of BDAT LAST too), QUIT
//	"BDAT"                   before what follows it is read: a server that does not know BDAT takes that for commands
//	"content 1000"           when so many octets of content came
//	"octets 100"             when so many octets came in all
//
// and its values, which may be joined with " | ":
//
//	"450 4.7.1 later"        a reply; lines end with "\n", each with its code
//	"close", "reset"         end the connection, by FIN or (TCP only) by RST
//	"silent"                 say nothing more until the client leaves
//	"stuck"                  nor read
//	"drip 250 ok"            a reply of which one octet comes a second
//	"trickle x"              the same each second, until the client leaves
//	"delay 3s"               wait
//	"heard"                  wait until the client says something, which is forgotten
//	"raw ..."                octets as they are
//	"flood 1000 ..."         the same so many times
//	"tls", "tls KIND"        a handshake, with a certificate of one of the Authority's kinds
//	""                       no reply, but go on
//
// Parse reads scripts from a file.
package remotetest

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// TB is what is used of a test.
type TB interface {
	Helper()
	Fatal(...any)
	Cleanup(func())
}

// Script holds what a connection does otherwise than well.
type Script map[string]string

// Options of a Remote; zero values are the defaults.
type Options struct {
	Name      string            // what its certificates are for; default "remote.test"
	Authority *Authority        // who issues them; default: one of its own
	Change    func(*tls.Config) // what its side of TLS is besides; default: nothing
	Drip      time.Duration     // between two octets of "drip", and in "trickle"; default 1 s
	Buffer    int               // for what comes from a client by TCP, in bytes; default: the system's
	// Taken is called with each message instead of keeping it, if it is set: for those that come in great numbers.
	Taken func(*Message)
	// Log gets each line of the dialogue, with "C: " or "S: " before it.
	Log func(c *Conn, line string)
}

// Remote is one server. The scripts are those of its connections, in order; the last serves all that follow.
type Remote struct {
	Options
	tb      TB
	scripts []Script
	serving sync.WaitGroup
	done    chan struct{} // closed when it ends

	mu        sync.Mutex
	ended     bool
	next      int // the number of the connection that comes next
	conns     []*Conn
	listeners []net.Listener
	configs   map[string]*tls.Config // by kind
}

// New makes a Remote that is up until the test ends.
func New(tb TB, scripts ...Script) *Remote {
	r := Start(Options{}, scripts...)
	r.tb = tb
	tb.Cleanup(r.Close)
	return r
}

// Start makes a Remote that is up until Close.
func Start(o Options, scripts ...Script) *Remote {
	if o.Name == "" {
		o.Name = "remote.test"
	}
	if o.Drip == 0 {
		o.Drip = time.Second
	}
	if len(scripts) == 0 {
		scripts = []Script{{}}
	}
	return &Remote{Options: o, scripts: scripts, done: make(chan struct{})}
}

// Close ends it and all its connections.
func (r *Remote) Close() {
	r.mu.Lock()
	if !r.ended {
		r.ended = true
		close(r.done)
	}
	for _, l := range r.listeners {
		l.Close()
	}
	for _, c := range r.conns {
		c.raw.Close()
	}
	r.mu.Unlock()
	r.serving.Wait()
}

// Conns returns the connections so far; where messages are not kept, those that are open.
func (r *Remote) Conns() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.conns)
}

// Hanging returns the connections that hang.
func (r *Remote) Hanging() []*Conn {
	return slices.DeleteFunc(r.Conns(), func(c *Conn) bool { return c.Hangs() == "" })
}

// Messages returns what was received whole and answered positively, connection by connection.
func (r *Remote) Messages() []Message {
	return slices.DeleteFunc(r.Seen(), func(m Message) bool {
		return !slices.ContainsFunc(m.Answers, func(a string) bool { return len(a) > 0 && a[0] == '2' })
	})
}

// Seen returns what was received whole, whatever was answered.
func (r *Remote) Seen() []Message {
	var all []Message
	for _, c := range r.Conns() {
		c.mu.Lock()
		for _, m := range c.messages {
			m.Answers = slices.Clone(m.Answers)
			all = append(all, m)
		}
		c.mu.Unlock()
	}
	return all
}

// Serve answers one connection in the background.
func (r *Remote) Serve(nc net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		nc.Close()
		return
	}
	c := &Conn{remote: r, raw: nc, script: r.scripts[min(r.next, len(r.scripts)-1)], seen: make(map[string]int)}
	c.nc = counting{nc, &c.sent}
	r.next++
	r.conns = append(r.conns, c)
	r.serving.Go(func() {
		c.serve()
		if r.Taken != nil {
			r.forget(c)
		}
	})
}

func (r *Remote) forget(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = slices.DeleteFunc(r.conns, func(x *Conn) bool { return x == c })
}

// Listen serves a free TCP port of the loopback interface and returns its address.
func (r *Remote) Listen() string {
	r.tb.Helper()
	address, err := r.ListenAt("127.0.0.1:0")
	if err != nil {
		r.tb.Fatal(err)
	}
	return address
}

// ListenAt serves an address such as "127.0.0.1:0" until the Remote ends, and returns the address with the port that it got.
func (r *Remote) ListenAt(address string) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		l.Close()
		return "", errors.New("the server has ended")
	}
	r.listeners = append(r.listeners, l)
	r.serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if tcp, ok := nc.(*net.TCPConn); ok && r.Buffer > 0 {
				tcp.SetReadBuffer(r.Buffer)
			}
			r.Serve(nc)
		}
	})
	return l.Addr().String(), nil
}
