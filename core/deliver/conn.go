package deliver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/smtp"
)

const (
	replyBuffer = 4 << 10
	blockSize   = 64 << 10
	smallSize   = 8 << 10 // most mail is smaller, and thousands of attempts may be under way
	// lastWords is how long a reply is waited for on a connection that takes no more of ours: it may say why.
	lastWords = 2 * time.Second
	keepOut   = 4 << 10 // a longer command buffer is not kept with an idle connection
)

var (
	replyBuffers = sync.Pool{New: func() any { return new([replyBuffer]byte) }}
	blocks       = sync.Pool{New: func() any { return new([blockSize]byte) }}
	writers      = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, blockSize) }}
	smallWriters = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, smallSize) }}
)

// conn is a connection to a server that was greeted. One goroutine uses it at a time.
type conn struct {
	net.Conn           // under TLS, that of it
	raw       net.Conn // below it
	key       key
	host      hop    // under which it was opened or last used
	label     string // of host
	r         *smtp.Reader
	buf       *[replyBuffer]byte // what r reads into; nil while idle
	out       []byte             // commands
	reused    bool
	messages  int  // final dots sent
	rset      bool // a transaction is open that must be dropped before the next
	unusable  bool // to be closed without a word
	stale     bool // it had ended before anything was asked on it: another one may do
	final     bool // to be ended with QUIT after this message
	lone      bool // the server waits for content that will not come: a lone dot goes before QUIT
	idleSince time.Time

	by string // the mechanism of the log-in; empty: there was none

	offers
	protection string // what TLS came to, for the record; empty: it is in clear
	verified   bool
	plain      string // why it is in clear though TLS was wanted

	ctx    context.Context // of the Send that uses it; after the final dot one that never ends
	stop   func() bool     // takes the watch off
	abort  func()
	broken error // a write failed; replies may still be there
}

func newConn(nc net.Conn, k key, h hop) *conn {
	c := &conn{Conn: nc, raw: nc, key: k, r: smtp.NewReader(nc)}
	c.abort = func() { nc.SetDeadline(time.Unix(1, 0)) }
	c.name(h)
	return c
}

func (c *conn) name(h hop) {
	if c.label == "" || c.host != h {
		c.host, c.label = h, h.String()
	}
}

// begin makes the connection serve a Send: what it waits for ends when ctx ends.
func (c *conn) begin(ctx context.Context) {
	c.wake()
	c.ctx, c.stop = ctx, nil
	if ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, c.abort)
	}
}

// release undoes begin. After false, ctx has ended and the connection is of no use.
func (c *conn) release() bool {
	if c.stop != nil && !c.stop() {
		c.unusable = true
		return false
	}
	c.ctx, c.stop = context.Background(), nil
	return true
}

func (c *conn) wake() {
	if c.buf == nil {
		c.buf = replyBuffers.Get().(*[replyBuffer]byte)
		c.r.Attach(c.buf[:], 0)
	}
}

// rest gives back what an idle connection does not need. It returns false if the server said more than it was asked: the
// next reply would be taken for that of another command.
func (c *conn) rest() bool {
	if c.r.Buffered() > 0 {
		return false
	}
	if c.buf != nil {
		c.r.Detach()
		replyBuffers.Put(c.buf)
		c.buf = nil
	}
	if cap(c.out) > keepOut {
		c.out = nil
	}
	return true
}

// Close closes the connection without a word, also under TLS, which would wait for a server that does not read.
func (c *conn) Close() error { return c.raw.Close() }

// quit ends the session as RFC 5321 section 4.1.1.10 wants it, within quitTime.
func (c *conn) quit() {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(quitTime)) != nil {
		return
	}
	bye := "QUIT\r\n"
	if c.lone {
		bye = ".\r\nQUIT\r\n"
	}
	if _, err := io.WriteString(c.Conn, bye); err != nil {
		return
	}
	c.wake()
	if _, err := c.r.ReadReply(); err == nil && c.protection != "" {
		c.Conn.Close() // with the word by which TLS ends
	}
	c.rest()
}

// arm gives what follows its time. The order matters: an end of ctx before the deadline is set is seen here, and one after it
// moves the deadline.
func (c *conn) arm(d time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	return c.ctx.Err()
}

// send writes commands. A connection that the server has closed is not an error yet: reply finds what it said before.
func (c *conn) send(b []byte, wait time.Duration) error {
	if err := c.arm(wait); err != nil {
		return err
	}
	_, err := c.Conn.Write(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.broken, err = err, nil
	}
	return err
}

// reply reads one reply. The whole of it must come in time, however it is cut.
func (c *conn) reply(wait time.Duration) (smtp.Reply, error) {
	if c.broken != nil {
		wait = min(wait, lastWords)
	}
	if c.r.Buffered() == 0 {
		if err := c.arm(wait); err != nil {
			return smtp.Reply{}, err
		}
	}
	r, err := c.r.ReadReply()
	if err != nil && c.broken != nil {
		if bad := (*smtp.Fault)(nil); !errors.As(err, &bad) {
			err = c.broken
		}
	}
	return r, err
}

