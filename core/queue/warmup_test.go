package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// from is a plugin that names a source or a pool for all mail.
func from(name string) *hooks.Hook {
	return hook("from", hooks.Route, func(*hooks.Call) (*hooks.Verdict, error) {
		return &hooks.Verdict{Kind: hooks.RouteTo, Plan: &message.Plan{Source: name}}, nil
	})
}

// bySource counts what was attempted by source.
func (r *remote) bySource() map[string]int {
	n := map[string]int{}
	for _, s := range r.got() {
		_, lane, _ := strings.Cut(s, " ")
		_, source, _ := strings.Cut(lane, "source=")
		source, _, _ = strings.Cut(source, " ")
		n[source]++
	}
	return n
}

func TestPoolOrder(t *testing.T) {
	p := &Pool{Sources: []string{"a", "b", "c"}, Weights: []int{3, 1, 0}}
	n := map[string]int{}
	var id message.ID
	for i := range 10_000 {
		id[8], id[9] = byte(i>>8), byte(i)
		order := p.order(id, "x.example")
		if again := p.order(id, "x.example"); !slices.Equal(order, again) {
			t.Fatalf("%q and then %q", order, again)
		}
		if n[order[0]]++; len(order) != 3 || order[0] == "a" && order[1] != "b" || order[0] == "b" && order[1] != "c" {
			t.Fatalf("order %q", order)
		}
	}
	if n["a"] < 7300 || n["a"] > 7700 || n["c"] != 0 {
		t.Errorf("shares %v of weights 3, 1, 0", n)
	}
	equal := &Pool{Sources: []string{"a", "b"}}
	by := map[string]int{}
	for i := range 100 {
		by[equal.order(message.ID{}, fmt.Sprintf("d%d.example", i))[0]]++
	}
	if len(by) != 2 {
		t.Errorf("a message goes to a hundred domains by %v", by)
	}
}

// TestPoolIsKept: a message comes again by the source that it came by.
func TestPoolIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hooks = []*hooks.Hook{from("pool")}
		b.set.Shape = &Shape{Pools: map[string]*Pool{"pool": {Sources: []string{"a", "b"}}}}
		b.remote.answer["grey.example"] = []message.Outcome{later, later, later, later, yes}
		b.start()
		for range 2 {
			b.send(nil, "u@grey.example")
		}
		time.Sleep(3 * time.Hour)
		if n := b.remote.bySource(); n["a"]+n["b"] != 6 || n["a"]%3 != 0 || n[""] > 0 {
			t.Errorf("by %v", n)
		}
		if v, err := b.q.Explain(t.Context(), "grey.example"); err != nil || len(v) == 0 || !strings.Contains(v[0].Named[0], "source by from from pool pool") {
			t.Errorf("%+v, %v", v, err)
		}
		b.stop()
	})
}

// TestWarmup: a new source sends so much a day, in all and to a site, the rest goes by the next of the pool, also across a restart.
func TestWarmup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hooks = []*hooks.Hook{from("pool")}
		today := time.Unix(dayOf(time.Now())*86400, 0).UTC()
		b.set.Shape = &Shape{Pools: map[string]*Pool{"pool": {Sources: []string{"new", "old"}, Weights: []int{1, 0}}},
			Warmups: map[string]*Warmup{"new": {Start: today, Daily: []int{10, 20}, SiteDaily: []int{6, 6, 6}, By: "stagepost.toml:9"}}}
		b.start()
		burst := func() map[string]int {
			before := b.remote.bySource()
			for i := range 20 {
				b.send(nil, fmt.Sprintf("u%d@one.example", i))
			}
			for i := range 20 {
				b.send(nil, fmt.Sprintf("u%d@two.example", i))
			}
			time.Sleep(time.Minute)
			after := b.remote.bySource()
			return map[string]int{"new": after["new"] - before["new"], "old": after["old"] - before["old"]}
		}
		if n := burst(); n["new"] != 10 || n["old"] != 30 {
			t.Errorf("on the first day %v", n)
		}
		v, err := b.q.Explain(t.Context(), "one.example")
		if err != nil || len(v) != 2 || v[0].Source != "new" || !slices.ContainsFunc(v[0].Limits, func(l LimitView) bool {
			return l.Name == "warm-up" && strings.HasPrefix(l.Value, "day 1 of 3: 10 of 10 today, ") && strings.HasSuffix(l.Value, " of 6 today to this site") && l.By == "stagepost.toml:9"
		}) || v[0].Closed.IsZero() || !strings.Contains(v[0].Shut, "warmed up") {
			t.Errorf("%+v, %v", v, err)
		}
		if n := burst(); n["new"] != 0 || n["old"] != 40 {
			t.Errorf("later on the first day %v", n)
		}
		b.stop()
		b.start()
		if n := burst(); n["new"] != 0 || n["old"] != 40 {
			t.Errorf("on the first day, after a restart, %v", n)
		}
		time.Sleep(24 * time.Hour)
		if n := burst(); n["new"] != 12 || n["old"] != 28 { // 6 to each site
			t.Errorf("on the second day %v", n)
		}
		time.Sleep(24 * time.Hour)
		if n := burst(); n["new"] != 12 || n["old"] != 28 {
			t.Errorf("on the third day %v", n)
		}
		time.Sleep(24 * time.Hour)
		if n := burst(); n["new"] != 40 {
			t.Errorf("on the fourth day %v", n)
		}
		b.stop()
	})
}

