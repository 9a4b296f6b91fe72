package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
)

// stamps are the fields that the plugin adds.
var stamps = [...]string{"X-Stamp-Mail", "X-Stamp-Rcpt", "X-Stamp-Fact", "X-Stamp-Data", "X-Stamp-Queue"}

// sink is the next hop of all mail. It takes everything and keeps what the stamps of each message say.
type sink struct {
	ln    net.Listener
	group sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
	took  map[string]*arrival
}

type arrival struct {
	times int
	stamp string // that all its stamps have
	mixed string // what they have otherwise
}

func newSink() (*sink, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{ln: ln, conns: map[net.Conn]bool{}, took: map[string]*arrival{}}
	s.group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.conns == nil {
				conn.Close()
			} else {
				s.conns[conn] = true
			}
			s.mu.Unlock()
			s.group.Go(func() {
				s.session(conn)
				conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
	})
	return s, nil
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

func (s *sink) session(conn net.Conn) {
	r, w := bufio.NewReaderSize(conn, 16<<10), bufio.NewWriter(conn)
	say := func(reply string) bool {
		w.WriteString(reply + "\r\n")
		return r.Buffered() > 0 || w.Flush() == nil
	}
	for ok := say("220 sink.example ESMTP"); ok; {
		text, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimRight(text, "\r\n"), " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			ok = say("250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME")
		case "DATA":
			if ok = say("354 go on"); !ok || s.take(r) != nil {
				return
			}
			ok = say("250 2.0.0 taken")
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			ok = say("250 2.0.0 ok")
		}
	}
}

// take reads a message up to its final dot. The messages of the source have no dots at the begin of a line.
func (s *sink) take(r *bufio.Reader) error {
	id, came, header := "", map[string]string{}, true
	for {
		text, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch text = bytes.TrimRight(text, "\r\n"); {
		case len(text) == 0:
			header = false
		case len(text) == 1 && text[0] == '.':
			s.keep(id, came)
			return nil
		case header:
			name, value, _ := strings.Cut(string(text), ": ")
			if name == "Message-ID" {
				id = value
			} else if strings.HasPrefix(name, "X-Stamp-") && came[name] != value { // one for each recipient
				came[name] += value
			}
		}
	}
}

func (s *sink) keep(id string, came map[string]string) {
	a := &arrival{stamp: came[stamps[0]]}
	for _, name := range stamps {
		if v := came[name]; v == "" || v != a.stamp {
			a.mixed = fmt.Sprint(came)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.took[id]; known != nil {
		known.times++
		return
	}
	a.times = 1
	s.took[id] = a
}
