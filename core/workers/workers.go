// Package workers runs functions on goroutines that are used again. A goroutine begins with a small stack; what sessions,
// plugins and deliveries need of it is several times that, and growing one anew for each short task is a large part of what the
// task costs. So goroutines that have nothing to do are kept, up to a number, with the stacks that they have grown.
package workers

import "sync/atomic"

// Pool holds the goroutines that are kept. It is safe for concurrent use.
type Pool struct {
	most   int32
	spares atomic.Int32
	ready  chan func() // to those that are kept
	done   <-chan struct{}
}

// New makes a pool that keeps at most that many goroutines, until done is closed.
func New(most int, done <-chan struct{}) *Pool {
	return &Pool{most: int32(most), ready: make(chan func()), done: done}
}

// Go runs f on a goroutine of its own and does not wait for anything. It works after done too.
func (p *Pool) Go(f func()) {
	select {
	case p.ready <- f:
	default:
		go p.work(f)
	}
}

// Spares is how many goroutines are kept now.
func (p *Pool) Spares() int { return int(p.spares.Load()) }

func (p *Pool) work(f func()) {
	for {
		f()
		f = nil
		if p.spares.Add(1) > p.most {
			p.spares.Add(-1)
			return
		}
		select {
		case f = <-p.ready:
			p.spares.Add(-1)
		case <-p.done:
			p.spares.Add(-1)
			return
		}
	}
}
