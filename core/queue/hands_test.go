package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// choice is a message as it is in the store, with those of its recipients that are chosen: all without names.
func (b *bench) choice(id store.ID, rcpts ...string) (Choice, error) {
	b.t.Helper()
	env, state, err := b.store.Load(context.Background(), id)
	if err != nil {
		return Choice{}, err
	}
	c, _ := (&Selector{Recipients: rcpts}).Choose(store.Item{Envelope: env, State: state}, false, time.Now())
	return c, nil
}

// hand carries out an order for one message, or for some of its recipients.
func (b *bench) hand(o Order, id store.ID, rcpts ...string) error {
	b.t.Helper()
	c, err := b.choice(id, rcpts...)
	if err != nil {
		return err
	}
	return b.q.Handle(context.Background(), o, []Choice{c})[0].Err
}

// do runs a command; the error, if any, must be Refused with these words.
func (b *bench) do(command string, id store.ID, refused ...string) {
	b.t.Helper()
	err := b.hand(Order{Verb: Verb(command), Reason: "a look"}, id)
	got := ""
	if no := Refused(""); errors.As(err, &no) {
		got = string(no)
	} else if err != nil {
		got = "error: " + err.Error()
	}
	if want := strings.Join(refused, ""); got != want {
		b.t.Errorf("%s: %q, want %q", command, got, want)
	}
}

// sound checks that what lies on disk as due is what the states say. Nothing may be in the air.
func (b *bench) sound() {
	b.t.Helper()
	ctx, far := context.Background(), time.Now().Add(1000*time.Hour)
	var want, got []string
	items, _, err := b.store.Scan(ctx, nil, 100_000)
	if err != nil {
		b.t.Fatal(err)
	}
	show := func(id store.ID, lane store.Lane, at time.Time, rcpts []uint16) string {
		return fmt.Sprintf("%s %q %d %v", id, lane, at.Unix(), rcpts)
	}
	for _, it := range items {
		if it.State.Held != "" {
			continue
		}
		for _, e := range entriesOf(it.Envelope, it.State) {
			want = append(want, show(it.Envelope.ID, e.Lane, e.At, e.Rcpts))
		}
	}
	for lane, err := range b.store.Wake(ctx, b.q.own, time.Time{}, far) {
		if err != nil {
			b.t.Fatal(err)
		}
		entries, _, err := b.store.Due(ctx, b.q.own, lane, nil, far, 100_000)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, e := range entries {
			if len(e.Rcpts) == 0 {
				env, _, err := b.store.Load(ctx, e.ID)
				if err != nil {
					b.t.Fatalf("an entry without its message: %+v, %v", e, err)
				}
				for i := range env.Rcpts {
					e.Rcpts = append(e.Rcpts, uint16(i))
				}
			}
			got = append(got, show(e.ID, e.Lane, e.At, e.Rcpts))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	expect(b.t, "entries on disk", got, want...)
	if n := b.q.flights.count(); n != 0 {
		b.t.Errorf("%d flights are left", n)
	}
}

func TestHoldWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later, yes}
		b.start()
		id := b.send(nil, "u@slow.example", "v@good.example")
		time.Sleep(time.Minute)
		b.do("hold", id)
		b.do("hold", id, "is held already: a look")
		b.do("retry", id, "is held; release it first")
		b.sound()
		time.Sleep(10 * time.Hour)
		b.stop()
		b.start() // it stays held over a restart
		time.Sleep(10 * time.Hour)
		if n := len(b.remote.got()); n != 2 {
			t.Errorf("%d attempts, want 2: one was made while the message was held", n)
		}
		b.do("release", id)
		b.do("release", id, "is not held")
		b.sound()
		time.Sleep(2 * time.Second)
		expect(t, "sent", b.remote.got()[2:], "20h1m1s mx:slow.example <u@slow.example>")
		expect(t, "store", b.states())
		b.sound()
		var steps []string
		for _, s := range b.recs.of(id) {
			if s.Stage == "control" {
				steps = append(steps, s.Verdict+" "+s.Detail)
			}
		}
		expect(t, "record", steps, "held by hand: a look", "released by hand")
		b.stop()
	})
}

