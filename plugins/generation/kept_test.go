package generation

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// TestKeptConnectionsEndWithTheirGeneration: what a plugin kept for a session ends when nobody works with that version any more, and not
// before; the new version has connections of its own.
func TestKeptConnectionsEndWithTheirGeneration(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan int, 10)
	go func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewScanner(conn); in.Scan(); {
					fmt.Fprintf(conn, "%s %d\n", in.Text(), n)
				}
				ended <- n
			}()
		}
	}()
	version := func(word string) string {
		return fmt.Sprintf(`plugin { id = "vip", version = "1.0.0", api = 0, needs = { net = { %q } } }
function on.rcpt(r)
  local c = net.open(%q, { keep = "session" })
  c:send("%s\n")
  return reject(c:line())
end
`, l.Addr(), l.Addr(), word)
	}
	s := newSite(t)
	s.write("plugins/vip.lua", version("old"))
	s.mustOpen()
	defer s.m.Close()
	sess := &message.Session{Role: message.RoleMX, Life: &message.Life{}}
	defer sess.Life.End()
	says := func(gen *hooks.Generation, want string) {
		t.Helper()
		a, err := smtp.ParseAddress("u@example.org")
		if err != nil {
			t.Fatal(err)
		}
		view := &hooks.MessageView{Envelope: &message.Envelope{Session: sess, Rcpts: []*message.Rcpt{{Address: a, Original: a}}}}
		res := gen.Run(&hooks.Call{Stage: hooks.Rcpt, Session: sess, Message: view, Rcpt: &hooks.RcptView{Rcpt: view.Rcpts[0], Message: view}})
		if res.End == nil || res.End.Text != want {
			t.Errorf("the answer is %+v, not %q", res.End, want)
		}
	}
	old := s.m.Current().Acquire()
	says(old, "old 1")
	s.write("plugins/vip.lua", version("new"))
	if c := s.m.Reload(t.Context()); c.Err != nil || !c.Changed {
		t.Fatalf("reload: %+v", c)
	}
	next := s.m.Current().Acquire()
	defer next.Release()
	says(next, "new 2")
	says(old, "old 1") // it is in use, and so is its connection
	select {
	case n := <-ended:
		t.Errorf("connection %d ended while it had a user", n)
	default:
	}
	old.Release()
	select {
	case n := <-ended:
		if n != 1 {
			t.Errorf("connection %d ended", n)
		}
	case <-time.After(30 * time.Second): // less than a minute, after which it ends by itself
		t.Error("the connection of the old version is still there")
	}
	says(next, "new 2")
}
