package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// letter is one message that was acknowledged.
type letter struct {
	id          string
	asked, told time.Time // MAIL was sent; its reply came
	acked       time.Time
}

// source sends messages until it is stopped.
type source struct {
	seed          uint64
	always, comes string // addresses of listeners: one that is always there, and one that comes and goes
	rate          int
	began         time.Time
	ids           atomic.Int64
	ticket        atomic.Int64 // of the next message that is due
	late          atomic.Int64 // messages that were not begun within a second of when they were due
	group         sync.WaitGroup

	mu       sync.Mutex
	sent     []letter
	unsure   map[string]bool // no reply came to their final dot
	sessions int
	visits   int // of the listener that comes and goes
	failed   []string
}

// Sessions at once: those that share the rate, those that dawdle, and those that visit the listener that comes and goes.
const (
	quick, slow, visitors = 24, 12, 2
	spell                 = 40 // messages in a session, at most
	dawdle                = 400 * time.Millisecond
)

// run sends until ctx ends; it may be called again then.
func (s *source) run(ctx context.Context) {
	s.began = time.Now()
	s.ticket.Store(0)
	for i := range quick + slow + visitors {
		r := rand.New(rand.NewPCG(s.seed, uint64(i)))
		s.group.Go(func() {
			for ctx.Err() == nil {
				s.session(ctx, r, i >= quick, i >= quick+slow)
			}
		})
	}
	s.group.Wait()
}

// due waits until a message is to be sent.
func (s *source) due(ctx context.Context) {
	at := s.began.Add(time.Duration(s.ticket.Add(1)) * time.Second / time.Duration(s.rate))
	if wait := time.Until(at); wait > 0 {
		s.sleep(ctx, wait)
	} else if wait < -time.Second {
		s.late.Add(1)
	}
}

func (s *source) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (s *source) session(ctx context.Context, r *rand.Rand, dawdles, visits bool) {
	address := s.always
	if visits {
		address = s.comes
	}
	conn, err := net.DialTimeout("tcp", address, patience)
	var c *client
	if err == nil {
		defer conn.Close()
		c = &client{conn, bufio.NewReader(conn)}
		err = c.expect("220")
	}
	if err != nil && visits { // it is not there, or went before it greeted
		s.sleep(ctx, 50*time.Millisecond)
		return
	}
	n := 0
	if err == nil {
		if err = c.ask("EHLO client.example", "250"); err == nil {
			for ; err == nil && n < 1+r.IntN(spell) && ctx.Err() == nil; n++ {
				if dawdles {
					err = s.send(ctx, c, r)
				} else {
					s.due(ctx)
					err = s.send(ctx, c, nil)
				}
			}
		}
		if err == nil {
			err = c.ask("QUIT", "221")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	if visits {
		s.visits++
	}
	if err != nil {
		s.failed = append(s.failed, fmt.Sprintf("at %s, message %d of a session: %v", time.Since(s.began).Round(time.Millisecond), n, err))
	}
}

var body = strings.Repeat("a line of a message, of which there are some more to make it look like one\r\n", 12)

// send hands over one message; with slow, pausing within the transaction.
func (s *source) send(ctx context.Context, c *client, slow *rand.Rand) (err error) {
	pause := func() {
		if slow != nil {
			s.sleep(ctx, time.Duration(slow.Int64N(int64(dawdle))))
		}
	}
	l := letter{id: fmt.Sprintf("<%x.%d@client.example>", s.seed, s.ids.Add(1)), asked: time.Now()}
	if slow == nil { // RFC 2920
		if err = c.write("MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.net>\r\nDATA\r\n"); err == nil {
			err = c.expect("250")
		}
		l.told = time.Now()
		for _, code := range []string{"250", "354"} {
			if err == nil {
				err = c.expect(code)
			}
		}
	} else {
		err = c.ask("MAIL FROM:<a@client.example>", "250")
		l.told = time.Now()
		pause()
		for _, rcpt := range []string{"u@example.net", "v@example.net"} {
			if err == nil {
				err = c.ask("RCPT TO:<"+rcpt+">", "250")
			}
			pause()
		}
		if err == nil {
			err = c.ask("DATA", "354")
		}
	}
	if err != nil {
		return err
	}
	if err = c.write("From: <a@client.example>\r\nTo: <u@example.net>\r\nSubject: a test\r\nMessage-ID: " + l.id + "\r\n\r\n" + body); err != nil {
		return err
	}
	pause()
	if err = c.write(".\r\n"); err == nil {
		err = c.expect("250")
	}
	l.acked = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.unsure[l.id] = true
		return err
	}
	s.sent = append(s.sent, l)
	return nil
}

// client is one SMTP session.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func (c *client) write(text string) error {
	c.conn.SetDeadline(time.Now().Add(patience))
	_, err := c.conn.Write([]byte(text))
	return err
}

// expect reads a whole reply, which must have this code.
func (c *client) expect(code string) error {
	c.conn.SetDeadline(time.Now().Add(patience))
	for {
		text, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("instead of %s: %w", code, err)
		}
		if !strings.HasPrefix(text, code) {
			return fmt.Errorf("instead of %s: %s", code, strings.TrimSpace(text))
		}
		if len(text) < 4 || text[3] != '-' {
			return nil
		}
	}
}

func (c *client) ask(text, code string) error {
	if err := c.write(text + "\r\n"); err != nil {
		return err
	}
	if err := c.expect(code); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return nil
}
