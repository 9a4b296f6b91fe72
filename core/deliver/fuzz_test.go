package deliver

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// parrot is a connection on which a server says what it has to say without listening, and hangs up.
type parrot struct {
	said *bytes.Reader
	mu   sync.Mutex // QUIT is said in the background
	sent []byte
}

func (p *parrot) Read(b []byte) (int, error)       { return p.said.Read(b) }
func (p *parrot) Close() error                     { return nil }
func (p *parrot) LocalAddr() net.Addr              { return nil }
func (p *parrot) RemoteAddr() net.Addr             { return nil }
func (p *parrot) SetDeadline(time.Time) error      { return nil }
func (p *parrot) SetReadDeadline(time.Time) error  { return nil }
func (p *parrot) SetWriteDeadline(time.Time) error { return nil }

func (p *parrot) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, b...)
	return len(b), nil
}

func (p *parrot) dots() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Count(p.sent, []byte(plain+".\r\n"))
}

// FuzzReplies sends two messages to two recipients through servers that say anything. Whatever that is, each recipient is
// decided, delivered ones had a whole message sent, and no second server is asked after a whole message.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("220 x\r\n250-x\r\n250 PIPELINING\r\n250 a\r\n250 b\r\n550 c\r\n354 d\r\n250 e\r\n"), false)
	f.Add([]byte("220 x\r\n250 x\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n452 f\r\n"), true)
	f.Fuzz(func(t *testing.T, said []byte, lmtp bool) {
		var conns []*parrot
		dial := func(context.Context, string, string) (net.Conn, error) {
			if len(conns) == 6 {
				return nil, io.ErrNoProgress
			}
			conns = append(conns, &parrot{said: bytes.NewReader(said)})
			return conns[len(conns)-1], nil
		}
		s := New(Options{Dial: dial})
		job := newJob(t, memory(plain), "u@y.test", "v@y.test")
		job.Plan = &message.Plan{Hosts: []string{"192.0.2.1:25", "192.0.2.2:25"}}
		if lmtp {
			job.Plan.Via = message.ViaLMTP
		}
		dots := func() int {
			n := 0
			for _, c := range conns {
				n += c.dots()
			}
			return n
		}
		for range 2 {
			before, tried := dots(), len(conns)
			outcomes := s.Send(t.Context(), job)
			sent := dots() - before
			if sent > 1 {
				t.Fatalf("the message was sent %d times in one attempt, in %d connections", sent, len(conns)-tried)
			}
			for _, o := range outcomes {
				switch {
				case o.Result != message.Delivered && o.Result != message.Deferred && o.Result != message.Failed:
					t.Fatalf("not decided: %+v", o)
				case (o.Result == message.Delivered || o.Unknown) && sent == 0:
					t.Fatalf("%s, but nothing was sent", brief(o))
				case o.Result == message.Delivered && o.Reply.Code/100 != 2, o.Result == message.Failed && o.Reply.Code/100 != 5:
					t.Fatalf("%s for %s", o.Result, o.Reply.Error())
				case len(o.Reply.Text) > 0 && strings.ContainsAny(o.Reply.Error(), "\r\n\x00\x1b"):
					t.Fatalf("control characters in %q", o.Reply.Error())
				}
			}
		}
		s.Close()
	})
}