// ask sends one command and reads its reply.
func (c *conn) ask(command string, wait time.Duration) (smtp.Reply, error) {
	c.out = append(append(c.out[:0], command...), '\r', '\n')
	if err := c.send(c.out, wait); err != nil {
		return smtp.Reply{}, err
	}
	return c.reply(wait)
}

// blockWriter sends content, each block in its own time.
type blockWriter struct {
	c    *conn
	wait time.Duration
}

func (w blockWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if err := w.c.arm(w.wait); err != nil {
			return n, err
		}
		m, err := w.c.Conn.Write(p[n:min(len(p), n+blockSize)])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// fail makes a failure of an error met while doing something that had the given time.
func (c *conn) fail(err error, doing string, wait time.Duration) *failure {
	c.unusable = true
	bad := (*smtp.Fault)(nil)
	switch {
	case c.ctx.Err() != nil:
		return interrupted()
	case errors.As(err, &bad):
		return &failure{reply: bad.Reply}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failed(451, "4.4.2", fmt.Sprintf("no reply to %s within %v", doing, wait))
	}
	f := failed(451, "4.4.2", fmt.Sprintf("connection lost at %s (%s)", doing, cause(err)))
	f.gone = true
	return f
}

// cause says an error of the network without the addresses that the system puts before it.
func cause(err error) string {
	var no syscall.Errno
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed by the remote server"
	case errors.As(err, &no):
		return no.Error()
	}
	return err.Error()
}

// connect opens a connection that meets a demand, and greets. Where TLS fails and a connection in clear will do, there is
// another try with that, and the next messages begin there: what the server says by then was not said about any message.
func (s *Sender) connect(ctx context.Context, h hop, k key, from *Source, w *demand) (*conn, *failure) {
	as, f := s.login(k)
	if f != nil {
		return nil, f
	}
	plain := ""
	if w.level == mayEncrypt {
		plain = s.plainly.why(h.addr.String())
	}
	c, f := s.dialogue(ctx, h, k, from, w, as, plain != "")
	if f != nil && f.weak && ctx.Err() == nil {
		plain = f.words()
		if c, f = s.dialogue(ctx, h, k, from, w, as, true); f == nil {
			s.plainly.add(h.addr.String(), plain)
		}
	}
	if f == nil && c.protection == "" {
		c.plain = plain
	}
	return c, f
}

// reach opens a connection.
func (s *Sender) reach(ctx context.Context, h hop, k key, from *Source) (*conn, *failure) {
	dialing, cancel := context.WithTimeout(ctx, s.timeouts.Connect)
	nc, f, err := s.open(dialing, h, k.from, from)
	cancel()
	switch {
	case err == nil && f == nil:
	case ctx.Err() != nil:
		return nil, interrupted()
	case f != nil:
		return nil, f
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &failure{reply: smtp.NewReply(451, "4.4.1", fmt.Sprintf("no connection within %v", s.timeouts.Connect)), away: true}
	default:
		return nil, &failure{reply: smtp.NewReply(451, "4.4.1", cause(err)), away: true}
	}
	return newConn(nc, k, h), nil
}

// greet reads the banner and says EHLO or LHLO. HELO follows where the server does not know the command; a policy that
// refuses EHLO would refuse HELO as well.
func (s *Sender) greet(c *conn) *failure {
	r, err := c.reply(s.timeouts.Banner)
	if err != nil {
		return c.fail(err, "connect", s.timeouts.Banner)
	}
	if r.Code/100 != 2 {
		return c.refusal(r, "the greeting")
	}
	hello := "EHLO "
	if c.key.lmtp {
		hello = "LHLO "
	}
	r, err = c.ask(hello+c.key.helo, s.timeouts.Helo)
	if err == nil && notKnown(r) && !c.key.lmtp {
		hello = "HELO "
		r, err = c.ask(hello+c.key.helo, s.timeouts.Helo)
	}
	if err != nil {
		return c.fail(err, hello[:4], s.timeouts.Helo)
	}
	if r.Code/100 != 2 {
		return c.refusal(r, hello[:4])
	}
	if hello != "HELO " {
		c.learn(r)
	}
	return nil
}

// learn takes what a server offers from its reply to EHLO. What it says in clear of what holds under TLS alone is not believed.
func (c *conn) learn(r smtp.Reply) {
	c.offers = offersOf(esmtp.ParseExtensions(r))
	c.requireTLS = c.requireTLS && c.protection != ""
	c.startTLS = c.startTLS && c.protection == ""
}

// refusal makes a failure of a reply that is not positive.
func (c *conn) refusal(r smtp.Reply, to string) *failure {
	if r.Positive() {
		return c.nonsense(r, to)
	}
	c.unusable = c.unusable || r.Code == 421
	return &failure{reply: r, remote: true}
}

// nonsense makes a failure of a reply that no server gives at that point: commands and replies are out of step.
func (c *conn) nonsense(r smtp.Reply, to string) *failure {
	c.unusable = true
	return failed(451, "4.5.0", fmt.Sprintf("the remote server sent a bad reply: %d to %s", r.Code, to))
}
