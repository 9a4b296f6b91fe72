package deliver

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// The commands of a transaction, as failures and records name them.
const (
	stageRset = "RSET"
	stageMail = "MAIL"
	stageRcpt = "RCPT"
	stageData = "DATA"
	stageBody = "the content"
	stageDot  = "the end of the message"
)

// maxPipelined bounds the commands sent before their replies are read, so that neither side's buffers can fill up with both
// waiting (RFC 2920 section 3.1).
const maxPipelined = 100

// try makes one transaction with one address, on an idle connection if there is one. That one may have been closed by the
// server meanwhile: if so, nothing was asked on it yet and a new connection takes its place, once.
func (d *delivery) try(h hop) {
	if h.url != "" {
		d.post(h)
		return
	}
	start, before := d.now(), d.decided()
	want, f := d.demand(h)
	if f != nil {
		d.blame(f, h.String())
		d.record(h.String(), "not tried", start, before, f, "")
		return
	}
	k := key{addr: h.addr, socket: h.socket, lmtp: d.lmtp, helo: d.helo, from: d.job.Plan.Source, auth: d.auth(h), demand: want.id()}
	var note string
	label, how, stale := "", "reused", true
	if c := d.idle.take(k); c != nil {
		c.reused = true
		c.name(h)
		c.begin(d.ctx)
		label, how = c.label, how+c.protected()
		note, stale, f = d.use(c)
		d.counts.reused(stale)
	}
	for stale { // that of the pool, if there was one; later one whose server does not know BDAT
		how, stale = "new", false
		var c *conn
		began := time.Now()
		c, f = d.connect(d.ctx, h, k, &d.from, &want)
		if d.counts.opened(began, f); f == nil {
			label, how = c.label, how+c.protected()
			if c.by != "" {
				how += ", logged in by " + c.by
			}
			note, stale, f = d.use(c)
		} else {
			label = h.String()
		}
	}
	if f != nil {
		d.blame(f, label)
	}
	d.record(label, how, start, before, f, note)
}

// use sends the message over a connection and gives that away: it may be another Send's before use returns.
func (d *delivery) use(c *conn) (note string, stale bool, f *failure) {
	note, f = d.transact(c)
	stale = c.stale
	d.met = d.met || !stale
	d.finish(c)
	return note, stale, f
}

// finish keeps the connection for another message, or ends it.
func (d *delivery) finish(c *conn) {
	c.release()
	switch {
	case c.unusable:
		c.Close()
	case c.final || c.messages >= cmp.Or(d.job.ConnectionMessages, d.maxMessages):
		d.idle.leave(c)
	default:
		d.idle.put(c)
	}
}

// transact sends the message. The failure is nil when all recipients are decided. The note is for the record.
func (d *delivery) transact(c *conn) (note string, f *failure) {
	if f := d.fit(c); f != nil || d.open == 0 {
		return "", f
	}
	ready, f := d.envelope(c)
	switch {
	case f == nil && ready:
		return d.content(c)
	case d.open == 0: // what came later does not matter
		f = nil
	}
	return "", f
}

// envelope sends the commands from RSET, where one is owed, to DATA, and decides what their replies decide. ready means that
// the server waits for content and that somebody is to get it.
//
// Commands are numbered: -1 RSET, 0 MAIL, 1 to n RCPT, n+1 DATA.
func (d *delivery) envelope(c *conn) (ready bool, f *failure) {
	d.asked, d.accepted = d.asked[:0], d.accepted[:0]
	for i := range d.outcomes {
		if d.outcomes[i].Result == 0 {
			d.asked = append(d.asked, i)
		}
	}
	data := len(d.asked) + 1
	final, next := data, 0 // the final command, and the next to be sent
	if d.chunked {
		final = data - 1 // BDAT has the content behind it
	}
	if c.rset {
		next = -1
	}
	batch := 1
	if c.pipelining {
		batch = maxPipelined
	}
	refused, stray := false, false // MAIL was refused; a RCPT was accepted all the same
	for i := next; ; i++ {
		var err error
		if i == next {
			if d.chunked && i > final {
				c.unusable = c.unusable || stray
				return !refused && len(d.accepted) > 0, nil
			}
			if refused || i > final || i == data && len(d.accepted) == 0 {
				return ready, nil
			}
			c.out = c.out[:0]
			for ; next <= final && next < i+batch; next++ {
				c.out = d.command(c.out, c, next)
			}
			err = c.send(c.out, d.wait(i))
		}
		var r smtp.Reply
		if err == nil {
			r, err = c.reply(d.wait(i))
		}
		if err != nil {
			f := c.fail(err, d.name(i), d.wait(i))
			c.stale = f.gone && c.reused && i <= 0
			return false, f
		}
		switch positive := r.Code/100 == 2; {
		case r.Code == 421 || i < 0 && !positive:
			c.unusable = true
			if c.reused && i <= 0 {
				c.stale = true
				return false, &failure{reply: r, remote: true}
			}
			d.decideAll(r, c.label, d.name(i))
			return false, nil
		case r.Code/100 == 3 && i != data || positive && i == data:
			return false, c.nonsense(r, d.name(i))
		case i < 0:
			c.rset = false
		case i == 0 && positive:
			c.rset = true
		case i == 0:
			refused = true
			d.decideAll(r, c.label, stageMail)
		case i < data && refused:
			stray = stray || positive
		case i < data && positive:
			d.accepted = append(d.accepted, d.asked[i-1])
		case i < data:
			d.decide(d.asked[i-1], r, c.label, stageRcpt)
		case r.Code/100 == 3:
			// A server that waits for content without a recipient gets an empty one, which goes nowhere (RFC 2920 section
			// 3.1); one that has a recipient of a sender it refused must not get that.
			ready = len(d.accepted) > 0
			c.unusable = c.unusable || stray
			c.lone, c.final = !ready, c.final || !ready
		case !refused:
			d.decideAccepted(r, c.label, stageData)
		}
	}
}

