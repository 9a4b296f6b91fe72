package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// A site that nobody answers at is tried by one attempt now and then, whatever mail it has; nothing of it stays in memory and
// nothing is written. When it answers, all goes.
func TestDeadSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		w.set("dead.example", answer{wait: 30 * time.Second, Outcome: nobody})
		b.start()
		const n = 3000
		for i := range n {
			b.send(nil, fmt.Sprintf("u%d@d%d.dead.example", i, i%3)) // three lanes, each a site of its own
		}
		time.Sleep(time.Minute)
		b.calm()
		first := w.attempts()
		if first > 3*20 {
			t.Errorf("%d attempts at first", first)
		}
		v, err := b.q.Explain(t.Context(), "d1.dead.example")
		if err != nil || len(v) != 1 || v[0].Asleep.IsZero() || v[0].Failures == 0 || !strings.Contains(v[0].Why, "connection refused") || v[0].Lanes[0] != "mx:d1.dead.example" {
			t.Errorf("%+v, %v", v, err)
		}
		if l := b.q.Load(); l.Asleep != 3 || l.Waiting != 0 || l.Running != 0 {
			t.Errorf("%+v", l)
		}
		said := 0
		for _, it := range b.items() { // those that there was no room for say nothing, those that were tried do
			if st := it.State.Rcpts[0]; st.Last.Code == 451 && strings.Contains(st.Last.Text, "connection refused") {
				said++
			}
		}
		if said < first {
			t.Errorf("%d messages say why they wait", said)
		}
		revs := b.revs()
		time.Sleep(12 * time.Hour)
		more := w.attempts() - first
		if more < 3*10 || more > 3*60 {
			t.Errorf("%d attempts in 12 hours", more)
		}
		if changed := b.revs() - revs; changed > more {
			t.Errorf("%d changes of messages for %d attempts", changed, more)
		}
		w.set("dead.example", answer{Outcome: yes})
		time.Sleep(mostSleep + time.Minute)
		if got := w.delivered(); got != n-b.stillWaiting() || b.stillWaiting() > first+more {
			t.Errorf("%d of %d delivered, %d wait", got, n, b.stillWaiting())
		}
		time.Sleep(5 * time.Hour) // those that were tried wait by their own schedule
		expect(t, "store", b.states())
		b.stop()
	})
}

// One attempt at a time probes, and a probe that succeeds brings all lanes back.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		zone := map[string][]string{}
		for i := range 40 {
			zone[fmt.Sprintf("d%d.big.example", i)] = []string{"MX 10 mx.big.test"}
		}
		b.resolver = resolvetest.New(t, zone)
		w.set("big.example", answer{Outcome: nobody})
		b.start()
		for i := range 400 {
			b.send(nil, fmt.Sprintf("u%d@d%d.big.example", i, i%40))
		}
		time.Sleep(30 * time.Second)
		before := w.attempts()
		w.forget()
		w.set("big.example", answer{wait: 10 * time.Second, Outcome: nobody})
		time.Sleep(9 * time.Minute)
		if n := w.attempts() - before; n < 2 || n > 5 || w.peak("") != 1 {
			t.Errorf("%d probes, %d at once", n, w.peak(""))
		}
		w.set("big.example", answer{Outcome: later}) // an answer is an answer
		time.Sleep(8 * time.Minute)
		if n := w.attempts() - before; n < 380 {
			t.Errorf("%d attempts when it was awake", n)
		}
		w.set("big.example", answer{Outcome: yes})
		time.Sleep(5 * time.Hour)
		expect(t, "store", b.states())
		b.stop()
	})
}

// A single message at a dead site is tried when its own schedule says.
func TestOneMessageAtADeadSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		w.set("dead.example", answer{Outcome: nobody})
		b.start()
		b.send(nil, "u@dead.example")
		time.Sleep(3 * time.Hour)
		var got []string
		for _, at := range w.times("dead.example") {
			got = append(got, at.String())
		}
		expect(t, "tries", got, "0s", "5m0s", "20m0s", "1h20m0s", "2h20m0s")
		b.stop()
	})
}

// What is to be tried now by hand is tried, though its site sleeps.
func TestRetryRouses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		w.set("dead.example", answer{Outcome: nobody})
		b.start()
		for i := range 30 {
			b.send(nil, fmt.Sprintf("u%d@dead.example", i))
		}
		time.Sleep(4 * time.Hour)
		before := w.attempts()
		w.set("dead.example", answer{Outcome: yes})
		v, err := b.q.Explain(t.Context(), "dead.example")
		if err != nil || v[0].Asleep.Before(time.Now().Add(10*time.Second)) {
			t.Fatalf("%+v, %v", v, err)
		}
		b.q.Handle(t.Context(), Order{Verb: Retry}, []Choice{{Item: b.items()[0], Rcpts: []int{0}}})
		time.Sleep(3 * time.Second)
		if n := w.attempts() - before; n == 0 {
			t.Error("nothing was tried")
		}
		b.stop()
	})
}

// 421 is an answer: there is somebody, who has enough. So it gets half as many, and at last is left in peace.
func TestEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.Concurrency = 16
		w.set("busy.example", answer{wait: time.Second, Outcome: enough})
		b.start()
		for i := range 500 {
			b.send(nil, fmt.Sprintf("u%d@busy.example", i))
		}
		time.Sleep(30 * time.Second)
		if n := w.attempts(); n != 16 {
			t.Errorf("%d attempts, all at once", n)
		}
		w.set("busy.example", answer{wait: time.Second, Outcome: yes})
		time.Sleep(2 * time.Minute)
		if n := w.delivered(); n != 500-16 {
			t.Errorf("%d delivered", n)
		}
		b.stop()
	})
}
