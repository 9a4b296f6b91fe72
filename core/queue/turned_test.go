package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// A measure may send mail by a pool; the sources of the former one are not gone back to.
func TestTurnedToPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fromSources()
		b.set.HasSource = func(string) bool { return false }
		b.set.Shape = &Shape{Pools: map[string]*Pool{"spares": {Sources: []string{"third"}, Weights: []int{1}}}}
		b.start()
		b.take(time.Hour, Measure{Do: DoReroute, Scope: Scope{Site: "a.example", Source: "one"}, To: &message.Plan{Source: "spares"}})
		b.send(of("one"), "u@a.example")
		synctest.Wait()
		expect(t, "lanes", b.remote.got(), "0s mx:a.example source=third <u@a.example>")
		b.stop()
	})
}

// A measure sends mail by a transport as long as the configuration has it. One that is not there cannot be named, and one that goes
// stops nothing.
func TestTurnedToTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w := newWorld(b)
		b.set.HasTransport = func(name string) bool { return name == "archive" }
		b.start()
		to := func(name string) Measure {
			return Measure{Do: DoReroute, Scope: Scope{Site: "a.example"}, To: &message.Plan{Via: name, Transport: true}, Since: time.Now(), Until: time.Now().Add(time.Hour)}
		}
		if _, err := b.q.Measure(to("gone")); err == nil || err.Error() != "there is no [transport.gone]" {
			t.Errorf("a transport that is not there: %v", err)
		}
		if _, err := b.q.Measure(to("archive")); err != nil {
			t.Fatal(err)
		}
		b.send(nil, "u@a.example")
		synctest.Wait()
		b.change(func(s *Settings) { s.HasTransport = func(string) bool { return false } })
		b.send(nil, "v@a.example")
		synctest.Wait()
		if jobs := w.asked(); len(jobs) != 2 || jobs[0].Plan.Hop() != "transport:archive" || jobs[1].Plan.Hop() != "mx:a.example" {
			t.Errorf("%d attempts: %+v", len(jobs), jobs)
		}
		b.stop()
	})
}
