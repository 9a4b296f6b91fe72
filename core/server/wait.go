package server

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/stagepost/stagepost/core/idle"
)

// doze waits for a client that is quiet, or makes one wait. It does so on a goroutine of its own, which needs no more than the
// smallest stack: that, and not the worker's, is what an idle session holds. So its own frame must stay small.
func (s *session) doze() {
	if s.greeted && s.held == nil {
		size, _ := s.room()
		if err := s.await(size, 0); err != nil {
			s.giveUp(err)
		}
	} else {
		s.delay()
	}
	s.srv.workers.Go(s.serve)
}

//go:noinline
func (s *session) giveUp(err error) { s.answer(s.lost(err)) }

// delay makes the client wait for its greeting or a reply.
//
//go:noinline
func (s *session) delay() {
	if !s.greeted {
		s.waited = true
		s.hold()
		return
	}
	select {
	case <-s.srv.After(s.held.Delay):
	case <-s.srv.drain:
	}
	s.give(*s.held)
	s.held = nil
}

// hold waits with the greeting. It ends when the client speaks or goes away.
func (s *session) hold() {
	s.conn.SetReadDeadline(time.Now().Add(s.at.GreetingDelay))
	if s.srv.draining.Load() { // see arm
		return
	}
	buf, n, _ := s.source.Read(idle.Line)
	s.speaks(buf, n)
	s.conn.SetReadDeadline(time.Time{})
}

// quiet is how long a worker waits for the next command itself.
const quiet = 20 * time.Millisecond

// lull tells whether the wait for a command ended only because the client is quiet.
func (s *session) lull(err error) bool {
	return s.short && errors.Is(err, os.ErrDeadlineExceeded) && !s.srv.draining.Load()
}

// arm sets the deadline: one for a whole command, one for each piece of a content; while a worker waits for a command, that of
// the lull. The order matters: Shutdown says that it drains, then passes the deadlines; so either it is seen here or the read
// returns at once.
func (s *session) arm(quiet time.Duration) error {
	if s.broken {
		return net.ErrClosed
	}
	at := s.due(quiet)
	if at.IsZero() {
		return nil
	}
	if err := s.conn.SetReadDeadline(at); err != nil {
		return err
	}
	if s.content == nil && s.srv.draining.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// due is the deadline to set; zero: the one that is set stays.
//
//go:noinline
func (s *session) due(quiet time.Duration) time.Time {
	now := time.Now()
	switch {
	case s.content != nil:
		s.deadline, quiet = s.content.deadline(now, s.srv.Gate.Patience(s.limits.Data), s.srv.Gate.Patience(minRateFor)), 0
	case !s.armed:
		s.deadline, s.armed = now.Add(s.srv.Gate.Patience(s.limits.Command)), true
	case !s.short:
		return time.Time{}
	}
	if s.until.Before(s.deadline) {
		s.deadline = s.until
	}
	if s.short = quiet > 0 && now.Add(quiet).Before(s.deadline); s.short {
		return now.Add(quiet)
	}
	return s.deadline
}

// again tells whether a read was only woken by Shutdown, which lets content go on.
func (s *session) again(err error) bool {
	return s.content != nil && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(s.deadline)
}

// Bounds of reading on after the last reply.
const (
	lingerFor  = 2 * time.Second
	lingerSize = 64 << 10
)

// linger reads what the client sent in vain: closed with input unread, a connection is reset, and the client may never see
// our last reply.
func (s *session) linger() {
	s.rest()
	if s.in == nil {
		s.in, _ = s.source.Poll(idle.Line)
	}
	half, ok := s.stream.(interface{ CloseWrite() error })
	if s.in == nil || !ok || half.CloseWrite() != nil {
		return
	}
	s.conn.SetReadDeadline(time.Now().Add(lingerFor))
	for read := 0; read < lingerSize; {
		n, err := s.stream.Read(s.in)
		if err != nil {
			return
		}
		read += n
	}
}
