package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is the next hop of all mail. In rough weather it defers, refuses, dawdles and drops connections; once calmed it takes
// everything at once.
type sink struct {
	*ledger
	letters *letters
	ln      net.Listener
	calm    atomic.Bool
	group   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
}

func newSink(l *ledger, letters *letters) (*sink, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{ledger: l, letters: letters, ln: ln, conns: map[net.Conn]bool{}}
	s.group.Go(func() {
		for n := uint64(0); ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			// A server greets only after our banner, so whoever sends commands lived when its connection was accepted: the life
			// is that of the sender, however late this runs.
			life := l.life()
			if !s.keep(conn) {
				return
			}
			s.group.Go(func() {
				defer s.drop(conn)
				(&guest{sink: s, conn: conn, life: life, rand: rand.New(rand.NewPCG(letters.seed, 1<<41+n))}).serve()
			})
		}
	})
	return s, nil
}

func (s *sink) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		conn.Close()
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *sink) drop(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *sink) close() {
	s.ln.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.group.Wait()
}

// chance is true so many times in a hundred, in rough weather.
func (s *sink) chance(r *rand.Rand, percent int) bool {
	return r.IntN(100) < percent && !s.calm.Load()
}

// guest is one connection of the server.
type guest struct {
	*sink
	conn net.Conn
	life int
	rand *rand.Rand
	r    *bufio.Reader
	w    *bufio.Writer
	now  *attempt // the transaction that is open
	last *attempt // the one whose last reply the server has not shown to have read
}

var errOver = errors.New("the session is over")

func (g *guest) serve() {
	g.r, g.w = bufio.NewReaderSize(g.conn, 64<<10), bufio.NewWriter(g.conn)
	if g.say("220 sink.example ESMTP") != nil {
		return
	}
	for {
		line, err := g.r.ReadString('\n')
		if err == nil || err == io.EOF {
			g.confirm()
		}
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if err := g.command(strings.ToUpper(verb), rest); err != nil {
			return
		}
	}
}

// confirm notes that the server went on after the last reply.
func (g *guest) confirm() {
	if g.last != nil {
		g.do(func() { g.last.confirmed = true })
		g.last = nil
	}
}

// say writes a reply, with others if more commands have come already.
func (g *guest) say(reply string) error {
	g.w.WriteString(reply + "\r\n")
	if g.r.Buffered() > 0 {
		return nil
	}
	return g.w.Flush()
}

func (g *guest) command(verb, rest string) error {
	if a := g.now; a != nil && verb != "RCPT" && verb != "DATA" { // all recipients were refused, so there is no content
		g.now = nil
		if len(a.rcpts) > 0 && !a.taken() {
			g.do(func() {
				g.settle(a, a.replied)
				a.confirmed = true
			})
		}
	}
	switch verb {
	case "EHLO":
		reply := "250-sink.example\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
		if g.rand.IntN(4) > 0 {
			reply += "250-PIPELINING\r\n"
		}
		return g.say(reply + "250 SIZE 0")
	case "MAIL":
		g.now = &attempt{life: g.life, began: time.Now(), sender: path(rest), owner: -1}
		g.do(func() { g.attempts = append(g.attempts, g.now) })
		return g.say("250 2.1.0 ok")
	case "RCPT":
		return g.rcpt(path(rest))
	case "DATA":
		return g.data()
	case "RSET":
		return g.say("250 2.0.0 ok")
	case "QUIT":
		g.say("221 2.0.0 bye")
		return errOver
	}
	g.do(func() { g.strange = append(g.strange, verb+" "+rest) })
	return g.say("500 5.5.1 not known")
}

// path is the address in "FROM:<a@b> SIZE=1".
func path(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (g *guest) rcpt(address string) error {
	if g.now == nil {
		g.do(func() { g.strange = append(g.strange, "RCPT without MAIL") })
		return g.say("503 5.5.1 MAIL first")
	}
	n, notice, _ := g.letters.owner(address)
	reply, code := "250 2.1.5 ok", 250
	switch {
	case g.chance(g.rand, 8), !g.calm.Load() && !notice && stubborn(n) && address == g.letters.write(n).rcpts[0]:
		reply, code = "451 4.3.0 not now", 451
	case g.chance(g.rand, 3) && !notice: // nobody could be told
		reply, code = "550 5.1.1 nobody here", 550
	}
	err := g.say(reply)
	g.do(func() {
		g.now.rcpts = append(g.now.rcpts, answer{address, code})
		g.now.replied = time.Now()
	})
	switch code {
	case 451:
		g.note(atSent4)
	case 550:
		g.note(atSent5)
	}
	return err
}

func (g *guest) data() error {
	a := g.now
	if a == nil || !a.taken() {
		err := g.say("554 5.5.1 no recipients")
		if a != nil && len(a.rcpts) > 0 {
			g.do(func() { g.settle(a, time.Now()) })
			g.now, g.last = nil, a
		}
		return err
	}
	if err := g.say("354 go on"); err != nil {
		return err
	}
	content, err := readContent(g.r)
	if err != nil {
		return err
	}
	g.seen(a, content)
	g.note(atSeen)
	g.now = nil
	if g.chance(g.rand, 10) {
		time.Sleep(time.Duration(g.rand.IntN(40)) * time.Millisecond)
	}
	reply, code := "250 2.0.0 taken", 250
	switch {
	case g.chance(g.rand, 4):
		if g.rand.IntN(2) == 0 {
			g.conn.(*net.TCPConn).SetLinger(0) // a reset
		}
		g.conn.Close()
		g.do(func() { g.settle(a, time.Now()) })
		g.note(atNoDot)
		return errOver
	case g.chance(g.rand, 4):
		reply, code = "451 4.3.0 not now", 451
	case g.chance(g.rand, 1) || a.notice != "" && g.chance(g.rand, 5):
		reply, code = "554 5.6.0 not this", 554
	}
	g.w.WriteString(reply + "\r\n")
	if err := g.w.Flush(); err != nil {
		return err
	}
	g.do(func() {
		a.dot = code
		g.settle(a, time.Now())
	})
	g.last = a
	switch code {
	case 250:
		g.note(atSent2)
	case 451:
		g.note(atSent4)
	case 554:
		g.note(atSent5)
	}
	return nil
}

// seen keeps what the content says of itself.
func (g *guest) seen(a *attempt, content []byte) {
	at := time.Now()
	owner, id, fault, notice := -1, "", "", ""
	n, forSender, ok := -1, false, false
	if len(a.rcpts) > 0 {
		n, forSender, ok = g.letters.owner(a.rcpts[0].address)
	}
	switch {
	case !ok:
		fault = "it is for " + a.rcpts[0].address + ", who has no mail here"
	case forSender:
		owner, notice = n, string(content)
		if found := ourReceived.FindSubmatch(content); found != nil {
			id = string(found[1])
		}
	default:
		owner = n
		var err error
		if id, err = g.letters.compare(n, content); err != nil {
			fault = err.Error()
		}
	}
	hash := fmt.Sprintf("%x", sha256.Sum256(content))
	g.do(func() {
		a.seen, a.owner, a.id, a.fault, a.notice, a.hash = at, owner, id, fault, notice, hash
		a.late = strings.Contains(notice, "\nAction: delayed\r\n")
	})
}

// readContent reads up to the final dot.
func readContent(r *bufio.Reader) ([]byte, error) {
	var content []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return content, nil
		}
		content = append(content, bytes.TrimPrefix(line, []byte("."))...)
	}
}
