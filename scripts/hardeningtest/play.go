package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failure is what a server did wrong.
type failure struct {
	hung bool // it did nothing where it had to do something
	text string
}

func (f *failure) Error() string { return f.text }

func fail(format string, a ...any) error { return &failure{text: fmt.Sprintf(format, a...)} }
func hung(format string, a ...any) error {
	return &failure{hung: true, text: fmt.Sprintf(format, a...)}
}

// play is one case that is played in one way.
type play struct {
	target  *target
	script  *script
	way     way
	bound   time.Duration
	values  map[string]string
	conn    *conn
	held    []*conn // that stay open until the case ends
	crowd   []*conn // likewise
	pending []byte
	marks   []int // in pending
	left    int   // of a way that is cut: octets until then
	greeted reply // the reply to EHLO
	last    reply
	over    bool // the server has closed the connection, as it may
	tickets tls.ClientSessionCache
	each    *template // what each connection of the next crowd sends first
	told    int       // messages that the server took, as it said; -1 where it closed the connection before it said so
	said    dialogue
}

const (
	pauseFor = 200 * time.Millisecond // at a mark
	quietFor = 300 * time.Millisecond
	tailOf   = 4 << 10 // the octets of a long text that are sent byte by byte
)

var errGone = errors.New("the client is gone, as it should")

// run plays the case. The error is a *failure, or one of the harness.
func (p *play) run() error {
	defer p.end()
	steps := p.script.steps
	if _, ok := steps[0].(connect); !ok {
		steps = append([]step{connect{listener: "mx"}}, steps...)
	}
	for _, s := range steps {
		err := p.take(s)
		if errors.Is(err, errGone) {
			return p.gone()
		}
		if err != nil {
			return err
		}
	}
	return p.flush()
}

func (p *play) take(s step) error {
	switch s.(type) {
	case send, mark:
	case encrypt: // which may take what is pending with it
	default:
		if err := p.flush(); err != nil {
			return err
		}
	}
	if _, again := s.(connect); again {
		p.over = false
	}
	if _, about := s.(told); p.over && !about {
		p.pending, p.marks = nil, nil
		return nil
	}
	return s.do(p)
}

func (p *play) end() {
	if p.conn != nil {
		p.held = append(p.held, p.conn)
	}
	for _, c := range p.held {
		c.end(closing)
	}
	for _, c := range p.crowd {
		c.end(reset) // closed as usual, thousands of ports would be in use for a minute
	}
}

