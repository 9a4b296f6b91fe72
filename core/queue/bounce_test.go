package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// TestBounceByHand gives recipients up: one that waits for its next try, one that waits for its turn behind an attempt, one of a message that is
// held, and all that are left of a message. The one in an attempt is left alone.
func TestBounceByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Concurrency = 1
		b.remote.answer["slow.example"] = []message.Outcome{later}
		b.start()
		waits := b.send(nil, "u@slow.example", "v@slow.example")
		held := b.send(nil, "u@slow.example", "w@slow.example")
		time.Sleep(time.Minute)
		b.do("hold", held)
		door := make(chan struct{})
		b.remote.blocked(door)
		under := b.send(nil, "u@good.example")
		synctest.Wait()
		turn := b.send(nil, "v@good.example")
		synctest.Wait()
		sent := len(b.remote.got())
		o := Order{Verb: Bounce}
		for _, tt := range []struct {
			id   [10]byte
			rcpt string
			want string
		}{
			{waits, "u@slow.example", ""}, {held, "w@slow.example", ""}, {under, "*", string(refusedFlying)}, {turn, "*", ""},
			{waits, "u@slow.example", "has no such recipient for whom something is to be done"},
		} {
			got := ""
			if err := b.hand(o, tt.id, tt.rcpt); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.rcpt, got, tt.want)
			}
		}
		close(door)
		b.remote.blocked(nil)
		time.Sleep(time.Second)
		expect(t, "store", b.states(), "u@slow.example failed owed", "v@slow.example deferred", "u@slow.example deferred", "w@slow.example failed owed", "v@good.example failed owed")
		expect(t, "sent", b.remote.got()[sent:], "1m0s mx:good.example <u@good.example>")
		b.sound()
		_, state, err := b.store.Load(t.Context(), waits)
		if err != nil {
			t.Fatal(err)
		}
		if got := LastReply(&state.Rcpts[0].Last); got != "550 5.7.0 returned by the postmaster" {
			t.Errorf("the last reply is %q", got)
		}
		b.stop()
	})
}

// TestBounceByHandIsHushed: a plugin may say at bounced that nobody is to be told, and the null sender never is.
func TestBounceByHandIsHushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later}
		var asked []string
		b.hooks = []*hooks.Hook{hook("hush", hooks.Bounced, func(c *hooks.Call) (*hooks.Verdict, error) {
			asked = append(asked, fmt.Sprint(c.Rcpt.Address.Text, " ", c.Rcpt.Last.Code, " ", c.Rcpt.Last.Text))
			if c.Rcpt.Address.Local == "hush" {
				return &hooks.Verdict{Kind: hooks.Discard, Reason: "quiet"}, nil
			}
			return nil, nil
		})}
		b.start()
		id := b.send(nil, "hush@slow.example", "tell@slow.example")
		null := b.send(func(e *message.Envelope) { e.Sender.Text, e.Sender.Local, e.Sender.Domain = "", "", "" }, "tell@slow.example")
		time.Sleep(time.Minute)
		var chosen []Choice
		for _, id := range [][10]byte{id, null} {
			c, err := b.choice(id)
			if err != nil {
				t.Fatal(err)
			}
			chosen = append(chosen, c)
		}
		reply, err := ParseReply("5.1.1 gone")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.q.Handle(t.Context(), Order{Verb: Bounce, Reply: reply}, chosen) {
			if d.Err != nil {
				t.Error(d.Err)
			}
		}
		expect(t, "store", b.states(), "hush@slow.example failed", "tell@slow.example failed owed")
		expect(t, "asked", asked, "hush@slow.example 550 gone", "tell@slow.example 550 gone", "tell@slow.example 550 gone")
		b.sound()
		b.stop()
	})
}