// A message is held while it waits for its turn in a lane, and while it is in an attempt.
func TestHoldInTheAir(t *testing.T) {
	for _, c := range []struct {
		name    string
		answer  message.Outcome
		release bool // before the attempt ends
		sent    []string
	}{
		{"delivered", yes, false, []string{"1m0s first", "1h0m1s second"}},
		{"deferred", later, false, []string{"1m0s first", "1h0m1s first", "1h0m1s second"}},
		{"delivered after the release", yes, true, []string{"1m0s first", "1m1s second"}},
		{"deferred after the release", later, true, []string{"1m0s first", "6m0s first", "1m1s second"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.set.Concurrency = 1
				b.hooks = append(b.hooks, hook("apart", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
					return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Hosts: []string{c.Rcpt.Address.Local + ".example:25"}}}, nil
				}))
				b.remote.answer["first.example"] = []message.Outcome{c.answer, yes}
				block := make(chan struct{})
				b.remote.blocked(block)
				b.start()
				b.send(nil, "second@other.example") // takes the lane of the second recipient
				synctest.Wait()
				id := b.send(nil, "first@first.example", "second@second.example")
				synctest.Wait()
				b.do("hold", id)
				if c.release {
					b.do("release", id)
					b.do("retry", id, "is being tried right now")
				}
				time.Sleep(time.Minute)
				close(block)
				b.remote.blocked(nil)
				synctest.Wait()
				if !c.release {
					want := []string{"first@first.example delivered", "second@second.example fresh"}
					if c.answer.Result == message.Deferred {
						want[0] = "first@first.example deferred"
					}
					time.Sleep(time.Second)
					expect(t, "store while held", b.states(), want...)
					b.sound()
					time.Sleep(time.Hour - time.Minute - time.Second)
					b.do("release", id)
				}
				time.Sleep(10 * time.Minute)
				var sent []string
				for _, s := range b.remote.got() {
					at, _, _ := strings.Cut(s, " ")
					_, who, _ := strings.Cut(s, "<")
					if who, host, _ := strings.Cut(who, "@"); host != "other.example>" {
						sent = append(sent, at+" "+who)
					}
				}
				slices.SortStableFunc(sent, func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) })
				want := slices.Clone(c.sent)
				if c.release { // the job that waits in the lane was released before its turn came
					want[len(want)-1] = "1m0s second"
				}
				expect(t, "sent", sent, want...)
				expect(t, "store", b.states())
				b.sound()
				b.stop()
			})
		})
	}
}

// A job is given up for the hold, and its message is released while another job of the same flight is still under way.
func TestReleaseWhileHalfAFlightWasGivenUp(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.set.Concurrency = 1
				first, second := make(chan struct{}), make(chan struct{})
				b.remote.blocked(first)
				b.start()
				b.send(nil, "x@two.example") // takes the lane
				synctest.Wait()
				b.remote.blocked(second)
				id := b.send(nil, "u@one.example", "v@two.example")
				synctest.Wait()
				b.do("hold", id)
				close(first) // the turn of v comes, while it is held
				synctest.Wait()
				b.do("release", id)
				time.Sleep(time.Minute)
				if crash { // u is broken off and found again
					b.stop()
					b.remote.blocked(nil)
					b.start()
				} else {
					close(second)
				}
				time.Sleep(time.Minute)
				var sent []string
				for _, s := range b.remote.got() {
					sent = append(sent, strings.Fields(s)[2])
				}
				slices.Sort(sent)
				expect(t, "sent", sent, "<u@one.example>", "<v@two.example>", "<x@two.example>")
				expect(t, "store", b.states())
				b.sound()
				b.stop()
			})
		})
	}
}

func TestReleaseFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		odd := b.send(func(e *message.Envelope) { e.Hold = "looks odd" }, "odd@one.example")
		late := b.send(func(e *message.Envelope) { e.NotBefore = time.Now().Add(3 * time.Hour) }, "late@one.example")
		early := b.send(func(e *message.Envelope) { e.NotBefore = time.Now().Add(3 * time.Hour) }, "early@one.example")
		time.Sleep(time.Hour)
		b.do("hold", odd, "is held already: looks odd")
		b.do("retry", late, "has no recipient that waits to be tried again")
		b.do("hold", late)
		b.do("hold", early)
		b.do("release", odd)
		b.do("release", early)
		b.sound()
		time.Sleep(4 * time.Hour)
		b.do("release", late)
		time.Sleep(10 * time.Second)
		expect(t, "sent", b.remote.got(), "1h0m1s mx:one.example <odd@one.example>", "3h0m0s mx:one.example <early@one.example>", "5h0m1s mx:one.example <late@one.example>")
		expect(t, "store", b.states())
		b.sound()
		b.stop()
	})
}