func (d *delivery) decideAccepted(r smtp.Reply, host, stage string) {
	for _, i := range d.accepted {
		d.decide(i, r, host, stage)
	}
	d.accepted = d.accepted[:0]
}

func (d *delivery) name(i int) string {
	switch {
	case i < 0:
		return stageRset
	case i == 0:
		return stageMail
	case i <= len(d.asked):
		return stageRcpt
	}
	return stageData
}

func (d *delivery) wait(i int) time.Duration {
	switch {
	case i <= 0:
		return d.timeouts.Mail
	case i <= len(d.asked):
		return d.timeouts.Rcpt
	}
	return d.timeouts.Data
}

func (d *delivery) command(b []byte, c *conn, i int) []byte {
	switch {
	case i < 0:
		b = append(b, "RSET"...)
	case i == 0:
		path, _ := c.path(d.sender())
		b = append(append(append(b, "MAIL FROM:<"...), path...), '>')
		b = d.mailParams(b, c)
	case i <= len(d.asked):
		n := d.job.Rcpts[d.asked[i-1]]
		path, _ := c.path(d.job.Env.Rcpts[n].Address)
		b = append(append(append(b, "RCPT TO:<"...), path...), '>')
		b = d.rcptParams(b, c, n)
	default:
		b = append(b, "DATA"...)
	}
	return append(b, '\r', '\n')
}

// isEightBit tells whether BODY=8BITMIME is to be declared (RFC 6152): the client did, or there is 8-bit content, or it
// would have to be read for that alone, since a declaration too many does no harm.
func (d *delivery) isEightBit() bool {
	if d.says.Body == esmtp.Body8Bit {
		return true
	}
	b := d.job.Content.Bytes()
	if b == nil {
		return d.job.Content.Size() > 0 || !ascii(d.job.Env.Prefix)
	}
	return !ascii(d.job.Env.Prefix) || !ascii(b[min(d.job.Env.Skip, int64(len(b))):])
}

func ascii(b []byte) bool {
	const high = 0x8080808080808080
	for ; len(b) >= 32; b = b[32:] {
		if (binary.NativeEndian.Uint64(b)|binary.NativeEndian.Uint64(b[8:])|binary.NativeEndian.Uint64(b[16:])|binary.NativeEndian.Uint64(b[24:]))&high != 0 {
			return false
		}
	}
	for _, c := range b {
		if c&0x80 != 0 {
			return false
		}
	}
	return true
}

// errContent wraps an error of the message's own content.
type errContent struct{ error }

