package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/scripts/longrun"
)

// sites are the next hops, by recipient domain.
type sites struct {
	hops      map[string]string // domain: host:port
	dead      []string          // domains
	live      []string
	listeners []net.Listener
	group     sync.WaitGroup

	delivered atomic.Int64 // messages that living sites took, beside new ones
	last      atomic.Int64 // when the latest of them came, in Unix nanoseconds
	mu        sync.Mutex
	conns     map[net.Conn]bool
	awaited   map[string]chan time.Time // new messages by their token
}

func newSites(dead, live int) (*sites, error) {
	s := &sites{hops: map[string]string{}, conns: map[net.Conn]bool{}, awaited: map[string]chan time.Time{}}
	for i := range dead {
		// A port that was bound a moment ago and is not any more refuses. Where nobody accepts, the system still takes connections.
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.close()
			return nil, err
		}
		domain := fmt.Sprintf("dead%d.example", i)
		s.dead, s.hops[domain] = append(s.dead, domain), ln.Addr().String()
		s.listeners = append(s.listeners, ln)
	}
	for i, ln := range s.listeners {
		if i%2 == 0 {
			ln.Close() // all were bound before, so that no port is twice among them
		}
	}
	for i := range live {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.close()
			return nil, err
		}
		domain := fmt.Sprintf("live%d.example", i)
		s.live, s.hops[domain] = append(s.live, domain), ln.Addr().String()
		s.listeners = append(s.listeners, ln)
		s.group.Go(func() { s.accept(ln) })
	}
	return s, nil
}

func (s *sites) lane(domain string) string { return "smtp:" + s.hops[domain] }

func (s *sites) close() {
	for _, ln := range s.listeners {
		ln.Close()
	}
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.group.Wait()
}

func (s *sites) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.group.Go(func() {
			s.serve(conn)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

const tokenField = "X-New: "

// serve takes whatever it is sent.
func (s *sites) serve(conn net.Conn) {
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	fmt.Fprint(out, "220 live.example ESMTP\r\n")
	for {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			fmt.Fprint(out, "250-live.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case "QUIT":
			fmt.Fprint(out, "221 2.0.0 bye\r\n")
			out.Flush()
			return
		case "DATA":
			fmt.Fprint(out, "354 go on\r\n")
			if out.Flush() != nil || s.take(in) != nil {
				return
			}
			fmt.Fprint(out, "250 2.0.0 taken\r\n")
		default:
			fmt.Fprint(out, "250 2.0.0 ok\r\n")
		}
	}
}

func (s *sites) take(in *bufio.Reader) error {
	token := ""
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			break
		}
		if rest, ok := bytes.CutPrefix(line, []byte(tokenField)); ok {
			token = string(bytes.TrimSpace(rest))
		}
	}
	if token == "" {
		s.delivered.Add(1)
		s.last.Store(time.Now().UnixNano())
		return nil
	}
	s.mu.Lock()
	c := s.awaited[token]
	delete(s.awaited, token)
	s.mu.Unlock()
	if c != nil {
		c <- time.Now()
	}
	return nil
}

// send sends a new message to the server, and gives how long it took from there to a living site.
func (s *sites) send(ctx context.Context, server, token, domain string) (time.Duration, error) {
	there := make(chan time.Time, 1)
	s.mu.Lock()
	s.awaited[token] = there
	s.mu.Unlock()
	began := time.Now()
	conn, err := net.DialTimeout("tcp", server, longrun.Patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(began.Add(longrun.Patience))
	in := bufio.NewReader(conn)
	for _, step := range []struct{ say, want string }{
		{"", "220"}, {"EHLO client.example\r\n", "250"}, {"MAIL FROM:<sender@client.example>\r\n", "250"}, {"RCPT TO:<new@" + domain + ">\r\n", "250"},
		{"DATA\r\n", "354"}, {tokenField + token + "\r\nSubject: new\r\n\r\n" + string(content) + ".\r\n", "250"},
	} {
		io.WriteString(conn, step.say)
		for {
			line, err := in.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, step.want) {
				return 0, fmt.Errorf("a new message: %q instead of %s: %w", line, step.want, err)
			}
			if line[3] == ' ' {
				break
			}
		}
	}
	select {
	case at := <-there:
		return at.Sub(began), nil
	case <-time.After(longrun.Patience):
		return longrun.Patience, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