// A plugin held one of three recipients.
func TestReleaseOfARecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later, yes}
		b.remote.answer["bad.example"] = []message.Outcome{never}
		b.hooks = append(b.hooks, hook("once", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
			if c.Rcpt.Address.Domain == "odd.example" && c.Rcpt.Attempts == 0 {
				return &hooks.Verdict{Kind: hooks.Hold, Reason: "looks odd"}, nil
			}
			return nil, nil
		}))
		b.start()
		id := b.send(nil, "u@slow.example", "v@odd.example", "w@bad.example")
		time.Sleep(time.Minute)
		expect(t, "store", b.states(), "u@slow.example deferred", "v@odd.example held", "w@bad.example failed owed")
		b.sound()
		b.do("release", id)
		time.Sleep(time.Minute)
		expect(t, "store", b.states(), "u@slow.example deferred", "v@odd.example delivered", "w@bad.example failed owed")
		b.do("release", id, "is not held")
		time.Sleep(time.Hour)
		got := b.remote.got()
		slices.Sort(got)
		expect(t, "sent", got, "0s mx:bad.example <w@bad.example>", "0s mx:slow.example <u@slow.example>", "1m1s mx:odd.example <v@odd.example>",
			"5m0s mx:slow.example <u@slow.example>")
		b.sound()
		b.stop()
	})
}

// Plugins held two of three recipients before the message was queued: they wait, are seen, and outlive a restart.
func TestRecipientsHeldFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		id := b.send(func(e *message.Envelope) {
			e.Rcpts[1].Hold, e.Rcpts[2].Hold = "refused by p: 550 5.7.1 no", "looks odd"
		}, "u@one.example", "v@two.example", "w@two.example")
		all := b.send(func(e *message.Envelope) { e.Rcpts[0].Hold = "looks odd" }, "x@two.example")
		time.Sleep(time.Minute)
		want := []string{"u@one.example delivered", "v@two.example held", "w@two.example held", "x@two.example held"}
		expect(t, "store", b.states(), want...)
		_, state, err := b.store.Load(t.Context(), id)
		if err != nil || state.Rcpts[1].Last.Text != "refused by p: 550 5.7.1 no" || state.Rcpts[2].Last.Text != "looks odd" {
			t.Errorf("%v: %+v", err, state)
		}
		b.sound()
		b.stop()
		b.start()
		time.Sleep(time.Hour)
		expect(t, "after a restart", b.states(), want...)
		b.do("retry", all, "is held; release it first")
		b.do("release", id)
		b.do("delete", all)
		time.Sleep(time.Minute)
		got := b.remote.got()
		slices.Sort(got)
		expect(t, "sent", got, "0s mx:one.example <u@one.example>", "1h1m1s mx:two.example <v@two.example>", "1h1m1s mx:two.example <w@two.example>")
		expect(t, "store", b.states())
		b.sound()
		b.stop()
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = []message.Outcome{later, later, yes}
		b.remote.answer["bad.example"] = []message.Outcome{never}
		b.start()
		id := b.send(nil, "u@slow.example", "w@bad.example", "v@good.example")
		time.Sleep(time.Minute)
		block := make(chan struct{})
		b.remote.blocked(block)
		b.do("retry", id)
		b.sound()
		time.Sleep(2 * time.Second)
		b.do("retry", id, "is being tried right now") // a second entry would be a second delivery
		close(block)
		b.remote.blocked(nil)
		time.Sleep(time.Second)
		b.sound()
		b.do("retry", id)
		b.do("retry", id) // before it came about
		b.sound()
		time.Sleep(10 * time.Second)
		expect(t, "sent", b.remote.got()[3:], "1m2s mx:slow.example <u@slow.example>", "1m4s mx:slow.example <u@slow.example>")
		expect(t, "store", b.states(), "u@slow.example delivered", "w@bad.example failed owed", "v@good.example delivered")
		b.do("retry", id, "has no recipient that waits to be tried again")
		b.sound()
		b.stop()
	})
}