// TestWarmupWaits: where there is no other source, mail waits on disk for the next day; what nobody answered for does not count.
func TestWarmupWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hooks = []*hooks.Hook{from("new")}
		tomorrow := time.Unix((dayOf(time.Now())+1)*86400, 0).UTC()
		b.set.Shape = &Shape{Warmups: map[string]*Warmup{"new": {Start: tomorrow, Daily: []int{3, 5}}}}
		b.remote.answer["one.example"] = []message.Outcome{nobody, yes}
		b.start()
		for i := range 20 {
			b.send(nil, fmt.Sprintf("u%d@one.example", i))
		}
		time.Sleep(time.Until(tomorrow) - time.Minute)
		if n := b.remote.bySource(); len(n) != 0 || b.q.flights.count() != 0 {
			t.Errorf("before the start %v, %d in memory", n, b.q.flights.count())
		}
		time.Sleep(23 * time.Hour)
		if left := len(b.items()); left != 17 {
			t.Errorf("on the first day %v, %d are left", b.remote.bySource(), left)
		}
		time.Sleep(24 * time.Hour)
		if left := len(b.items()); left != 12 {
			t.Errorf("on the second day %v, %d are left", b.remote.bySource(), left)
		}
		time.Sleep(24 * time.Hour)
		if left := len(b.items()); left != 0 {
			t.Errorf("on the third day %v, %d are left", b.remote.bySource(), left)
		}
		b.stop()
	})
}

// TestWarmupSurvivesACrash: a ramp is never exceeded, whatever was noted.
func TestWarmupSurvivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		w := &Warmup{Start: time.Now(), Daily: []int{200}}
		for range 57 {
			if !b.q.ramps.take(w, "new", "one.example") {
				t.Fatal("it is full")
			}
		}
		crashed := &Queue{Options: b.q.Options, clock: b.q.clock, stopping: b.q.stopping}
		if err := crashed.loadRamps(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := 57
		for n < 300 && crashed.ramps.take(w, "new", "one.example") {
			n++
		}
		if n > 200 || n < 190 {
			t.Errorf("%d were sent of 200", n)
		}
		b.stop()
	})
}

// TestWarmupCountsAttempts: what is given up before it is attempted does not count.
func TestWarmupCountsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hooks = []*hooks.Hook{from("new")}
		today := time.Unix(dayOf(time.Now())*86400, 0).UTC()
		b.set.Concurrency = 1
		b.set.Shape = &Shape{Warmups: map[string]*Warmup{"new": {Start: today, Daily: []int{100}}}}
		b.start()
		b.send(nil, "first@one.example") // the site is known to be well
		time.Sleep(time.Second)
		block := make(chan struct{})
		b.remote.blocked(block)
		b.send(nil, "slow@one.example")
		time.Sleep(time.Second)
		b.send(func(env *message.Envelope) { env.Expires = time.Now().Add(time.Minute) }, "late@one.example")
		time.Sleep(5 * time.Minute)
		b.remote.blocked(nil)
		close(block)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, used := len(b.remote.got()), b.q.ramps.all[keyOf("new", "")].used; got != 2 || used != 2 {
			t.Errorf("%d were sent, %d counted: %q", got, used, b.remote.got())
		}
		b.stop()
	})
}
