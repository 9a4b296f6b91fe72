package pool

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Quota is an amount that calls take parts of and give back. Who asked first gets first.
type Quota struct {
	mu      sync.Mutex
	free    int64
	waiting []*applicant
	queued  atomic.Int32 // len(waiting), for a look without the lock
}

type applicant struct {
	n     int64
	ready chan struct{}
}

// NewQuota makes one of which all is free.
func NewQuota(amount int64) *Quota { return &Quota{free: amount} }

// Free is what nobody has now.
func (q *Quota) Free() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.free
}

// Waiting is how many wait for their part.
func (q *Quota) Waiting() int { return int(q.queued.Load()) }

// Take waits for n until the deadline.
func (q *Quota) Take(n int64, deadline time.Time) bool {
	q.mu.Lock()
	if q.free >= n && len(q.waiting) == 0 {
		q.free -= n
		q.mu.Unlock()
		return true
	}
	a := &applicant{n, make(chan struct{})}
	q.waiting = append(q.waiting, a)
	q.queued.Store(int32(len(q.waiting)))
	q.mu.Unlock()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-a.ready:
		return true
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.waiting {
		if other == a {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.serve() // those behind may want less
			return false
		}
	}
	return true // it came just now
}

// Give gives n back.
func (q *Quota) Give(n int64) {
	q.mu.Lock()
	q.free += n
	q.serve()
	q.mu.Unlock()
}

// serve hands out what is free, in order. Who was served is not counted among the waiting any more by the time it goes on.
func (q *Quota) serve() {
	n := 0
	for n < len(q.waiting) && q.waiting[n].n <= q.free {
		q.free -= q.waiting[n].n
		n++
	}
	served := q.waiting[:n]
	q.waiting = q.waiting[n:]
	q.queued.Store(int32(len(q.waiting)))
	for i, a := range served {
		served[i] = nil
		close(a.ready)
	}
}
