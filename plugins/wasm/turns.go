package wasm

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/hooks"
)

// turns hold down what guests may take from the rest of the server: a guest runs only while it has a turn, of which there is one for
// every two CPUs, over all plugins, so there is always a CPU that runs none. Calls that ask come in order. A turn is given back while
// the call waits for a service, and passed on at a new slice of fuel when others wait. Who ran long rests before the turn is
// given back: a CPU on which one long call follows the other serves nobody else.
type turns struct {
	free    chan struct{}
	waiting atomic.Int32
}

// How long a call runs before it is a long one, and the rest after it in proportion.
const (
	longTurn = 500 * time.Microsecond
	maxRest  = 2 * time.Millisecond
)

func newTurns() *turns { return &turns{free: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))} }

// take waits for a turn until ctx ends.
func (t *turns) take(ctx context.Context) error {
	select {
	case t.free <- struct{}{}:
		return nil
	default:
	}
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case t.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return hooks.Busy
	}
}

// giveBack ends a turn that began then.
func (t *turns) giveBack(began time.Time) {
	if took := time.Since(began); took > longTurn {
		time.Sleep(min(took/2, maxRest))
	}
	<-t.free
}
