package hooks

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/observe"
)

// Generation is an immutable set of hooks, in order. Who uses one holds it: Current.Acquire, then Release.
type Generation struct {
	Number uint64
	// Answered, which may be set before the generation is used, is told what each hook answered, after that took effect, by the
	// goroutine that asked.
	Answered func(*Call, observe.Step)

	now    func() time.Time
	chains [stageCount][]*Hook
	refs   atomic.Int64
	closed func()
}

// NewGeneration orders the hooks. closed, which may be nil, is called once when nobody holds the generation any more.
func NewGeneration(number uint64, all []*Hook, closed func()) (*Generation, error) {
	g := &Generation{Number: number, now: time.Now, closed: closed}
	g.refs.Store(1)
	for _, h := range all {
		if h.Breaker == nil {
			h.Breaker = breaker.New(nil, g.now())
		}
	}
	for s := range stageCount {
		var here, others []*Hook
		for _, h := range all {
			if h.Stage == s {
				here = append(here, h)
			} else {
				others = append(others, h)
			}
		}
		chain, err := Sort(here, others)
		if err != nil {
			return nil, err
		}
		g.chains[s] = chain
	}
	return g, nil
}

// Chain returns the hooks of a stage in the order they are asked. It is not to be changed.
func (g *Generation) Chain(s Stage) []*Hook { return g.chains[s] }

// Plugin finds the hook that a plan names in via.
func (g *Generation) Plugin(s Stage, name string) *Hook {
	for _, h := range g.chains[s] {
		if h.Plugin == name {
			return h
		}
	}
	return nil
}

// Release gives up a hold; the last one closes the generation.
func (g *Generation) Release() {
	switch n := g.refs.Add(-1); {
	case n < 0:
		panic("hooks: a generation was released once too often")
	case n == 0 && g.closed != nil:
		g.closed()
	}
}

// Current holds the generation in force. Sessions acquire it for each stage, transactions from MAIL to their end, and the
// queue for each attempt.
type Current struct {
	mu  sync.Mutex // orders swaps; readers do not take it
	gen atomic.Pointer[Generation]
}

// NewCurrent starts with g, whose first hold it takes over.
func NewCurrent(g *Generation) *Current {
	c := &Current{}
	c.gen.Store(g)
	return c
}

// Acquire returns the generation in force, held for the caller.
func (c *Current) Acquire() *Generation {
	for {
		g := c.gen.Load()
		for n := g.refs.Load(); n > 0; n = g.refs.Load() {
			if g.refs.CompareAndSwap(n, n+1) {
				return g
			}
		}
		// Its count reached 0: it was swapped out between the load and here, and there is a new one.
		if c.gen.Load() == g {
			panic("hooks: the generation in force was released once too often")
		}
	}
}

// Swap puts g in force, in one step, and lets go of the old one.
func (c *Current) Swap(g *Generation) {
	c.mu.Lock()
	old := c.gen.Swap(g)
	c.mu.Unlock()
	old.Release()
}

// Number is the number of the generation in force.
func (c *Current) Number() uint64 { return c.gen.Load().Number }
