package server

import (
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/hooks"
)

// TestBackgroundEndsWithWhatItIsFor: a hook in the background that works when its message or its session is given up is broken
// off, and nothing of it is left.
func TestBackgroundEndsWithWhatItIsFor(t *testing.T) {
	var begun, ended atomic.Int64
	behind := func(name string, stage hooks.Stage) *hooks.Hook {
		h := hook(stage, nil)
		h.Plugin, h.Background, h.Sets, h.Timeout = name, true, []string{name + ".x"}, time.Hour
		h.Handler = hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
			begun.Add(1)
			defer ended.Add(1)
			<-c.Context().Done()
			if c.Message != nil && c.Message.Content != nil { // it is still there
				if _, err := io.ReadAll(io.NewSectionReader(c.Message.Content, 0, c.Message.Content.Size())); err != nil {
					t.Error(err)
				}
			}
			return nil, c.Context().Err()
		})
		return h
	}
	refuses := hook(hooks.Data, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Reject} })
	refuses.Order = hooks.DefaultOrder + 1
	r := newRig(t, append(byName()[2:3], refuses, behind("c", hooks.Connect), behind("h", hooks.Helo), behind("m", hooks.Mail), behind("r", hooks.Rcpt), behind("d", hooks.Data))...)
	addr := r.listen(t)
	before := runtime.NumGoroutine()
	const mail = "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.org>\r\n"
	for _, c := range []struct {
		say   string
		says  []string
		calls int64
	}{
		{"QUIT\r\n", []string{"221"}, 2},
		{mail + "RSET\r\nQUIT\r\n", []string{"250", "250", "250", "221"}, 4},
		{mail + "QUIT\r\n", []string{"250", "250", "221"}, 4},
		{mail + "DATA\r\n", []string{"250", "250", "354", "550", "closed"}, 5},
		{mail, []string{"250", "250"}, 4}, // and is gone
	} {
		begun.Store(0)
		ended.Store(0)
		cl := greeted(t, addr)
		cl.send(c.say)
		for _, want := range c.says {
			if want == "closed" {
				cl.send("QUIT\r\n")
				want = "221"
			}
			cl.want(want)
			if want == "354" {
				cl.send("Subject: x\r\n\r\ntext\r\n.\r\n")
			}
		}
		cl.conn.Close()
		r.settle(t)
		if begun.Load() != c.calls || ended.Load() != c.calls {
			t.Errorf("%q: %d calls began and %d ended, want %d", c.say, begun.Load(), ended.Load(), c.calls)
		}
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+r.srv.workers.Spares(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
