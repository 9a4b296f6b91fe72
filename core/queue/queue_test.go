package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

func TestDeliveredAtOnceAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		id := b.send(nil, "u@one.example")
		time.Sleep(time.Second)
		expect(t, "sent", b.remote.got(), "0s mx:one.example <u@one.example>")
		expect(t, "store", b.states())
		if n := b.q.flights.count(); n != 0 {
			t.Errorf("%d flights are left", n)
		}
		if len(b.recs.of(id)) == 0 {
			t.Error("nothing is in the record")
		}
		b.stop()
	})
}

func TestRecipientsOfOneNextHopGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.send(nil, "u@one.example", "v@two.example", "w@one.example")
		time.Sleep(time.Second)
		got := b.remote.got()
		slices.Sort(got)
		expect(t, "sent", got, "0s mx:one.example <u@one.example>", "0s mx:one.example <w@one.example>", "0s mx:two.example <v@two.example>")
		expect(t, "store", b.states())
		b.stop()
	})
}

func TestRetryBySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later, later, later, later, yes}
		b.start()
		b.send(nil, "u@slow.example", "v@good.example")
		time.Sleep(time.Minute)
		got := b.states()
		slices.Sort(got)
		expect(t, "store after a minute", got, "u@slow.example deferred", "v@good.example delivered")
		time.Sleep(4 * time.Hour)
		var tries []string
		for _, s := range b.remote.got() {
			if strings.Contains(s, "slow") {
				tries = append(tries, strings.Fields(s)[0])
			}
		}
		expect(t, "tries", tries, "0s", "5m0s", "20m0s", "1h20m0s", "2h20m0s")
		expect(t, "store", b.states())
		b.stop()
	})
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later, yes}
		b.start()
		b.send(nil, "u@slow.example")
		time.Sleep(time.Minute)
		b.remote.blocked(make(chan struct{})) // and one that is in an attempt when the queue stops
		b.send(nil, "v@good.example")
		time.Sleep(time.Second)
		b.stop()
		expect(t, "store while stopped", b.states(), "u@slow.example deferred", "v@good.example fresh")
		b.remote.blocked(nil)
		b.start()
		time.Sleep(time.Second)
		expect(t, "sent at once", b.remote.got(), "0s mx:slow.example <u@slow.example>", "1m1s mx:good.example <v@good.example>")
		time.Sleep(10 * time.Minute)
		expect(t, "sent", b.remote.got()[2:], "5m0s mx:slow.example <u@slow.example>")
		expect(t, "store", b.states())
		b.stop()
	})
}

func TestFailureIsKeptUntilTheSenderIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["bad.example"] = []message.Outcome{never}
		b.start()
		b.send(nil, "u@bad.example", "v@good.example")
		b.send(func(e *message.Envelope) { e.Sender = smtp.Address{} }, "w@bad.example")
		time.Sleep(10 * time.Hour)
		got := b.states()
		slices.Sort(got)
		expect(t, "store", got, "u@bad.example failed owed", "v@good.example delivered")
		if n := len(b.remote.got()); n != 3 {
			t.Errorf("%d attempts, want 3: failures are not tried again", n)
		}
		b.stop()
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Expire = 90 * time.Minute
		b.remote.answer["slow.example"] = []message.Outcome{later}
		b.start()
		id := b.send(nil, "u@slow.example")
		time.Sleep(24 * time.Hour)
		var tries []string
		for _, s := range b.remote.got() {
			tries = append(tries, strings.Fields(s)[0])
		}
		expect(t, "tries", tries, "0s", "5m0s", "20m0s", "1h20m0s", "1h30m0s")
		expect(t, "store", b.states(), "u@slow.example failed owed")
		steps := b.recs.of(id)
		if d := steps[len(steps)-1].Detail; !strings.Contains(d, "given up") || !strings.Contains(d, "451 4.2.0 later") {
			t.Errorf("the record says %q", d)
		}
		b.stop()
	})
}

func TestNotBeforeAndHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.send(func(e *message.Envelope) { e.NotBefore = time.Now().Add(5 * time.Second) }, "soon@one.example")
		b.send(func(e *message.Envelope) { e.NotBefore = time.Now().Add(3 * time.Hour) }, "late@one.example")
		b.send(func(e *message.Envelope) { e.Hold = "looks odd" }, "held@one.example")
		time.Sleep(24 * time.Hour)
		expect(t, "sent", b.remote.got(), "5s mx:one.example <soon@one.example>", "3h0m0s mx:one.example <late@one.example>")
		expect(t, "store", b.states(), "held@one.example fresh")
		b.stop()
	})
}

