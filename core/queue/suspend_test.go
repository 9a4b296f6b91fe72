package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// suspend suspends something, for a time that may be 0.
func (b *bench) suspend(kind, name string, last time.Duration) {
	b.t.Helper()
	s := Suspension{Kind: kind, Name: name, Reason: "a look", Since: time.Now()}
	if last > 0 {
		s.Until = s.Since.Add(last)
	}
	if err := s.Check(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.q.Suspend(context.Background(), s); err != nil {
		b.t.Fatal(err)
	}
}

// TestSuspend suspends what of two recipients concerns one, over a restart: the other is delivered, the one waits, and goes when it is
// resumed or when the time is over.
func TestSuspend(t *testing.T) {
	for _, tt := range []struct {
		kind, name string
		last       time.Duration
		where      string // the recipient waits
		whole      bool   // the other one, too
	}{
		{SuspendDomain, "Slow.example", 0, "suspended:domain:slow.example", false},
		{SuspendDomain, "s*.example", 3 * time.Hour, "suspended:domain:s*.example", false},
		{SuspendNextHop, "mx:slow.example", 0, "mx:slow.example", false},
		{SuspendNextHop, "*slow*", 3 * time.Hour, "mx:slow.example", false},
		{SuspendTenant, "acme", 0, "suspended:tenant:acme", true},
		{SuspendSender, "<*@A.example>", 3 * time.Hour, "suspended:sender:*@a.example", true},
	} {
		for _, when := range []string{"before it comes", "while it waits for its next try", "while it waits for its turn"} {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.set.Concurrency = 1
				b.remote.answer["slow.example"] = []message.Outcome{later, yes}
				start := time.Now()
				b.start()
				door, other, whole := make(chan struct{}), 1, tt.whole
				switch when {
				case "before it comes":
					b.suspend(tt.kind, tt.name, tt.last)
					b.remote.answer["slow.example"] = nil
				case "while it waits for its turn":
					b.remote.answer["slow.example"] = nil
					b.remote.blocked(door)
					b.send(func(e *message.Envelope) { e.Sender = smtp.Address{} }, "first@slow.example")
					b.send(func(e *message.Envelope) { e.Sender = smtp.Address{} }, "first@good.example")
					synctest.Wait()
					other = 3
				}
				id := b.send(func(e *message.Envelope) { e.Tenant = "Acme" }, "u@slow.example", "v@good.example")
				synctest.Wait()
				switch when {
				case "while it waits for its next try":
					whole, other = false, 2 // both were tried
					b.suspend(tt.kind, tt.name, tt.last)
				case "while it waits for its turn":
					b.suspend(tt.kind, tt.name, tt.last)
					close(door)
					b.remote.blocked(nil)
				}
				time.Sleep(time.Hour)
				if whole {
					other--
				}
				if n := len(b.remote.got()); n != other {
					t.Errorf("%s %s %s: %d were sent while it was suspended, want %d: %q", tt.kind, tt.name, when, n, other, b.remote.got())
				}
				_, state, err := b.store.Load(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if r := state.Rcpts[0]; r.Lane != tt.where || r.Result != message.Deferred {
					t.Errorf("%s %s %s: it is %s in %q", tt.kind, tt.name, when, r.Result, r.Lane)
				}
				b.sound()
				b.stop()
				b.start()
				if got := b.q.Suspensions(); len(got) != 1 || got[0].Kind != tt.kind || got[0].Reason != "a look" {
					t.Errorf("after a restart %+v is suspended", got)
				}
				time.Sleep(time.Hour)
				if n := len(b.remote.got()); n != other {
					t.Errorf("%s %s %s: %d were sent after a restart, want %d", tt.kind, tt.name, when, n, other)
				}
				if tt.last == 0 {
					if err := b.q.Resume(t.Context(), tt.kind, b.q.Suspensions()[0].Name); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				} else {
					time.Sleep(time.Until(start.Add(tt.last + time.Second)))
				}
				expect(t, fmt.Sprint("store, ", tt.kind, " ", tt.name, " ", when), b.states())
				if got := b.q.Suspensions(); len(got) != 0 {
					t.Errorf("%+v is still suspended", got)
				}
				for n, err := range b.store.Notes(t.Context(), "") {
					t.Errorf("the note %s is left, %v", n.Name, err)
				}
				b.sound()
				b.stop()
			})
		}
	}
}

