package queue

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// Thousands of dead sites, whose attempts hang, delay nobody.
func TestDeadSitesDelayNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("too many goroutines for the race detector")
	}
	for sites, most := range map[int]int32{1000: attempts, 300: 450} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			w := newWorld(b)
			w.set("dead.example", answer{wait: 10 * time.Minute, Outcome: nobody})
			w.set("live.example", answer{wait: 10 * time.Millisecond, Outcome: yes})
			b.start()
			b.q.slots.most = most
			for i := range 20 {
				for d := range sites {
					b.send(nil, fmt.Sprintf("u%d@d%d.dead.example", i, d))
				}
			}
			synctest.Wait()
			if n := b.q.flights.count(); n >= window-freshReserve {
				t.Errorf("%d flights for %d dead sites", n, sites)
			}
			for i := range 100 {
				b.send(nil, fmt.Sprintf("v%d@d%d.live.example", i, i%10))
			}
			time.Sleep(time.Second)
			if n := w.delivered(); n != 100 {
				t.Errorf("%d dead sites: %d of 100 delivered beside them within a second, %d attempts", sites, n, w.peak(""))
			}
			if w.peak("") > int(most) {
				t.Errorf("%d attempts at once", w.peak(""))
			}
			time.Sleep(12 * time.Minute) // all sleep now; what comes goes at once
			for i := range 100 {
				b.send(nil, fmt.Sprintf("w%d@d%d.live.example", i, i%10))
			}
			time.Sleep(time.Second)
			if n := w.delivered(); n != 200 {
				t.Errorf("%d of 200 delivered", n)
			}
			b.stop()
		})
	}
}

// Sites that wait for a slot get it by turns: one with much mail takes no more than one with little.
func TestSlotsByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.Concurrency = 10_000
		w.set("much.example", answer{wait: 10 * time.Second, Outcome: yes})
		b.start()
		const most = 80
		b.q.slots.most = most
		for range 5 * most { // fills all slots that a site without an answer gets
			b.send(nil, "u@much.example")
		}
		synctest.Wait()
		if n := w.running(""); n != most/20 {
			t.Errorf("%d attempts", n)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := w.running(""); n <= most/20 {
			t.Errorf("%d attempts when it had answered", n)
		}
		for i := range 10 {
			b.send(nil, fmt.Sprintf("v%d@few.example", i))
		}
		time.Sleep(11 * time.Second)
		for i := range 10 {
			if !slices.Contains(w.out(), fmt.Sprintf("v%d", i)) {
				t.Errorf("v%d waits", i)
			}
		}
		time.Sleep(time.Minute)
		if l := b.q.Load(); w.delivered() != 5*most+10 || l.Running != 0 || b.q.slots.unproven.Load() != 0 || b.q.slots.waiting.Load() != 0 {
			t.Errorf("%d delivered, then %+v", w.delivered(), l)
		}
		b.stop()
	})
}

// Tenants share a site: one with thousands of messages before another's few does not delay them.
func TestTenants(t *testing.T) {
	if testing.Short() {
		t.Skip("too many goroutines for the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.Concurrency = 1
		w.set("one.example", answer{wait: time.Second, Outcome: yes})
		b.start()
		tenant := func(name string) func(*message.Envelope) {
			return func(e *message.Envelope) { e.Tenant = name }
		}
		for i := range 6000 { // more than fit into memory
			b.send(tenant("much"), fmt.Sprintf("m%d@one.example", i))
		}
		for i := range 20 {
			b.send(tenant("few"), fmt.Sprintf("f%d@one.example", i))
		}
		time.Sleep(90 * time.Second)
		few := 0
		for _, s := range w.out() {
			if strings.HasPrefix(s, "f") {
				few++
			}
		}
		if few < tenantJobs || len(w.out()) < 85 {
			t.Errorf("%d of 20 among %d: %v", few, len(w.out()), w.out())
		}
		v, err := b.q.Explain(t.Context(), "one.example")
		if err != nil || v[0].Waiting["much"] == 0 {
			t.Errorf("%+v, %v", v, err)
		}
		time.Sleep(2 * time.Hour)
		if len(w.out()) != 6020 {
			t.Errorf("%d delivered", len(w.out()))
		}
		expect(t, "store", b.states())
		b.stop()
	})
}

func TestFairTurns(t *testing.T) {
	var f fair
	put := func(tenant string, n int, size int64, priority int8) {
		for range n {
			f.push(&job{rcpts: []int{0}, flight: &flight{msg: &msg{env: &message.Envelope{Tenant: tenant, Size: size, Priority: priority}}}})
		}
	}
	take := func(n int) string {
		got := map[string]int{}
		for range n {
			e := f.take(nil).flight.msg.env
			got[fmt.Sprintf("%s%+d", e.Tenant, e.Priority)]++
		}
		var out []string
		for _, k := range slices.Sorted(maps.Keys(got)) {
			out = append(out, fmt.Sprintf("%s:%d", k, got[k]))
		}
		return strings.Join(out, " ")
	}
	put("a", 1000, 0, 0)
	put("b", 20, 0, 0)
	put("large", 100, 15*costUnit, 0) // each costs 16
	if got := take(3 * 16); got != "a+0:26 b+0:20 large+0:2" {
		t.Error(got)
	}
	for f.n > 0 {
		f.take(nil)
	}
	if len(f.tenants) != 0 || len(f.ring) != 0 {
		t.Errorf("%d tenants are left", len(f.tenants))
	}
	put("a", 100, 0, 5)
	put("a", 100, 0, 0)
	put("a", 100, 0, -5)
	if got := take(26); got != "a+0:8 a+5:16 a-5:2" {
		t.Error(got)
	}
	f.drain()
	put("huge", 2, 1<<40, 0) // paid off, in time
	put("b", 1, 0, 0)
	if got := take(3); got != "b+0:1 huge+0:2" || f.n != 0 {
		t.Error(got)
	}
}