// content sends the message to the accepted recipients and decides them.
func (d *delivery) content(c *conn) (note string, f *failure) {
	get, put := writers.Get, writers.Put
	if d.size < smallSize {
		get, put = smallWriters.Get, smallWriters.Put
	}
	w := get().(*bufio.Writer)
	w.Reset(blockWriter{c, d.timeouts.Block})
	defer func() {
		w.Reset(nil)
		put(w)
	}()
	dots := smtp.NewDataWriter(w)
	out, text := io.Writer(dots), &chunkText{w: w}
	if d.chunked {
		fmt.Fprintf(w, "BDAT %d LAST\r\n", d.size)
		if out = text; d.binary {
			out = w
		}
	}
	if err := d.body(out); err != nil {
		var own errContent
		switch {
		case errors.As(err, &own):
			c.unusable = true // no other way to end the message than to break off
			d.decideAll(smtp.NewReply(451, "4.3.0", "the content cannot be read: "+own.Error()), "", "")
			return "", nil
		case c.ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded):
			c.broken = err
			if r, err := c.reply(lastWords); err == nil && r.Code >= 400 {
				c.unusable = true
				if d.noChunks(c, r) {
					return "", nil
				}
				d.decideAccepted(r, c.label, stageBody)
				return "", nil
			}
		case c.ctx.Err() == nil:
			c.unusable = true
			return "", failed(451, "4.4.2", fmt.Sprintf("the server took no content for %v", d.timeouts.Block))
		}
		return "", c.fail(err, stageBody, d.timeouts.Block)
	}

	// From here on the message may be taken, whatever happens: only the reply tells, and ctx has no say.
	if !c.release() {
		return "", interrupted()
	}
	var err error
	if d.chunked {
		err = text.Close()
	} else {
		err = dots.Close()
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		c.broken = err
	}
	c.messages++
	c.rset = false
	if n := dots.Strays() + text.strays; n > 0 {
		note = fmt.Sprintf("; %d stray CR, LF or NUL replaced", n)
	}
	d.answers(c)
	return note, nil
}

// body writes what is sent: prefix and the rest of the content, in pieces where it is not in memory.
func (d *delivery) body(w io.Writer) error {
	content, off := d.job.Content, d.job.Env.Skip
	size := content.Size()
	if off < 0 || off > size {
		return errContent{fmt.Errorf("it has %d octets, the envelope skips %d", size, off)}
	}
	b := content.Bytes()
	for _, part := range [][]byte{d.job.own(), d.job.Env.Prefix, b[min(off, int64(len(b))):]} {
		// What is larger than the buffer of w goes past it, so its end goes apart: until w is flushed the server has not all of a chunk.
		last := len(part)
		if last > blockSize {
			last -= len("\r\n")
		}
		for _, p := range [][]byte{part[:last], part[last:]} {
			if _, err := w.Write(p); err != nil {
				return err
			}
		}
	}
	if b != nil {
		return nil
	}
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	for off < size {
		piece := block[:min(size-off, blockSize)]
		n, err := content.ReadAt(piece, off)
		if n < len(piece) {
			return errContent{cmp.Or(err, io.ErrUnexpectedEOF)}
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// answers reads the replies to the end of the message: one, or in LMTP one for each recipient (RFC 2033 section 4.2).
func (d *delivery) answers(c *conn) {
	var r smtp.Reply
	for n, i := range d.accepted {
		if n == 0 || d.lmtp {
			var f *failure
			var err error
			if r, err = c.reply(d.timeouts.Dot); err != nil {
				f = c.fail(err, stageDot, d.timeouts.Dot)
			} else if r.Code/100 == 3 {
				f = c.nonsense(r, stageDot)
			}
			if f != nil {
				d.unknown(c, d.accepted[n:], f)
				return
			}
			if n == 0 && d.noChunks(c, r) {
				return
			}
		}
		d.decide(i, r, c.label, stageDot)
		switch {
		case r.Code == 421 && d.lmtp:
			c.unusable = true
			d.unknown(c, d.accepted[n+1:], failed(451, "4.4.2", "closed by the remote server at "+stageDot))
			return
		case r.Code == 421:
			c.unusable = true
		case r.Code/100 != 2 && !d.lmtp:
			c.final = true // it may have been said before the end, and another reply may follow
		}
	}
}

// noChunks tells whether a server that offered CHUNKING does not know BDAT. Then all of its recipients stay open for another connection.
func (d *delivery) noChunks(c *conn, r smtp.Reply) bool {
	if !d.chunked || d.binary || d.unchunked || !notKnown(r) {
		return false
	}
	c.unusable, c.stale, d.unchunked = true, true, true
	d.chunkless.add(c.key.addr)
	return true
}

// unknown defers recipients of whom it is not known whether they have the message.
func (d *delivery) unknown(c *conn, rcpts []int, f *failure) {
	d.stage = ""
	f.reply.Text = []string{c.label + ": " + strings.Join(f.reply.Text, " ") + "; the message may have been delivered"}
	for _, i := range rcpts {
		d.set(i, message.Outcome{Result: message.Deferred, Reply: f.reply, Unknown: true})
	}
}