func hook(plugin string, s hooks.Stage, f hooks.HandlerFunc) *hooks.Hook {
	return &hooks.Hook{Plugin: plugin, Stage: s, Handler: f, Order: hooks.DefaultOrder, OnError: hooks.Defer, Timeout: time.Second,
		Needs: &capability.Needs{Route: []string{"*", "mx"}, Read: capability.ReadBody}}
}

func TestStagesOfTheQueue(t *testing.T) {
	route := func(r *hooks.RcptView) *hooks.Verdict {
		switch r.Address.Local {
		case "host":
			return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Hosts: []string{"relay.example:2525"}}}
		case "mine":
			return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Via: "box"}}
		case "reject":
			return &hooks.Verdict{Kind: hooks.Reject, Text: "no"}
		case "defer":
			return &hooks.Verdict{Kind: hooks.Defer, After: time.Minute}
		case "discard":
			return &hooks.Verdict{Kind: hooks.Discard, Reason: "junk"}
		case "hold":
			return &hooks.Verdict{Kind: hooks.Hold, Reason: "look at it"}
		}
		return nil
	}
	for _, c := range []struct {
		rcpts  []string
		hooks  []*hooks.Hook
		answer map[string][]message.Outcome
		sent   []string
		store  []string
	}{
		{rcpts: []string{"host@one.example"}, sent: []string{"0s smtp:relay.example:2525 <host@one.example>"}},
		{rcpts: []string{"reject@one.example"}, store: []string{"reject@one.example failed owed"}},
		{rcpts: []string{"discard@one.example"}},
		{rcpts: []string{"hold@one.example", "x@one.example"}, sent: []string{"0s mx:one.example <x@one.example>"},
			store: []string{"hold@one.example held", "x@one.example delivered"}},
		{rcpts: []string{"defer@one.example"}, store: []string{"defer@one.example deferred"}},
		{rcpts: []string{"here@one.example!"}, store: []string{"here@one.example deferred"}},
		// A plugin's own deliver refuses one of three recipients, and says nothing of another.
		{rcpts: []string{"mine@one.example", "mine@three.example", "mine@two.example"}, hooks: []*hooks.Hook{hook("box", hooks.Deliver, func(c *hooks.Call) (*hooks.Verdict, error) {
			content, err := c.Delivery.Message.Body()
			if err != nil || content.Size() == 0 {
				return nil, errors.New("there is no content at deliver")
			}
			v := &hooks.Verdict{Kind: hooks.Each}
			for _, r := range c.Delivery.Rcpts {
				switch r.Address.Domain {
				case "one.example":
					v.Each = append(v.Each, &hooks.Verdict{Kind: hooks.Accept})
				case "two.example":
					v.Each = append(v.Each, &hooks.Verdict{Kind: hooks.Reject, Text: "full"})
				default:
					v.Each = append(v.Each, nil)
				}
			}
			return v, nil
		})}, store: []string{"mine@one.example delivered", "mine@three.example deferred", "mine@two.example failed owed"}},
		// The plan names a plugin that has no deliver.
		{rcpts: []string{"mine@one.example"}, store: []string{"mine@one.example deferred"}},
		// deferred ends it; bounced says that nobody is told.
		{rcpts: []string{"x@slow.example"}, answer: map[string][]message.Outcome{"slow.example": {later}},
			hooks: []*hooks.Hook{
				hook("a", hooks.Deferred, func(*hooks.Call) (*hooks.Verdict, error) {
					return &hooks.Verdict{Kind: hooks.Reject, Text: "enough"}, nil
				}),
				hook("b", hooks.Bounced, func(c *hooks.Call) (*hooks.Verdict, error) {
					if c.Rcpt.Last.Code != 550 || c.Rcpt.Attempts != 1 {
						return nil, fmt.Errorf("bounced sees %+v after %d attempts", c.Rcpt.Last, c.Rcpt.Attempts)
					}
					return &hooks.Verdict{Kind: hooks.Discard, Reason: "known"}, nil
				})},
			sent: []string{"0s mx:slow.example <x@slow.example>"}},
	} {
		t.Run(strings.Join(c.rcpts, ","), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				if c.answer != nil {
					b.remote.answer = c.answer
				}
				b.hooks = append(c.hooks, hook("box", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) { return route(c.Rcpt), nil }))
				b.start()
				b.send(nil, c.rcpts...)
				time.Sleep(10 * time.Second)
				expect(t, "sent", b.remote.got(), c.sent...)
				expect(t, "store", b.states(), c.store...)
				b.stop()
			})
		})
	}
}

func TestConcurrencyOfALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Concurrency = 3
		b.remote.block = make(chan struct{})
		b.start()
		for range 20 {
			b.send(nil, "u@one.example")
		}
		synctest.Wait()
		close(b.remote.block)
		time.Sleep(time.Second)
		if most := b.remote.peak(); most != 3 {
			t.Errorf("%d attempts at once, want 3", most)
		}
		if n := len(b.remote.got()); n != 20 {
			t.Errorf("%d delivered, want 20", n)
		}
		b.stop()
	})
}

func TestADeadNextHopDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.block = make(chan struct{})
		b.start()
		const dead = window / 3
		for range dead { // more than the lane takes: the rest waits on disk
			b.send(nil, "u@dead.example")
		}
		synctest.Wait()
		b.remote.blocked(nil) // those in attempts stay blocked, others pass
		b.send(nil, "v@good.example")
		time.Sleep(time.Second)
		expect(t, "sent while one is stuck", b.remote.got(), "0s mx:good.example <v@good.example>")
		if n := b.q.flights.count(); n > window/4 {
			t.Errorf("%d flights for one next hop", n)
		}
		b.stop()
		b.start() // all that was left is found
		time.Sleep(time.Hour)
		if n := len(b.remote.got()); n != dead+1 {
			t.Errorf("%d delivered, want %d", n, dead+1)
		}
		expect(t, "store", b.states())
		b.stop()
	})
}

// TestManyMessages sends through remotes that defer at random and checks that each recipient is delivered exactly once.
func TestManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for d := range 50 {
			list := []message.Outcome{}
			for k := range d % 4 {
				_ = k
				list = append(list, later)
			}
			b.remote.answer[fmt.Sprintf("d%d.example", d)] = append(list, yes)
		}
		b.start()
		const n = 2000
		for i := range n {
			b.send(nil, fmt.Sprintf("u%d@d%d.example", i, i%50), fmt.Sprintf("v%d@d%d.example", i, (i*7)%50))
		}
		time.Sleep(48 * time.Hour)
		expect(t, "store", b.states())
		if c := b.q.flights.count(); c != 0 {
			t.Errorf("%d flights are left", c)
		}
		b.stop()
	})
}

func TestRelayBeforeTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["bad.example"] = []message.Outcome{never}
		b.start()
		gen := b.q.Current.Acquire()
		defer gen.Release()
		w, err := b.q.Body(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "\r\nx\r\n")
		env := &message.Envelope{ID: w.ID(), Session: &message.Session{}, Rcpts: []*message.Rcpt{{Address: parse(t, "u@good.example")}, {Address: parse(t, "u@bad.example")}}}
		var rec recorded
		out := b.q.Relay(context.Background(), gen, env, w.Content(), &message.Plan{}, &rec)
		if out[0].Result != message.Delivered || out[1].Result != message.Failed {
			t.Errorf("outcomes %+v", out)
		}
		w.Abort()
		b.stop()
	})
}

// A lane of which more lies on disk is looked at again, also when the waker is late for its next look at the disk: that one
// would only find what comes due from then on.
func TestMoreOfALaneIsNotForgotten(t *testing.T) {
	late := func() *Queue {
		q := &Queue{stopping: t.Context(), clock: newClock(nil, "")}
		q.Settings = func() Settings { return Settings{Concurrency: 1} }
		q.flights.init()
		q.wake.init(q)
		q.lanes.init(q)
		q.wake.horizon = time.Now().Add(-time.Millisecond)
		return q
	}
	q := late()
	q.lanes.leave("mx:gone.example", time.Now())
	if _, ok := q.wake.first["mx:gone.example"]; !ok {
		t.Error("a lane that is not known any more is forgotten")
	}
	lead := func(q *Queue, name store.Lane) (*lane, *site) {
		la, set := q.lanes.shard(name).lane(name), q.Settings()
		q.lanes.lead(la, name, nil, time.Time{})
		la.site.refresh(&set)
		return la, la.site
	}
	q = late()
	lead(q, "mx:drained.example")
	q.lanes.leave("mx:drained.example", time.Now())
	if _, ok := q.wake.first["mx:drained.example"]; !ok {
		t.Error("a lane that drained while it was left is forgotten")
	}
	q = late()
	la, s := lead(q, "mx:full.example")
	s.jobs.push(&job{flight: &flight{msg: &msg{env: &message.Envelope{}}}})
	s.hunger(la)
	s.active = 1
	s.next(false)
	if _, ok := q.wake.first["mx:full.example"]; !ok {
		t.Error("a lane with more on disk is forgotten when its jobs are taken")
	}
}

