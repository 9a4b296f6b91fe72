package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Budget bounds the bytes of content that an engine holds in memory. Who asks first is served first. Safe for concurrent use.
type Budget struct {
	patience time.Duration

	mu      sync.Mutex
	free    int64
	waiting []*claim
}

type claim struct {
	n     int64
	ready chan struct{} // closed under mu when n was taken for it
}

// NewBudget returns a budget of limit bytes whose Take waits no longer than patience.
func NewBudget(limit int64, patience time.Duration) *Budget {
	return &Budget{free: limit, patience: patience}
}

// Take waits for n bytes; ErrBusy when ctx or the patience ends first.
func (b *Budget) Take(ctx context.Context, n int64) error {
	b.mu.Lock()
	if n <= b.free && len(b.waiting) == 0 {
		b.free -= n
		b.mu.Unlock()
		return nil
	}
	c := &claim{n, make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()

	patience := time.NewTimer(b.patience)
	defer patience.Stop()
	var why string
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		why = ctx.Err().Error()
	case <-patience.C:
		why = fmt.Sprintf("no memory for content within %v", b.patience)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, c)
	if i < 0 { // served at the last moment
		return nil
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	b.serve() // those behind may have waited for this one only
	return fmt.Errorf("%w: %s", ErrBusy, why)
}

// TryTake takes n bytes if at least rest are free after that, and nobody waits.
func (b *Budget) TryTake(n, rest int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n+rest > b.free || len(b.waiting) > 0 {
		return false
	}
	b.free -= n
	return true
}

// Give returns n bytes that were taken.
func (b *Budget) Give(n int64) {
	b.mu.Lock()
	b.free += n
	b.serve()
	b.mu.Unlock()
}

func (b *Budget) serve() {
	for len(b.waiting) > 0 && b.waiting[0].n <= b.free {
		b.free -= b.waiting[0].n
		close(b.waiting[0].ready)
		b.waiting = slices.Delete(b.waiting, 0, 1)
	}
}

// Free is what is not taken.
func (b *Budget) Free() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
