package queue

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// TestReroute sends a recipient elsewhere: one that waits for its next try, one of a message that is held, one that waits for its turn, and one
// in an attempt, whose next try goes there. The plugin's sender stays, its next hop and its refusal do not; over a restart, until it
// is cleared.
func TestReroute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Concurrency = 1
		b.remote.answer["slow.example"] = []message.Outcome{later}
		refuse := false
		b.hooks = []*hooks.Hook{hook("route", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
			if refuse {
				return &hooks.Verdict{Kind: hooks.Reject, Code: 550, Text: "no"}, nil
			}
			a := parse(t, "bounces@a.example")
			return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{MX: "hub.example", Sender: &a}}, nil
		})}
		b.start()
		waits := b.send(nil, "u@slow.example", "v@slow.example")
		held := b.send(nil, "w@slow.example")
		time.Sleep(time.Minute)
		b.do("hold", held)
		door := make(chan struct{})
		b.remote.blocked(door)
		under := b.send(nil, "x@slow.example")
		synctest.Wait()
		turn := b.send(nil, "y@slow.example")
		synctest.Wait()
		sent := len(b.remote.got())
		to := Order{Verb: Reroute, Route: "smtp:10.0.0.1:2525"}
		for _, err := range []error{b.hand(to, waits, "u@*"), b.hand(to, held), b.hand(to, under), b.hand(to, turn)} {
			if err != nil {
				t.Error(err)
			}
		}
		if err := b.hand(to, waits, "u@*"); !errors.Is(err, Refused("goes there already")) {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		close(door)
		b.remote.blocked(nil)
		time.Sleep(2 * time.Second)
		expect(t, "sent", slices.Sorted(slices.Values(b.remote.got()[sent:])), "1m2s mx:hub.example <x@slow.example>", "1m2s smtp:10.0.0.1:2525 <u@slow.example>", "1m2s smtp:10.0.0.1:2525 <y@slow.example>")
		b.sound()
		b.stop()

		refuse = true
		b.start()
		b.do("release", held)
		sent = len(b.remote.got())
		time.Sleep(4 * time.Minute)
		expect(t, "sent after the release", b.remote.got()[sent:], "1m5s smtp:10.0.0.1:2525 <w@slow.example>")
		time.Sleep(6 * time.Minute)
		for _, s := range b.remote.got()[sent+1:] {
			if s[len(s)-len("<v@slow.example>"):] == "<v@slow.example>" {
				t.Errorf("the one that was not meant was sent: %s", s)
			}
		}
		expect(t, "store", b.states(), "u@slow.example deferred", "v@slow.example failed owed", "w@slow.example deferred", "x@slow.example deferred", "y@slow.example deferred")
		if err := b.hand(Order{Verb: Reroute}, held); err != nil {
			t.Error(err)
		}
		if err := b.hand(Order{Verb: Reroute}, held); !errors.Is(err, Refused("has no next hop that was chosen by hand")) {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		expect(t, "store", b.states(), "u@slow.example deferred", "v@slow.example failed owed", "w@slow.example failed owed", "x@slow.example deferred", "y@slow.example deferred")
		b.sound()
		b.stop()
	})
}

// TestRerouteKeepsTheSender: of what the plugins say at route, the sender stays.
func TestRerouteKeepsTheSender(t *testing.T) {
	a := smtp.Address{Text: "b@a.example"}
	hop, err := message.ParseHop("lmtp:box.example")
	if err != nil {
		t.Fatal(err)
	}
	got := byHand(hop, &message.Plan{MX: "x.example", Sender: &a, Helo: "h.example", Site: "bulk", Source: "pool"})
	if got.Sender != &a || got.Helo != "h.example" || got.Lane() != "lmtp:box.example:24 source=pool" || got.Private != 1 {
		t.Errorf("%+v", got)
	}
	if byHand(hop, nil) != hop {
		t.Error("without a plan of the plugins it is another")
	}
}
