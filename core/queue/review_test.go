package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
	"github.com/stagepost/stagepost/hooks"
)

// told are the notices with their times: "failed 5.4.7 at 1h0m0s".
func (n *bureau) told(start time.Time) (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, text := range n.texts {
		field := func(name string) string {
			_, rest, _ := strings.Cut(text, "\r\n"+name+": ")
			value, _, _ := strings.Cut(rest, "\r\n")
			return value
		}
		out = append(out, fmt.Sprintf("%s %s at %v", field("Action"), field("Status"), n.times[i].Sub(start).Round(time.Second)))
	}
	return out
}

// TestTermsInEveryState: what was agreed on with a sender counts wherever a message is, also where nothing is tried.
func TestTermsInEveryState(t *testing.T) {
	const ends = 4 * time.Hour
	terms := []struct {
		name       string
		mail, rcpt string
		set        func(*Settings)
		env        func(*message.Envelope)
	}{
		{name: "expire", set: func(s *Settings) { s.Expire = 2 * time.Hour }},
		{name: "by R", mail: " BY=3600;R"},
		{name: "by N", mail: " BY=600;N"},
		{name: "expires", env: func(e *message.Envelope) { e.Expires = e.Arrived.Add(30 * time.Minute) }},
		{name: "warn", set: func(s *Settings) { s.Warn = 20 * time.Minute }},
		{name: "silent", mail: " BY=3600;R", rcpt: " NOTIFY=NEVER"},
	}
	held := func(b *bench, _ *bureau, id store.ID) {
		if err := b.hand(Order{Verb: Hold, Reason: "a look first"}, id); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, state := range []struct {
		name string
		env  func(*message.Envelope)
		set  func(*Settings)
		act  func(*bench, *bureau, store.ID) // once the message is there
		want [6]string                       // what the sender is told, and what is left
	}{
		{name: "waits in a lane",
			want: [6]string{"failed 5.4.7 at 2h1m0s", "failed 5.4.7 at 1h0m0s", "delayed 4.0.0 at 10m30s; fresh", "failed 5.4.7 at 30m0s", "delayed 4.0.0 at 21m0s; fresh", ""}},
		{name: "in a lane that is suspended",
			want: [6]string{"failed 5.4.7 at 2h1m0s", "failed 5.4.7 at 1h0m0s", "delayed 4.0.0 at 10m30s; deferred", "failed 5.4.7 at 30m0s", "delayed 4.0.0 at 21m0s; deferred", ""}},
		{name: "held by hand", act: held,
			want: [6]string{"; deferred", "failed 5.4.7 at 1h0m0s", "delayed 4.2.0 at 10m30s; deferred", "failed 5.4.7 at 30m0s", "; deferred", ""}},
		{name: "held from the start", env: func(e *message.Envelope) { e.Hold = "looks odd" },
			want: [6]string{"; fresh", "failed 5.4.7 at 1h0m0s", "delayed 4.0.0 at 10m30s; fresh", "failed 5.4.7 at 30m0s", "; fresh", ""}},
		{name: "a recipient held from the start", env: func(e *message.Envelope) { e.Rcpts[0].Hold = "looks odd" },
			want: [6]string{"; held", "failed 5.4.7 at 1h0m0s", "delayed 4.0.0 at 10m30s; held", "failed 5.4.7 at 30m0s", "; held", ""}},
		{name: "a recipient held by a plugin", env: func(e *message.Envelope) { e.Tenant = "hold" },
			want: [6]string{"; held", "failed 5.4.7 at 1h0m0s", "delayed 4.0.0 at 10m30s; held", "failed 5.4.7 at 30m0s", "; held", ""}},
		{name: "deferred for long", set: func(s *Settings) { s.Retry = []time.Duration{24 * time.Hour} },
			want: [6]string{"failed 4.4.7 at 2h0m0s", "failed 5.4.7 at 1h0m0s", "delayed 4.2.0 at 10m0s; deferred", "failed 5.4.7 at 30m0s", "delayed 4.2.0 at 21m0s; deferred", ""}},
		{name: "in an attempt", act: func(b *bench, _ *bureau, _ store.ID) {
			time.AfterFunc(3*time.Hour-500*time.Millisecond, func() { close(b.remote.block) })
		},
			want: [6]string{"failed 4.4.7 at 3h0m0s", "failed 4.4.7 at 3h0m0s", "delayed 4.2.0 at 3h0m0s; deferred", "failed 4.4.7 at 3h0m0s", "delayed 4.2.0 at 3h0m0s; deferred", ""}},
		{name: "not due yet", env: func(e *message.Envelope) { e.NotBefore = e.Arrived.Add(150 * time.Minute) },
			want: [6]string{"; deferred", "failed 5.4.7 at 1h0m0s", "delayed 4.0.0 at 10m30s; deferred", "failed 5.4.7 at 30m0s", "delayed 4.2.0 at 2h50m30s; deferred", ""}},
		{name: "nobody is there", act: func(b *bench, desk *bureau, _ store.ID) {
			b.stop()
			time.Sleep(3*time.Hour - 500*time.Millisecond)
			b.start()
			b.q.Notify(desk.submit)
		},
			want: [6]string{"failed 4.4.7 at 3h0m0s", "failed 5.4.7 at 3h0m0s", "delayed 4.2.0 at 3h0m0s; deferred", "failed 5.4.7 at 3h0m0s", "delayed 4.2.0 at 3h0m0s; deferred", ""}},
	} {
		for k, term := range terms {
			t.Run(state.name+"/"+term.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					b.set.Hostname, b.set.Concurrency = "mx.example", 1
					b.set.Retry = []time.Duration{time.Second, 2 * time.Hour}
					b.remote.answer["slow.example"] = []message.Outcome{later}
					b.hooks = []*hooks.Hook{hook("p", hooks.Route, func(c *hooks.Call) (*hooks.Verdict, error) {
						if c.Message.Tenant == "hold" {
							return &hooks.Verdict{Kind: hooks.Hold, Reason: "looks odd"}, nil
						}
						return nil, nil
					})}
					for _, set := range []func(*Settings){term.set, state.set} {
						if set != nil {
							set(&b.set)
						}
					}
					start := time.Now()
					door := make(chan struct{})
					b.start()
					switch state.name {
					case "waits in a lane":
						b.remote.blocked(door)
						b.send(func(e *message.Envelope) { e.Sender = parse(t, "first@a.example") }, "first@slow.example")
						synctest.Wait()
					case "in a lane that is suspended":
						b.suspend(SuspendNextHop, "mx:slow.example", 0)
					case "in an attempt":
						b.remote.blocked(door)
					}
					desk := &bureau{b: b}
					b.q.Notify(desk.submit)
					id := b.send(func(e *message.Envelope) {
						asking(t, term.mail, term.rcpt)(e)
						for _, env := range []func(*message.Envelope){term.env, state.env} {
							if env != nil {
								env(e)
							}
						}
					}, "u@slow.example")
					if time.Sleep(500 * time.Millisecond); state.act != nil {
						state.act(b, desk, id)
					}
					time.Sleep(ends - time.Since(start))
					got := strings.Join(desk.told(start), ", ")
					for _, s := range b.states() {
						if rest, ours := strings.CutPrefix(s, "u@slow.example "); ours {
							got += "; " + rest
						}
					}
					if got != state.want[k] {
						t.Errorf("%q\nwant %q", got, state.want[k])
					}
					b.remote.blocked(nil)
					select {
					case <-door:
					default:
						close(door)
					}
					if time.Sleep(time.Second); state.name == "waits in a lane" && (strings.HasPrefix(got, "failed") || got == "") {
						for _, s := range b.remote.got() {
							if strings.Contains(s, "<u@") {
								t.Error("given up, and tried afterwards: " + s)
							}
						}
					}
					b.stop()
					if lanes := slices.Collect(maps.Keys(b.lanes())); len(b.states()) == 0 && len(lanes) > 0 {
						t.Errorf("entries are left of a message that is gone, in %q", lanes)
					}
				})
			})
		}
	}
}