// What a plugin says because the queue stops is no outcome, whatever its on_error.
func TestStoppingIsNoRefusal(t *testing.T) {
	for _, stage := range []hooks.Stage{hooks.Route, hooks.Deliver, hooks.Deferred} {
		t.Run(stage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.remote.answer["one.example"] = []message.Outcome{later}
				h := hook("slow", stage, func(c *hooks.Call) (*hooks.Verdict, error) {
					<-c.Context().Done()
					return nil, c.Context().Err()
				})
				h.OnError, h.Timeout = hooks.Reject, time.Minute
				b.hooks = []*hooks.Hook{h}
				if stage == hooks.Deliver {
					b.hooks = append(b.hooks, hook("slow", hooks.Route, func(*hooks.Call) (*hooks.Verdict, error) {
						return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Via: "slow"}}, nil
					}))
				}
				b.start()
				b.send(nil, "u@one.example")
				synctest.Wait()
				b.stop()
				want := "u@one.example fresh"
				if stage == hooks.Deferred { // the remote's answer is one
					want = "u@one.example deferred"
				}
				expect(t, "store", b.states(), want)
			})
		})
	}
}

// Routes that are right each may not go together: nothing is sent by a plan that nobody meant.
func TestRoutesThatDoNotGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		to := func(name string, p message.Plan) *hooks.Hook {
			return hook(name, hooks.Route, func(*hooks.Call) (*hooks.Verdict, error) { return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &p}, nil })
		}
		b.hooks = []*hooks.Hook{to("a", message.Plan{MX: "other.example"}), to("b", message.Plan{Via: message.ViaLMTP, Hosts: []string{"box.example:24"}})}
		b.start()
		id := b.send(nil, "u@one.example")
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, "sent", b.remote.got())
		expect(t, "store", b.states(), "u@one.example deferred")
		if steps := fmt.Sprint(b.recs.of(id)); !strings.Contains(steps, "do not go together") {
			t.Error(steps)
		}
		b.stop()
	})
}

// Before the reply as later: local mail has no MX, and a plugin gets all recipients at once.
func TestRelayPlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		calls := 0
		b.hooks = []*hooks.Hook{hook("box", hooks.Deliver, func(c *hooks.Call) (*hooks.Verdict, error) {
			calls++
			return &hooks.Verdict{Kind: hooks.Accept}, nil
		})}
		b.start()
		gen := b.q.Current.Acquire()
		defer gen.Release()
		w, err := b.q.Body(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		env := &message.Envelope{ID: w.ID(), Session: &message.Session{}, Rcpts: []*message.Rcpt{
			{Address: parse(t, "u@one.example"), Class: message.ClassRelay}, {Address: parse(t, "u@two.example"), Class: message.ClassLocal}}}
		var rec recorded
		out := b.q.Relay(context.Background(), gen, env, w.Content(), &message.Plan{Helo: "x.example"}, &rec)
		if out[0].Result != message.Delivered || out[1].Result != message.Deferred || out[1].Reply.Enhanced != "4.3.5" {
			t.Errorf("by MX: %+v", out)
		}
		out = b.q.Relay(context.Background(), gen, env, w.Content(), &message.Plan{Via: "box"}, &rec)
		if calls != 1 || out[0].Result != message.Delivered || out[1].Result != message.Delivered {
			t.Errorf("by a plugin: %d calls, %+v", calls, out)
		}
		w.Abort()
		b.stop()
	})
}

func TestAttemptsAreCountedToTheirEnd(t *testing.T) {
	st := &store.RcptState{Attempts: math.MaxUint16}
	(&Queue{}).settle(st, &later, &job{lane: "mx:one.example"}, time.Now(), &terms{env: &message.Envelope{}, expires: time.Now().Add(time.Hour), times: Times{Retry: []time.Duration{time.Second}}})
	if st.Attempts != math.MaxUint16 || st.Next.IsZero() {
		t.Errorf("%+v", st)
	}
}
