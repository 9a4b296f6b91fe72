package deliver

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

const chunking = "250-remote.test\n250-PIPELINING\n250 CHUNKING"

// verbsOf gives the commands of a connection, after the greeting.
func verbsOf(c *remotetest.Conn) string {
	var all []string
	for _, line := range c.Commands()[1:] {
		if verb, _, _ := strings.Cut(line, " "); verb != "QUIT" {
			all = append(all, verb)
		}
	}
	return strings.Join(all, " ")
}

// TestChunks: what is text goes by BDAT where that is offered, as it is but for strays.
func TestChunks(t *testing.T) {
	long := "Subject: x\r\n\r\n" + strings.Repeat(".0123456789\r\n", 20_000)
	for _, c := range []struct{ name, content, want string }{
		{"plain", plain, plain},
		{"dots", "a: b\r\n\r\n.\r\n..\r\n.x\r\n", "a: b\r\n\r\n.\r\n..\r\n.x\r\n"},
		{"empty", "", ""},
		{"no end of line", "a: b\r\n\r\nx", "a: b\r\n\r\nx"},
		{"strays", "a\rb\nc\x00d\r\r\n\ne\r", "a b c d \r\n e "},
		{"long", long, long},
	} {
		for _, from := range []message.Content{memory(c.content), onDisk{bytes.NewReader([]byte(c.content)), int64(len(c.content))}} {
			server := remotetest.New(t, remotetest.Script{"EHLO": chunking})
			s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": server}}, Options{})
			got := briefs(s.Send(t.Context(), newJob(t, from, "u@y.test")))
			if m := server.Messages(); got != "delivered" || len(m) != 1 || string(m[0].Content) != c.want || strings.Contains(m[0].Mail, "BODY=BINARYMIME") {
				t.Errorf("%s: %s, %.200q", c.name, got, m)
			}
			if v := verbsOf(server.Conns()[0]); v != "MAIL RCPT BDAT" {
				t.Errorf("%s: %s", c.name, v)
			}
		}
	}
}

// TestChunkText: wherever a content is cut, the same comes out, and as much as went in.
func TestChunkText(t *testing.T) {
	const content, want = "a\r\nb\rc\nd\x00\r\r\n\n\r\n.\r", "a\r\nb c d  \r\n \r\n. "
	for i := range len(content) + 1 {
		for j := i; j <= len(content); j++ {
			var b bytes.Buffer
			text := &chunkText{w: &b}
			for _, piece := range []string{content[:i], content[i:j], content[j:]} {
				if n, err := text.Write([]byte(piece)); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			if err := text.Close(); err != nil || b.String() != want || text.strays != 6 {
				t.Errorf("cut at %d and %d: %q, %d strays, %v", i, j, b.String(), text.strays, err)
			}
		}
	}
}

// TestNoChunks: where BDAT is offered and not known the message goes by DATA over another connection, and so does the next without a try.
func TestNoChunks(t *testing.T) {
	for _, c := range []struct {
		reply, want, first string
		conns              int
	}{
		{"502 5.5.1 not implemented", "delivered", "MAIL RCPT BDAT", 2},
		{"500 what", "delivered", "MAIL RCPT BDAT", 2},
		{"503 5.5.1 out of order", "delivered", "MAIL RCPT BDAT", 2},
		{"502 5.7.0 not you", "failed 502 5.7.0", "MAIL RCPT BDAT", 1},
		{"554 5.6.0 no", "failed 554 5.6.0", "MAIL RCPT BDAT", 1},
		{"451 4.3.0 later", "deferred 451 4.3.0", "MAIL RCPT BDAT", 1},
	} {
		server := remotetest.New(t, remotetest.Script{"EHLO": chunking, "BDAT": c.reply + " | close"})
		s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": server}}, Options{})
		job := newJob(t, memory("Subject: x\r\n\r\n"+"x\r\n"), "u@y.test", "v@y.test")
		if got := briefs(s.Send(t.Context(), job)); got != c.want+", "+c.want {
			t.Errorf("%s: %s", c.reply, got)
		}
		conns := server.Conns()
		if len(conns) != c.conns || !strings.HasPrefix(verbsOf(conns[0]), "MAIL RCPT RCPT BDAT") {
			t.Fatalf("%s: %d connections, the first with %s", c.reply, len(conns), verbsOf(conns[0]))
		}
		if c.conns == 1 {
			continue
		}
		if got := briefs(s.Send(t.Context(), job)); got != "delivered, delivered" {
			t.Errorf("the next message: %s", got)
		}
		if v := verbsOf(conns[1]); !strings.HasPrefix(v, "MAIL RCPT RCPT DATA . MAIL RCPT RCPT DATA .") || len(server.Conns()) != 2 {
			t.Errorf("%s: the second connection had %s, there were %d", c.reply, v, len(server.Conns()))
		}
	}
}

// cutting ends a context when so many octets went through it.
type cutting struct {
	net.Conn
	left   int
	cancel func()
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.left -= n; c.left <= 0 {
		c.cancel()
	}
	return n, err
}

// TestInterruptedChunk: where an attempt is broken off while the last of a chunk goes, the server either has not all of it, or is waited for.
func TestInterruptedChunk(t *testing.T) {
	large := strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 6_000)
	for _, content := range []string{"a: b\r\n\r\n" + large, "a: b\r\n\r\n" + large + "\r"} {
		for _, from := range []message.Content{memory(content), onDisk{strings.NewReader(content), int64(len(content))}} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				server := remotetest.New(t, remotetest.Script{"EHLO": chunking})
				network := &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": server}}
				s := newSender(t, network, Options{Dial: func(ctx context.Context, n, addr string) (net.Conn, error) {
					c, err := network.Dial(ctx, n, addr)
					return &cutting{c, len(content), cancel}, err
				}})
				got := briefs(s.Send(ctx, newJob(t, from, "u@y.test")))
				synctest.Wait()
				if taken := len(server.Messages()); taken == 1 != (got == "delivered") {
					t.Errorf("%d octets: %s, and the server took %d", len(content), got, taken)
				}
				cancel()
			})
		}
	}
}

// TestBinaryNeedsChunks: what only BDAT can carry is not sent by DATA.
func TestBinaryNeedsChunks(t *testing.T) {
	server := remotetest.New(t, remotetest.Script{"EHLO": "250-remote.test\n250-CHUNKING\n250 BINARYMIME", "BDAT": "502 5.5.1 not implemented | close"})
	s := newSender(t, &remotetest.Net{Remotes: map[string]*remotetest.Remote{"192.0.2.1:25": server}}, Options{})
	job := newJob(t, memory("a: b\r\n\r\n\x00"), "u@y.test")
	job.Env.Params = smtp.Params{{Key: "BODY", Value: "BINARYMIME"}}
	if got := briefs(s.Send(t.Context(), job)); got != "failed 502 5.5.1" || len(server.Conns()) != 1 {
		t.Errorf("%s over %d connections", got, len(server.Conns()))
	}
}

func TestChunklessIsBounded(t *testing.T) {
	var s chunkless
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 25)
	}
	for i := range 3 * maxChunkless {
		s.add(at(i))
		if len(s.until) > maxChunkless || !s.has(at(i)) {
			t.Fatalf("%d are remembered after %d", len(s.until), i)
		}
	}
	if s.has(at(1 << 15)) {
		t.Error("nobody said so of it")
	}
}