// TestSuspendedExpires: what is suspended is given up at its time, without an attempt.
func TestSuspendedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Expire = time.Hour
		b.start()
		b.suspend(SuspendDomain, "slow.example", 0)
		b.send(nil, "u@slow.example")
		b.send(nil, "u@good.example")
		time.Sleep(2 * time.Hour)
		expect(t, "sent", b.remote.got(), "0s mx:good.example <u@good.example>")
		expect(t, "store", b.states(), "u@slow.example failed owed")
		b.sound()
		b.stop()
	})
}

// TestSuspendMany lays more aside than the window takes; all of it goes when it is resumed.
func TestSuspendMany(t *testing.T) {
	if testing.Short() {
		t.Skip("too many goroutines for the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.suspend(SuspendSender, "a@*", 0)
		const many = window + 100
		for i := range many {
			b.send(nil, fmt.Sprintf("u@d%d.example", i%7))
		}
		time.Sleep(time.Hour)
		if n, load := len(b.remote.got()), b.q.Load(); n != 0 || load.Flights != 0 || load.Waiting != 0 {
			t.Errorf("%d were sent, and there are %+v in memory", n, load)
		}
		if err := b.q.Resume(t.Context(), SuspendSender, "a@*"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := len(b.remote.got()); n != many {
			t.Errorf("%d were sent, want %d", n, many)
		}
		b.sound()
		b.stop()
	})
}

func TestSuspensions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.suspend(SuspendDomain, "a.example", 0)
		time.Sleep(time.Second)
		b.suspend(SuspendTenant, "acme", time.Hour)
		b.suspend(SuspendDomain, "a.example", 2*time.Hour) // in place of the first
		if got := fmt.Sprint(len(b.q.Suspensions()), b.q.Suspensions()[0].Name, time.Until(b.q.Suspensions()[1].Until)); got != "2acme2h0m0s" {
			t.Errorf("suspended are %s", got)
		}
		if err := b.q.Resume(t.Context(), SuspendDomain, "b.example"); !errors.Is(err, ErrNotSuspended) {
			t.Error(err)
		}
		env := &message.Envelope{Tenant: "acme", Rcpts: []*message.Rcpt{{Address: parse(t, "u@c.example")}}}
		if s := b.q.Suspended(env, 0, "mx:c.example"); s == nil || s.String() != "tenant acme" {
			t.Errorf("suspended by %v", s)
		}
		env.Sender = parse(t, "a@a.example")
		out := b.q.Relay(t.Context(), b.q.Current.Acquire(), env, memoryContent("x"), &message.Plan{MX: "c.example"}, &recorded{})
		if len(out) != 1 || out[0].Reply.Error() != "451 4.3.2 delivery there is suspended" {
			t.Errorf("relayed: %+v", out)
		}
		for i := range maxSuspensions - 2 {
			b.suspend(SuspendDomain, fmt.Sprintf("d%d.example", i), 0)
		}
		if err := b.q.Suspend(t.Context(), Suspension{Kind: SuspendDomain, Name: "more.example"}); err == nil {
			t.Error("one too many was taken")
		}
		b.stop()
		if err := b.store.PutNote(t.Context(), suspensionNote+"domain:x", []byte("{")); err != nil {
			t.Fatal(err)
		}
		b.start() // what cannot be read stands in nobody's way
		b.stop()
	})
	for _, tt := range []struct{ kind, name, want string }{
		{"host", "x", "cannot be suspended"}, {SuspendDomain, "", "empty"}, {SuspendSender, "example.org", "*@example.org"}, {SuspendTenant, strings.Repeat("x", maxSuspended+1), "at most"}, {SuspendTenant, "a\x00", "no NUL"},
	} {
		if err := (&Suspension{Kind: tt.kind, Name: tt.name}).Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %.20s: %v, want %q", tt.kind, tt.name, err, tt.want)
		}
	}
}

func TestSiteOf(t *testing.T) {
	b := newBench(t)
	b.start()
	defer b.stop()
	for lane, want := range map[string]string{"": "", "suspended:domain:x": "", "smtp:host.example:25": "host.example:25", "mx:example.org source=pool site=bulk": "bulk"} {
		if got := b.q.SiteOf(t.Context(), lane); got != want {
			t.Errorf("%q leads to %q, want %q", lane, got, want)
		}
	}
}
