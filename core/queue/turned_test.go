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
