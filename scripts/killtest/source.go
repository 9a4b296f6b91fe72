package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long anything may take that a living server does by itself.
const patience = 60 * time.Second

// source sends messages in some sessions at once until it is stopped.
type source struct {
	*ledger
	letters *letters
	server  *server
	backlog int64
	next    atomic.Int64
	group   sync.WaitGroup
	stopped chan struct{}
}

func newSource(l *ledger, letters *letters, sv *server, sessions, backlog int) *source {
	s := &source{ledger: l, letters: letters, server: sv, backlog: int64(backlog), stopped: make(chan struct{})}
	for i := range sessions {
		r := rand.New(rand.NewPCG(letters.seed, 1<<40+uint64(i)))
		s.group.Go(func() { s.sessions(r) })
	}
	return s
}

// stop lets each session end its message.
func (s *source) stop() {
	close(s.stopped)
	s.group.Wait()
}

func (s *source) over() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// sessions opens one session after the other.
func (s *source) sessions(r *rand.Rand) {
	for !s.over() {
		address, life := s.server.where()
		if address == "" {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		conn, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		s.session(&client{conn, bufio.NewReader(conn)}, life, r)
		conn.Close()
	}
}

func (s *source) session(c *client, life int, r *rand.Rand) {
	if reply, err := c.read(); err != nil || reply[0] != '2' {
		return
	}
	if reply, err := c.ask("EHLO src.example"); err != nil || reply[0] != '2' {
		return
	}
	for range 1 + r.IntN(20) {
		for s.open.Load() > s.backlog && !s.over() {
			time.Sleep(2 * time.Millisecond)
		}
		if s.over() {
			break
		}
		m := s.letters.write(int(s.next.Add(1) - 1))
		sub := &submission{n: m.n, life: life, end: cut}
		s.do(func() { s.submissions = append(s.submissions, sub) })
		if err := s.send(c, m, sub, r); err != nil {
			silent := errors.Is(err, os.ErrDeadlineExceeded) && s.life() == life
			s.do(func() { sub.reply, sub.silent = err.Error(), silent })
			return
		}
		time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
	}
	c.ask("QUIT")
}

// send hands over one message. An error ends the session.
func (s *source) send(c *client, m *letter, sub *submission, r *rand.Rand) error {
	finish := func(e end, reply string) {
		id, _ := strings.CutPrefix(reply, "250 2.0.0 queued as ")
		if e == ack {
			s.note(atAck)
		} else {
			id = ""
		}
		s.do(func() {
			if sub.end, sub.reply, sub.at, sub.id = e, reply, time.Now(), id; e == ack {
				s.owe(sub.rcpts)
			}
		})
	}
	commands := []string{"MAIL FROM:<" + m.sender + ">"}
	for _, rcpt := range m.rcpts {
		commands = append(commands, "RCPT TO:<"+rcpt+">")
	}
	commands = append(commands, "DATA")
	pipelined := r.IntN(2) == 0
	if pipelined {
		if err := c.write(strings.Join(commands, "\r\n") + "\r\n"); err != nil {
			return err
		}
	}
	var reply string
	for i, command := range commands {
		var err error
		if pipelined {
			reply, err = c.read()
		} else {
			reply, err = c.ask(command)
		}
		if err != nil {
			return err
		}
		if i > 0 && i <= len(m.rcpts) && reply[0] == '2' {
			s.do(func() { sub.rcpts = append(sub.rcpts, m.rcpts[i-1]) })
		}
	}
	if reply[0] != '3' {
		finish(nak, reply)
		c.ask("RSET")
		return nil
	}
	content := m.doubled()
	if at := r.IntN(len(content)); r.IntN(10) == 0 { // a client that takes its time
		if err := c.write(string(content[:at])); err != nil {
			return err
		}
		time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
		content = content[at:]
	}
	if err := c.write(string(content)); err != nil { // less than all was written, so the dot was not
		return err
	}
	s.do(func() { sub.dot = time.Now() })
	s.note(atDot)
	reply, err := c.read()
	switch {
	case err != nil:
		finish(unk, "")
		return err
	case reply[0] == '2':
		finish(ack, reply)
	case reply[0] == '4' || reply[0] == '5':
		finish(nak, reply)
	default:
		finish(unk, "")
		return fmt.Errorf("a reply to a message: %.80q", reply)
	}
	return nil
}

// client is one SMTP session.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func (c *client) write(text string) error {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write([]byte(text))
	return err
}

// read gives the last line of a whole reply.
func (c *client) read() (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimSuffix(line, "\r\n")
		switch {
		case len(line) < 4:
			return "", fmt.Errorf("a reply: %q", line)
		case line[3] != '-':
			return line, nil
		}
	}
}

func (c *client) ask(line string) (string, error) {
	if err := c.write(line + "\r\n"); err != nil {
		return "", err
	}
	return c.read()
}
