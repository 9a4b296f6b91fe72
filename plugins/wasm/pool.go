package wasm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stagepost/stagepost/hooks"
)

// Defaults of a pool.
const (
	defaultInstances = 16
	idleTime         = time.Minute
)

var errClosed = errors.New("wasm: the plugin is closed")

// Stats counts what a plugin's instances did.
type Stats struct {
	InUse, Idle      int
	Created, Dropped uint64 // instances made, and thrown away because they failed
	Busy             uint64 // calls that found none in time
}

// pool keeps instances of one plugin. What was used last is used first, so that the others may go.
type pool struct {
	places chan struct{} // one for each instance in use
	make   func(before time.Time) (*instance, error)

	mu     sync.Mutex
	idle   []*instance // newest last
	closed bool
	stats  Stats
}

func newPool(n int, create func(before time.Time) (*instance, error)) *pool {
	if n <= 0 {
		n = defaultInstances
	}
	return &pool{places: make(chan struct{}, n), make: create}
}

// get takes an instance, or makes one, waiting until ctx ends if all are in use. Every instance must go back by put.
func (p *pool) get(ctx context.Context) (*instance, error) {
	select {
	case p.places <- struct{}{}:
	default:
		select {
		case p.places <- struct{}{}:
		case <-ctx.Done():
			p.mu.Lock()
			p.stats.Busy++
			p.mu.Unlock()
			return nil, hooks.Busy
		}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.places
		return nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		in := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return in, nil
	}
	p.mu.Unlock()
	before := time.Now().Add(loadTime)
	if d, ok := ctx.Deadline(); ok && d.Before(before) {
		before = d
	}
	in, err := p.make(before)
	if err != nil {
		<-p.places
		return nil, err
	}
	p.mu.Lock()
	p.stats.Created++
	p.mu.Unlock()
	return in, nil
}

// put gives an instance back; one that failed is thrown away.
func (p *pool) put(in *instance, failed bool) {
	p.mu.Lock()
	keep := !failed && !p.closed
	if keep {
		in.parked = time.Now()
		p.idle = append(p.idle, in)
	} else if failed {
		p.stats.Dropped++
	}
	p.mu.Unlock()
	if !keep {
		in.close()
	}
	<-p.places
}

// drop closes the oldest idle instances while old says so.
func (p *pool) drop(old func(*instance) bool, closed bool) {
	p.mu.Lock()
	p.closed = p.closed || closed
	n := 0
	for n < len(p.idle) && old(p.idle[n]) {
		n++
	}
	gone := p.idle[:n:n]
	p.idle = append([]*instance(nil), p.idle[n:]...)
	p.mu.Unlock()
	for _, in := range gone {
		in.close()
	}
}

func (p *pool) count() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.InUse, s.Idle = len(p.places), len(p.idle)
	return s
}
