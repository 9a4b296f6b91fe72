package server

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/hooks"
)

func counted(c *observe.Counters) string {
	var parts []string
	for i, name := range c.Names() {
		if n := c.Get(i); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

// TestTally: what clients do and how sessions end is counted with their listener.
func TestTally(t *testing.T) {
	r := newRig(t, byName()...)
	r.limits = Limits{SessionsPerIP: 2, Junk: 2}
	at := r.listen(t)
	first := inContent(t, at)
	second := greeted(t, at)
	third := dial(t, at)
	third.want("421 4.7.0")
	if n := r.srv.Board.Listeners()[0].Open.Load(); n != 2 {
		t.Errorf("%d sessions are open", n)
	}
	second.send("HACK\r\nNOPE\r\n")
	second.want("500 ")
	second.want("421 4.7.0")
	first.send("Subject: x\r\n\r\nhello\r\n.\r\n")
	first.want("250 ")
	first.send("QUIT\r\n")
	first.want("221 ")
	r.settle(t)
	tally := r.srv.Board.Listeners()[0]
	for what, got := range map[string][2]string{
		"sessions": {fmt.Sprint(tally.Sessions.Load(), " ", tally.Open.Load()), "2 0"},
		"refused":  {counted(tally.Refused), "1 per_ip"},
		"cut":      {counted(tally.Cut), "1 errors"},
		"commands": {counted(tally.Commands), "1 RCPT, 1 MAIL, 1 DATA, 2 EHLO, 1 QUIT, 2 unknown"},
		"answered": {fmt.Sprint(r.srv.Board.Answered.Show().Count), "1"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", what, got[0], got[1])
		}
	}
	if n := tally.Bytes.Load(); n < 100 || n > 300 {
		t.Errorf("%d bytes", n)
	}
}

// TestTalliesOfListeners: the counts go on when a listener moves, and those of one that is gone go with its last session.
func TestTalliesOfListeners(t *testing.T) {
	r := newRig(t, hook(hooks.Connect, func(*hooks.Call) *hooks.Verdict { return &hooks.Verdict{Kind: hooks.Defer} }))
	serve := func(l Listener) (address string, stop func()) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- r.srv.Serve(ctx, ln, &l) }()
		return ln.Addr().String(), func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	visit := func(at string) {
		c := dial(t, at)
		c.want("421 ")
		c.conn.Close()
		r.settle(t)
	}
	tallies := func() (all string) {
		for _, l := range r.srv.Board.Listeners() {
			all += fmt.Sprintf("%s: %d, refused %s; ", l.Name, l.Sessions.Load(), counted(l.Refused))
		}
		return all
	}
	wait := func(want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); tallies() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s, want %s", tallies(), want)
			}
		}
	}
	at, stop := serve(mx)
	visit(at)
	at2, stop2 := serve(mx) // at another address, before the old one goes
	stop()
	visit(at2)
	wait("mx: 2, refused 2 plugin; ")
	stop2()
	_, stop3 := serve(Listener{Name: "other", Role: mx.Role})
	defer stop3()
	wait("other: 0, refused ; ")
}