// gone is the rest of a case whose client was cut: the server must notice.
func (p *play) gone() error {
	if p.way.how != halfClose {
		return nil
	}
	p.conn.settle(p.bound)
	for {
		_, err := p.read()
		if errors.Is(err, errClosed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// flush sends what is pending in the way of this play.
func (p *play) flush() error {
	text, marks := p.pending, p.marks
	p.pending, p.marks = nil, nil
	if len(text) == 0 || p.over {
		return nil
	}
	if err := p.conn.settle(p.bound); err != nil {
		return err
	}
	p.said.client(text)
	switch p.way.kind {
	case segment:
		p.conn.write([][]byte{text}, 0, p.bound)
	case octets:
		p.conn.write(byteByByte(text), 0, p.bound)
	case pause:
		p.conn.write(atMarks(text, marks), pauseFor, p.bound)
	case cut:
		if p.left >= len(text) {
			p.left -= len(text)
			p.conn.write([][]byte{text}, 0, p.bound)
			return nil
		}
		p.conn.write([][]byte{text[:p.left]}, 0, p.bound)
		p.conn.settle(p.bound)
		p.said.note("%s after %d of these octets", p.way.how, p.left)
		p.conn.end(p.way.how)
		return errGone
	}
	return nil
}

// byteByByte cuts a text into octets, but for all but the end of a long one.
func byteByByte(text []byte) (parts [][]byte) {
	if long := len(text) - tailOf; long > 0 {
		parts, text = append(parts, text[:long]), text[long:]
	}
	for i := range text {
		parts = append(parts, text[i:i+1])
	}
	return parts
}

// atMarks cuts a text at its marks; in the middle if there are none.
func atMarks(text []byte, marks []int) (parts [][]byte) {
	if len(marks) == 0 {
		marks = []int{len(text) / 2}
	}
	at := 0
	for _, m := range append(marks, len(text)) {
		if m > at {
			parts, at = append(parts, text[at:m]), m
		}
	}
	return parts
}

// read gives the next reply. A deadline that passes is a failure.
func (p *play) read() (reply, error) {
	r, err := p.conn.reply(p.bound)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.said.note("nothing for %s", p.bound)
		return r, hung("no reply within %s", p.bound)
	case errors.Is(err, errClosed):
		p.said.note("closed")
		return r, err
	case err != nil:
		p.said.note("%v", err)
		return r, err
	}
	p.said.server(r)
	if r.code == 250 && len(r.lines) > 1 {
		p.greeted = r
	}
	p.last = r
	return r, nil
}

// confirm wants the end of the connection.
func (p *play) confirm() error {
	err := p.conn.ended(p.bound)
	if err != nil {
		p.said.note("%v", err)
		return err
	}
	p.said.note("closed")
	p.over = true
	return nil
}

func (s send) do(p *play) error {
	var text []byte
	for n := range s.times {
		if p.values["n"] = strconv.Itoa(n); n == 0 || s.text.counts() {
			text = s.text.fill(p.values)
		}
		if p.pending = append(p.pending, text...); len(p.pending) > maxText {
			return fmt.Errorf("%s:%d: more than %d octets at once", p.script.file, p.script.line, maxText)
		}
	}
	return nil
}

func (mark) do(p *play) error {
	p.marks = append(p.marks, len(p.pending))
	return nil
}

func (w want) do(p *play) error {
	wanted := w.of(p.target.strict)
	r, err := p.read()
	if errors.Is(err, errClosed) {
		if wanted.closed {
			p.over = true
			return nil
		}
		return fail("the server closed the connection, want %s", wanted.text)
	}
	if err != nil {
		return err
	}
	found, ok := wanted.match(r)
	if !ok {
		return fail("the server says %q, want %s", short(r.String()), wanted.text)
	}
	if found.closes {
		return p.confirm()
	}
	p.over = found.ends
	return nil
}

func (e rest) do(p *play) error {
	wanted := e.of(p.target.strict)
	until := time.Now().Add(p.bound)
	for {
		r, err := p.read()
		if errors.Is(err, errClosed) {
			p.over = true
			return nil
		}
		if err != nil {
			return err
		}
		if _, ok := wanted.match(r); !ok {
			return fail("the server says %q, want nothing but %s", short(r.String()), wanted.text)
		}
		if time.Now().After(until) {
			return hung("the server goes on for more than %s", p.bound)
		}
	}
}

func (l last) do(p *play) error {
	wanted := l.of(p.target.strict)
	if p.last.code == 0 {
		return fail("the server said nothing, want %s", wanted.text)
	}
	if _, ok := wanted.match(p.last); !ok {
		return fail("the server said %q last, want %s", short(p.last.String()), wanted.text)
	}
	return nil
}

func (closed) do(p *play) error { return p.confirm() }

func (quietly) do(p *play) error {
	r, err := p.conn.reply(quietFor)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, errClosed):
		return fail("the server closed the connection, want it to wait")
	case err != nil:
		return err
	}
	p.said.server(r)
	return fail("the server says %q, want nothing", short(r.String()))
}

func (o offers) do(p *play) error {
	if len(p.greeted.lines) == 0 {
		return fail("there was no reply to EHLO to look for %s in", o.keyword)
	}
	has := slices.ContainsFunc(p.greeted.lines[1:], func(line string) bool {
		return strings.EqualFold(line, o.keyword) || len(line) > len(o.keyword) && strings.EqualFold(line[:len(o.keyword)+1], o.keyword+" ")
	})
	if has == o.not {
		return fail("%s is offered: %t, want %t", o.keyword, has, !o.not)
	}
	return nil
}

func (c connect) do(p *play) error {
	if p.conn != nil {
		p.held = append(p.held, p.conn)
	}
	address := p.target.addresses[c.listener]
	if address == "" {
		return fmt.Errorf("%s:%d: the server has no address for %s", p.script.file, p.script.line, c.listener)
	}
	var err error
	if p.conn, err = dial(address, c.from, p.bound); err != nil {
		p.conn = nil
		return fail("no connection: %v", err)
	}
	p.greeted, p.last = reply{}, reply{}
	p.said.note("connected to %s", c.listener)
	return nil
}

func (e end) do(p *play) error {
	if err := p.conn.settle(p.bound); err != nil {
		return err
	}
	p.said.note("%s", e.ending)
	p.conn.end(e.ending)
	p.over = e.ending != halfClose
	return nil
}

func (f flood) do(p *play) error {
	if err := p.conn.settle(p.bound); err != nil {
		return err
	}
	text := f.text.fill(p.values)
	part := slices.Repeat(text, max(1, (64<<10)/len(text)))
	if f.rate > 0 {
		part = text
	}
	p.said.note("a flood of %d octets of %q", f.size, short(string(text)))
	p.conn.plain.SetWriteBuffer(64 << 10) // so that what is written was taken
	p.conn.written.Store(0)
	p.conn.write(slices.Repeat([][]byte{part}, int(f.size/int64(len(part)))+1), f.rate, p.bound)
	return nil
}

func (t took) do(p *play) error {
	if err := p.conn.settle(p.bound); err != nil {
		return err
	}
	if n := p.conn.written.Load(); n > t.size {
		return fail("the server took %d octets, want at most %d", n, t.size)
	}
	return nil
}

func (w wait) do(*play) error {
	time.Sleep(w.Duration)
	return nil
}
