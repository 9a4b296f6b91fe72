package observe

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// behind takes entries from many goroutines and hands them, in batches, to one that may block.
type behind struct {
	limit int                       // bytes waiting, above which entries are dropped
	batch int                       // bytes waiting that are not made to wait longer
	every time.Duration             // the longest an entry waits for a batch
	write func(b []byte, count int) // on the one goroutine; must not keep b
	tidy  func()                    // on the same goroutine, every tidyEvery; may be nil

	mu      sync.Mutex
	waiting []byte
	count   int // entries in waiting
	spare   []byte
	closed  bool

	dropped atomic.Uint64 // entries for which there was no room
	first   chan struct{} // there is an entry waiting
	enough  chan struct{} // there is a batch waiting
	flushes chan chan struct{}
	stop    chan struct{}
	done    chan struct{} // closed when the goroutine has ended
}

const (
	tidyEvery = 10 * time.Minute
	keepSpare = 1 << 20 // a buffer that a burst made bigger than this is not kept
)

func (b *behind) start() {
	b.first = make(chan struct{}, 1)
	b.enough = make(chan struct{}, 1)
	b.flushes = make(chan chan struct{})
	b.stop = make(chan struct{})
	b.done = make(chan struct{})
	go b.run()
}

// begin locks, and returns the buffer to append one entry to; it returns false, not locked, when there is no room. An entry may
// go over the limit, so that its size need not be known before.
func (b *behind) begin() ([]byte, bool) {
	b.mu.Lock()
	if b.closed || len(b.waiting) >= b.limit {
		b.mu.Unlock()
		b.dropped.Add(1)
		return nil, false
	}
	return b.waiting, true
}

// end takes the buffer back with n more entries in it, and unlocks.
func (b *behind) end(buf []byte, n int) {
	before := len(b.waiting)
	b.waiting = buf
	b.count += n
	b.mu.Unlock()
	if before == 0 {
		signal(b.first)
	}
	if before < b.batch && len(buf) >= b.batch {
		signal(b.enough)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *behind) run() {
	defer close(b.done)
	var due, tidy <-chan time.Time
	if b.tidy != nil {
		t := time.NewTicker(tidyEvery)
		defer t.Stop()
		tidy = t.C
	}
	for {
		var flushed chan struct{}
		select {
		case <-b.first:
			due = time.After(b.every)
			continue
		case <-tidy:
			b.tidy()
			continue
		case <-due:
		case <-b.enough:
		case flushed = <-b.flushes:
		case <-b.stop:
			b.drain()
			return
		}
		due = nil
		b.drain()
		if flushed != nil {
			close(flushed)
		}
	}
}

// drain writes what is waiting now.
func (b *behind) drain() {
	b.mu.Lock()
	buf, count := b.waiting, b.count
	b.waiting, b.count, b.spare = b.spare[:0], 0, nil
	b.mu.Unlock()
	if len(buf) > 0 {
		b.write(buf, count)
	}
	if cap(buf) <= keepSpare {
		b.mu.Lock()
		b.spare = buf[:0]
		b.mu.Unlock()
	}
}

// flush returns when all that was appended before is written, or the context ends.
func (b *behind) flush(ctx context.Context) error {
	flushed := make(chan struct{})
	select {
	case b.flushes <- flushed:
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close takes no more entries, writes what waits, and ends the goroutine. It may be called again.
func (b *behind) close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.stop)
	}
	b.mu.Unlock()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
