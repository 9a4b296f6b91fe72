package lua

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/hooks"
)

// ErrBusy is returned by Get when no instance became free in time.
const ErrBusy = hooks.Busy

var errClosed = errors.New("lua: the pool is closed")

// PoolOptions of a pool. The zero value works.
type PoolOptions struct {
	Instances int              // at once; default 256
	Idle      time.Duration    // instances idle for longer are closed; default 1 minute
	Now       func() time.Time // of Trim; default: time.Now
	Instance  Options
}

// A Pool keeps instances of one image. What was used last is used first, so that the others may go. It starts no
// goroutine: idle instances are closed by Put, one at a time, and by Trim.
type Pool struct {
	image   *Image
	options PoolOptions

	mu      sync.Mutex
	idle    []*Instance     // newest last
	inUse   int             // at most options.Instances
	waiting []chan struct{} // Gets that wait for one in use, oldest first; closed when it is theirs
	closed  bool
	stats   Stats
}

// Stats counts what a pool did.
type Stats struct {
	InUse, Idle      int
	Created, Dropped uint64 // instances made, and thrown away because they failed
	Busy             uint64 // Gets that found none in time
}

// NewPool makes an empty pool.
func NewPool(im *Image, o PoolOptions) *Pool {
	if o.Instances <= 0 {
		o.Instances = 256
	}
	if o.Idle <= 0 {
		o.Idle = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Instance.memory = &quota{free: largeBytes}
	return &Pool{image: im, options: o}
}

// Get takes an instance, or makes one, waiting until ctx ends if all are in use. Every instance must go back by Put.
func (p *Pool) Get(ctx context.Context) (*Instance, error) {
	p.mu.Lock()
	if p.inUse >= p.options.Instances {
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	} else {
		p.inUse++
	}
	if p.closed {
		p.leave()
		p.mu.Unlock()
		return nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		in := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return in, nil
	}
	p.stats.Created++
	p.mu.Unlock()
	o := p.options.Instance
	var err error
	if deadline, ok := ctx.Deadline(); ok { // the main chunk runs on the time of the call
		if o.Load.Time = time.Until(deadline); o.Load.Time <= 0 {
			err = hooks.OverTime
		}
	}
	var in *Instance
	if err == nil {
		in, err = NewInstance(p.image, o)
	}
	if err != nil {
		p.mu.Lock()
		p.stats.Created--
		p.leave()
		p.mu.Unlock()
		return nil, err
	}
	return in, nil
}

// wait waits for the place of an instance in use. It is called with mu held, and holds it again when it returns without an
// error.
func (p *Pool) wait(ctx context.Context) error {
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
	return ErrBusy
}

// leave gives the place of an instance to the next who waits. mu is held.
func (p *Pool) leave() {
	if len(p.waiting) == 0 {
		p.inUse--
		return
	}
	close(p.waiting[0])
	p.waiting = slices.Delete(p.waiting, 0, 1)
}

// Put gives an instance back. A spent one is thrown away. It looks at no clock: an instance counts as idle since its last call
// began.
func (p *Pool) Put(in *Instance) {
	var old *Instance
	p.mu.Lock()
	switch {
	case in.spent:
		p.stats.Dropped++
		old = in
	case p.closed:
		old = in
	default:
		in.parked = in.budget.limits.Start
		p.idle = append(p.idle, in)
		if in.parked.Sub(p.idle[0].parked) > p.options.Idle {
			old, p.idle[0] = p.idle[0], nil
			p.idle = p.idle[1:]
		}
	}
	p.leave()
	p.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

// Trim closes the instances that have been idle for too long; a server calls it now and then.
func (p *Pool) Trim() {
	p.drop(func(in *Instance) bool { return p.options.Now().Sub(in.parked) > p.options.Idle })
}

// Close closes idle instances at once and the others when they are put back. Get fails from now on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop(func(*Instance) bool { return true })
}

// drop closes the oldest idle instances while old says so.
func (p *Pool) drop(old func(*Instance) bool) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && old(p.idle[n]) {
		n++
	}
	dropped := p.idle[:n:n]
	p.idle = append([]*Instance(nil), p.idle[n:]...)
	p.mu.Unlock()
	for _, in := range dropped {
		in.Close()
	}
}

// Stats returns the counters.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.InUse, s.Idle = p.inUse, len(p.idle)
	return s
}