func TestDelete(t *testing.T) {
	for _, answer := range []message.Outcome{yes, later, never} {
		t.Run(answer.Result.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.set.Concurrency = 1
				b.remote.answer["slow.example"] = []message.Outcome{later}
				b.remote.answer["one.example"] = []message.Outcome{answer}
				b.start()
				waits := b.send(nil, "u@slow.example")
				held := b.send(func(e *message.Envelope) { e.Hold = "looks odd" }, "u@one.example")
				time.Sleep(time.Minute)
				b.do("delete", waits)
				b.do("delete", held)
				b.sound()
				block := make(chan struct{})
				b.remote.blocked(block)
				under := b.send(nil, "u@one.example") // in an attempt
				synctest.Wait()
				turn := b.send(nil, "v@one.example") // waits for its turn
				synctest.Wait()
				b.do("delete", under)
				b.do("delete", turn)
				for _, id := range []store.ID{waits, held, under, turn} {
					b.do("delete", id, "error: "+store.ErrNotFound.Error())
					b.do("release", id, "error: "+store.ErrNotFound.Error())
				}
				expect(t, "store", b.states())
				close(block)
				time.Sleep(10 * time.Hour)
				expect(t, "sent", b.remote.got(), "0s mx:slow.example <u@slow.example>", "1m0s mx:one.example <u@one.example>")
				expect(t, "store", b.states())
				b.sound()
				steps := b.recs.of(turn)
				if !slices.ContainsFunc(steps, func(s observe.Step) bool { return s.Verdict == "deleted" && s.Detail == "by hand" }) {
					t.Errorf("the record of what was deleted: %+v", steps)
				}
				b.stop()
			})
		})
	}
}

// The waker may have an entry in its hands that a command takes from the disk. Its flight asks no plugin.
func TestHandsBeforeTheRoute(t *testing.T) {
	for _, command := range []string{"hold", "delete"} {
		t.Run(command, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.hooks = append(b.hooks, hook("asked", hooks.Route, func(*hooks.Call) (*hooks.Verdict, error) {
					t.Error("the stage route was asked")
					return nil, nil
				}))
				b.start()
				var entry store.Entry
				id := b.send(func(e *message.Envelope) {
					e.NotBefore = time.Now().Add(100 * time.Hour)
					entry = store.FirstEntry(e)
				}, "u@one.example")
				f := b.q.flights.take(entry)
				b.do(command, id)
				if again := b.q.flights.take(entry); again != nil {
					t.Fatal("a second flight")
				}
				b.q.routeFlight(f)
				time.Sleep(time.Minute)
				b.sound()
				b.stop()
			})
		})
	}
}

func TestSoonest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(s int) store.Entry {
			return store.Entry{At: time.Now().Truncate(time.Second).Add(time.Duration(s) * time.Second)}
		}
		for _, wait := range []time.Duration{0, 300 * time.Millisecond} {
			time.Sleep(wait)
			for _, c := range []struct {
				air  []store.Entry
				want int
			}{{nil, 1}, {[]store.Entry{at(0), at(3)}, 1}, {[]store.Entry{at(2), at(1)}, 3}} {
				if got := soonest(time.Now(), c.air); !got.Equal(at(c.want).At) {
					t.Errorf("%v after %v: %v, want %v", c.air, wait, got, at(c.want).At)
				}
			}
		}
	})
}

// A message is known in memory before it is committed; until then there is nothing to be done with it.
func TestHandsBeforeTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		w, err := b.q.Body(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		env := &message.Envelope{ID: w.ID(), Session: &message.Session{}, Arrived: time.Now(), Rcpts: []*message.Rcpt{{Address: parse(t, "u@one.example")}}}
		f := b.q.flights.fresh(env)
		for _, command := range []string{"hold", "release", "retry", "delete"} {
			b.do(command, env.ID, "error: "+store.ErrNotFound.Error())
		}
		if f.msg.settled || f.msg.state.Held != "" || f.msg.state.Rev != 0 {
			t.Errorf("the state in memory was changed: %+v, settled %v", f.msg.state, f.msg.settled)
		}
		b.q.flights.end(f)
		w.Abort()
		b.stop()
	})
}
