package server

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/hooks"
)

// order checks that plugins see a legal way through the stages, whatever the client sends.
type order struct {
	t      *testing.T
	last   hooks.Stage
	open   bool // mail was answered with next
	rcpts  int  // recipients that were accepted
	ended  bool
	first  bool
	helo   bool
	queued int
}

func (o *order) see(c *hooks.Call) {
	fail := func(why string) {
		o.t.Errorf("%s after %s: %s", c.Stage, o.last, why)
	}
	if o.ended {
		fail("the session had ended")
	}
	switch c.Stage {
	case hooks.Connect:
		if o.first {
			fail("a second connect")
		}
		o.first = true
	case hooks.Helo:
		o.helo = true
	case hooks.Mail:
		if !o.helo {
			fail("nobody said HELO")
		}
		o.open, o.rcpts = true, 0
		if strings.HasPrefix(c.Message.Sender.Local, "reject") || strings.HasPrefix(c.Message.Sender.Local, "close") {
			o.open = false
		}
	case hooks.Rcpt:
		if !o.open {
			fail("no transaction is open")
		}
		if c.Rcpt.Address.Domain == "example.org" {
			o.rcpts++
		}
	case hooks.Data:
		if !o.open || o.rcpts == 0 {
			fail("there is no recipient")
		}
		o.open = false
	case hooks.Queue:
		if o.last != hooks.Data {
			fail("out of order")
		}
		o.queued++
	case hooks.Disconnect:
		o.ended = true
	}
	if !o.first {
		fail("connect was not first")
	}
	o.last = c.Stage
}

func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"EHLO c\r\n" + transaction + "Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n",
		"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<u@example.org>\r\nDATA\r\n.\r\nDATA\r\n",
		"EHLO c\r\nMAIL FROM:<reject@c>\r\nRCPT TO:<u@example.org>\r\nDATA\r\nRSET\r\n",
		"EHLO c\r\nMAIL FROM:<a@c> SIZE=9999999\r\nMAIL FROM:<a@c> BODY=8BITMIME\r\nRCPT TO:<u@c>\r\nEHLO d\r\nDATA\r\n",
		"EHLO c\nMAIL FROM:<a@c>\r\nNOOP\x00\r\n\rQUIT\r\n",
		"EHLO c\r\n" + transaction + "a\n.\r\nMAIL FROM:<b@c>\r\n.\r\nRCPT TO:<u@example.org>\r\n",
		"EHLO c\r\n" + strings.Repeat("x", 70_000),
		"EHLO c\r\nMAIL FROM:<a@c>\r\nRCPT TO:<u@example.org>\r\nBDAT 8\r\na: 1\r\n\r\nBDAT 5\r\n\r\n.\r\nBDAT 0 LAST\r\nDATA\r\nQUIT\r\n",
		"EHLO c\r\nMAIL FROM:<a@c> BODY=BINARYMIME\r\nRCPT TO:<u@example.org>\r\nDATA\r\nBDAT 3 LAST\r\n\r\x00\nBDAT 6\r\nQUIT\r\nBDAT 0\r\nBDAT 99999999999\r\nQUIT\r\n",
	} {
		f.Add([]byte(seed), uint8(1))
		f.Add([]byte(seed), uint8(0))
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint8) {
		o := &order{t: t}
		var hs []*hooks.Hook
		for _, h := range byName() {
			f := h.Handler
			h.Handler = hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) { o.see(c); return f.Handle(c) })
			hs = append(hs, h)
		}
		for _, stage := range []hooks.Stage{hooks.Connect, hooks.Queue, hooks.Disconnect} {
			hs = append(hs, hook(stage, func(c *hooks.Call) *hooks.Verdict { o.see(c); return nil }))
		}
		r := newRig(t, hs...)
		conn := r.pipe()
		var replies bytes.Buffer
		var reading sync.WaitGroup
		reading.Go(func() { io.Copy(&replies, conn) })
		// A line in each write is a client that waits for replies; a cut anywhere else must make no difference but for groups.
		for rest := input; len(rest) > 0; {
			n := bytes.IndexByte(rest, '\n') + 1
			if n == 0 || cut%2 == 0 {
				n = len(rest)
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		conn.Close()
		reading.Wait()
		r.settle(t)
		if !o.ended {
			t.Error("the session ended without disconnect")
		}
		if told, kept := strings.Count(replies.String(), "\n250 2.0.0 queued as "), len(r.queue.all(t)); told > kept {
			t.Errorf("%d messages were accepted, %d are kept", told, kept)
		}
		for line := range strings.Lines(replies.String()) {
			if len(line) > 512 || !strings.HasSuffix(line, "\r\n") {
				t.Errorf("reply line %q", line)
			}
		}
	})
}
