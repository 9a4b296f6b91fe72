package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
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

// TestClasses: why mail was not taken is told to the stages of outcomes and at the next route, and is in the record and the counts;
// the operator's own rules count first, and another table at once.
func TestClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		full := message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(452, "4.2.2", "over quota"), Host: "mx"}
		gone := message.Outcome{Result: message.Failed, Reply: smtp.NewReply(550, "5.1.1", "user unknown"), Host: "mx"}
		b.remote.answer["a.example"] = []message.Outcome{full, gone}
		var asked []string
		told := func(c *hooks.Call) (*hooks.Verdict, error) {
			asked = append(asked, c.Stage.String()+" "+c.Rcpt.Last.Class)
			return nil, nil
		}
		for _, s := range []hooks.Stage{hooks.Route, hooks.Deferred, hooks.Bounced, hooks.Delivered} {
			b.hooks = append(b.hooks, hook("told", s, told))
		}
		b.start()
		id := b.send(nil, "u@a.example")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		expect(t, "asked", asked, "route ", "deferred full", "route full", "bounced bad-mailbox")
		var classes []string
		for _, s := range b.recs.of(id) {
			if i := strings.LastIndex(s.Detail, " ("); s.Stage == "outcome" && i > 0 {
				classes = append(classes, s.Verdict+s.Detail[i:])
			}
		}
		expect(t, "record", classes, "deferred (full)", "failed (bad-mailbox)")

		r, err := bounce.ParseRule("policy 5.1.1 user")
		if err != nil {
			t.Fatal(err)
		}
		b.change(func(s *Settings) { s.Classes = bounce.New([]bounce.Rule{r}) })
		asked = nil
		b.remote.answer["a.example"] = []message.Outcome{gone, {Result: message.Delivered}}
		b.send(nil, "u@a.example")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		b.send(nil, "u@a.example")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		expect(t, "asked", asked, "route ", "bounced policy", "route ", "delivered ")
		c := b.q.Counts()
		for i, class := range c.Failed.Names() {
			want := map[string]string{"full": "1 0", "bad-mailbox": "0 1", "policy": "0 1"}[class]
			if got := fmt.Sprint(c.Deferred.Get(i), " ", c.Failed.Get(i)); got != want && (want != "" || got != "0 0") {
				t.Errorf("%s was counted %s times", class, got)
			}
		}
		b.sound()
		b.stop()
	})
}
