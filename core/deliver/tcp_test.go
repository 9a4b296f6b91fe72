package deliver

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stagepost/stagepost/core/deliver/remotetest"
	"github.com/stagepost/stagepost/core/message"
)

// TestReset of connections: what a pipe in memory cannot do.
func TestTCPReset(t *testing.T) {
	large := memory(plain + strings.Repeat("0123456789abcd\r\n", 1<<18))
	for _, c := range []struct {
		stage, action string
		content       message.Content
		want          string
		second        bool
	}{
		{"banner", "reset", memory(plain), "delivered", true},
		{"EHLO", "reset", memory(plain), "delivered", true},
		{"MAIL", "reset", memory(plain), "delivered", true},
		{"RCPT", "reset", memory(plain), "delivered", true},
		{"DATA", "reset", memory(plain), "delivered", true},
		{"content 1000", "reset", large, "delivered", true},
		{"dot", "reset", memory(plain), "deferred 451 4.4.2 unknown", false},
		{"dot", "reset", large, "deferred 451 4.4.2 unknown", false},
		{"dot", "250 2.0.0 taken | reset", memory(plain), "delivered", false},
		{"QUIT", "reset", memory(plain), "delivered", false},
	} {
		first, second := remotetest.New(t, remotetest.Script{c.stage: c.action, "EHLO": "250-x\n250 PIPELINING"}), remotetest.New(t, remotetest.Script{"EHLO": "250 x"})
		if c.stage == "EHLO" {
			first = remotetest.New(t, remotetest.Script{c.stage: c.action})
		}
		s := newSender(t, nil, Options{Dial: new(net.Dialer).DialContext})
		job := newJob(t, c.content, "u@y.test")
		job.Plan = &message.Plan{Private: granted, Hosts: []string{first.Listen(), second.Listen()}}
		got := s.Send(t.Context(), job)
		if briefs(got) != c.want || len(second.Conns()) > 0 != c.second {
			t.Errorf("%s %s: %s (%s), second host: %v", c.stage, c.action, briefs(got), got[0].Reply.Error(), len(second.Conns()) > 0)
		}
	}
}

// A server that says no in the middle of the content and hangs up is understood.
func TestReplyWithinContent(t *testing.T) {
	content := onDisk{bytes.NewReader([]byte(plain + strings.Repeat("0123456789abcd\r\n", 1<<20))), int64(len(plain)) + 16<<20}
	for action, want := range map[string]string{
		"552 5.3.4 too big | close": "failed 552 5.3.4",
		"421 4.3.2 bye | close":     "deferred 421 4.3.2",
	} {
		first, second := remotetest.New(t, remotetest.Script{"EHLO": "250 x", "content 1000": action}), remotetest.New(t)
		s := newSender(t, nil, Options{Dial: new(net.Dialer).DialContext})
		job := newJob(t, content, "u@y.test")
		job.Plan = &message.Plan{Private: granted, Hosts: []string{first.Listen(), second.Listen()}}
		if got := briefs(s.Send(t.Context(), job)); got != want || len(second.Conns()) > 0 {
			t.Errorf("%s: %s, want %s; second host: %v", action, got, want, len(second.Conns()) > 0)
		}
	}
}

// Many at once share the pool without mixing anything up.
func TestParallel(t *testing.T) {
	remote := remotetest.New(t)
	s := newSender(t, nil, Options{Dial: new(net.Dialer).DialContext, MaxIdleSame: 4, MaxMessages: 7})
	hosts := []string{remote.Listen()}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				job := newJob(t, memory(plain), "u@y.test")
				job.Plan = &message.Plan{Private: granted, Hosts: hosts}
				if got := briefs(s.Send(t.Context(), job)); got != "delivered" {
					t.Error(got)
				}
			}
		})
	}
	wait.Wait()
	if n := len(remote.Messages()); n != 400 {
		t.Errorf("%d messages arrived, want 400", n)
	}
	for _, m := range remote.Messages() {
		if string(m.Content) != plain+".\r\n" {
			t.Fatalf("content %q", m.Content)
		}
	}
}

// sink is a server that costs little: it answers a group of commands with one write.
func sink(tb testing.TB, ehlo string) (addr string, conns *atomic.Int64) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	conns = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer c.Close()
				in, out := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
				io.WriteString(out, "220 sink\r\n")
				for content := false; ; {
					if in.Buffered() == 0 && out.Flush() != nil {
						return
					}
					line, err := in.ReadSlice('\n')
					switch {
					case err != nil:
						return
					case content && string(line) == ".\r\n":
						content = false
						io.WriteString(out, "250 2.0.0 taken\r\n")
					case content:
					case line[0] == 'E':
						io.WriteString(out, ehlo)
					case line[0] == 'D':
						content = true
						io.WriteString(out, "354 go\r\n")
					default:
						io.WriteString(out, "250 2.1.0 ok\r\n")
					}
				}
			}()
		}
	}()
	return l.Addr().String(), conns
}

// BenchmarkSend is one message of 4 KB at a time to a server in the same process, whose cost is part of the figures.
func BenchmarkSend(b *testing.B) {
	content := memory(plain + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50))
	for _, c := range []struct {
		name, ehlo string
		o          Options
	}{
		{"pipelined,reused", "250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n", Options{}},
		{"stepwise,reused", "250 sink\r\n", Options{}},
		{"pipelined,new", "250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n", Options{MaxIdle: -1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			addr, _ := sink(b, c.ehlo)
			s := New(c.o)
			defer s.Close()
			job := newJob(b, content, "u@y.test")
			job.Plan = &message.Plan{Private: granted, Hosts: []string{addr}}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if o := s.Send(ctx, job); o[0].Result != message.Delivered {
					b.Fatal(o[0].Reply.Error())
				}
			}
		})
	}
}
