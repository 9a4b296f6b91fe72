package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/hooks"
)

var errClosed = errors.New("the plugin is closed")

// Options of a pool. Instances, Make and Close must be set.
type Options[T any] struct {
	Instances int              // at once
	Idle      time.Duration    // instances idle for longer are closed; default 1 minute
	Now       func() time.Time // of Trim; default: time.Now

	// Make makes an instance until the deadline, which is zero where the call has none.
	Make  func(deadline time.Time) (T, error)
	Close func(T)
}

// A Pool keeps instances of one plugin. What was used last is used first, so that the others may go. It starts no
// goroutine: idle instances are closed by Put, one at a time, and by Trim. It is safe for concurrent use.
type Pool[T any] struct {
	options Options[T]

	mu      sync.Mutex
	idle    []parked[T]     // newest last
	inUse   int             // at most options.Instances
	waiting []chan struct{} // Gets that wait for one in use, oldest first; closed when it is theirs
	closed  bool
	stats   Stats
}

type parked[T any] struct {
	instance T
	since    time.Time
}

// Stats counts what a pool did.
type Stats struct {
	InUse, Idle      int
	Created, Dropped uint64 // instances made, and thrown away because they failed
	Busy             uint64 // Gets that found none in time
}

// New makes an empty pool.
func New[T any](o Options[T]) *Pool[T] {
	if o.Idle <= 0 {
		o.Idle = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Pool[T]{options: o}
}

// Get takes an instance, or makes one, waiting until ctx ends if all are in use: then it returns breaker.Busy. Every instance must
// go back by Put.
func (p *Pool[T]) Get(ctx context.Context) (T, error) {
	var none T
	p.mu.Lock()
	if p.inUse >= p.options.Instances {
		if err := p.wait(ctx); err != nil {
			return none, err
		}
	} else {
		p.inUse++
	}
	if p.closed {
		p.leave()
		p.mu.Unlock()
		return none, errClosed
	}
	if n := len(p.idle); n > 0 {
		in := p.idle[n-1].instance
		p.idle[n-1] = parked[T]{}
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return in, nil
	}
	p.stats.Created++
	p.mu.Unlock()
	deadline, _ := ctx.Deadline()
	in, err := p.options.Make(deadline)
	if err != nil {
		p.mu.Lock()
		p.stats.Created--
		p.leave()
		p.mu.Unlock()
		return none, err
	}
	return in, nil
}

// wait waits for the place of an instance in use. It is called with mu held, and holds it again when it returns without an
// error.
func (p *Pool[T]) wait(ctx context.Context) error {
	turn := make(chan struct{})
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		p.mu.Lock()
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else { // the turn came at the same time
		p.leave()
	}
	p.stats.Busy++
	return breaker.Busy
}

// leave gives the place of an instance to the next who waits. mu is held.
func (p *Pool[T]) leave() {
	if len(p.waiting) == 0 {
		p.inUse--
		return
	}
	close(p.waiting[0])
	p.waiting = slices.Delete(p.waiting, 0, 1)
}

// Put gives an instance back. One that failed is thrown away. It looks at no clock: an instance counts as idle since its last call
// began.
func (p *Pool[T]) Put(in T, failed bool, began time.Time) {
	old, drop := in, true
	p.mu.Lock()
	switch {
	case failed:
		p.stats.Dropped++
	case p.closed:
	default:
		p.idle = append(p.idle, parked[T]{in, began})
		if drop = began.Sub(p.idle[0].since) > p.options.Idle; drop {
			old, p.idle[0] = p.idle[0].instance, parked[T]{}
			p.idle = p.idle[1:]
		}
	}
	p.leave()
	p.mu.Unlock()
	if drop {
		p.options.Close(old)
	}
}

// Trim closes the instances that have been idle for too long; a server calls it now and then.
func (p *Pool[T]) Trim() {
	now := p.options.Now()
	p.drop(func(since time.Time) bool { return now.Sub(since) > p.options.Idle })
}

// Close closes idle instances at once and the others when they are put back. Get fails from now on.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop(func(time.Time) bool { return true })
}

// drop closes the oldest idle instances while old says so.
func (p *Pool[T]) drop(old func(since time.Time) bool) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && old(p.idle[n].since) {
		n++
	}
	dropped := p.idle[:n:n]
	p.idle = append([]parked[T](nil), p.idle[n:]...)
	p.mu.Unlock()
	for _, d := range dropped {
		p.options.Close(d.instance)
	}
}

// Stats returns the counters.
func (p *Pool[T]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.InUse, s.Idle = p.inUse, len(p.idle)
	return s
}

// ContextOf is the context of a call, made only when somebody waits on it.
func ContextOf(c *hooks.Call) context.Context { return (*lazyContext)(c) }

type lazyContext hooks.Call

func (l *lazyContext) context() context.Context { return (*hooks.Call)(l).Context() }

func (l *lazyContext) Deadline() (time.Time, bool) { return (*hooks.Call)(l).Deadline(), true }
func (l *lazyContext) Done() <-chan struct{}       { return l.context().Done() }
func (l *lazyContext) Err() error                  { return l.context().Err() }
func (l *lazyContext) Value(k any) any             { return l.context().Value(k) }