// lanes are those in which anything lies on disk.
func (b *bench) lanes() map[store.Lane]bool {
	b.t.Helper()
	found := map[store.Lane]bool{}
	for lane, err := range b.store.Wake(context.Background(), b.q.own, time.Time{}, time.Now().Add(1000*time.Hour)) {
		if err != nil {
			b.t.Fatal(err)
		}
		found[lane] = true
	}
	return found
}

// TestTakenTooLate: an attempt that began in time may end when that is over. If it delivers, nobody is told otherwise, and the other
// recipients' entry stays until then.
func TestTakenTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Hostname = "mx.example"
		b.remote.answer["slow.example"] = []message.Outcome{later}
		b.start()
		desk := &bureau{b: b}
		b.q.Notify(desk.submit)
		door := make(chan struct{})
		b.remote.blocked(door)
		id := b.send(asking(t, " BY=3600;R", ""), "u@good.example", "v@slow.example", "w@good.example")
		time.Sleep(2 * time.Hour)
		expect(t, "store while the attempts run", b.states(), "u@good.example fresh", "v@slow.example fresh", "w@good.example fresh")
		close(door)
		time.Sleep(time.Second)
		expect(t, "told", desk.told(id.Time()), "failed 4.4.7 at 2h0m0s")
		expect(t, "store", b.states())
		if lanes := b.lanes(); len(lanes) > 0 {
			t.Errorf("entries are left: %v", lanes)
		}
		b.stop()
	})
}

// TestReviewLeavesOthersEntries: a recipient that is given up takes no entry along by which another is due.
func TestReviewLeavesOthersEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Hostname, b.set.Expire = "mx.example", time.Hour
		b.remote.answer["slow.example"] = []message.Outcome{later}
		b.start()
		b.q.Notify((&bureau{b: b}).submit)
		// Held from the start, one recipient waits for a person; the others are due at once.
		b.send(func(e *message.Envelope) { e.Rcpts[0].Hold = "looks odd" }, "u@slow.example", "v@slow.example")
		time.Sleep(2 * time.Hour)
		expect(t, "store", b.states(), "u@slow.example held", "v@slow.example failed")
		b.stop()
	})
}
