package disk

import (
	"sync"
	"sync/atomic"
	"time"
)

// A ride makes outcomes durable by the sync of a commit. The log is one file that only grows, and a new one is begun only when
// the old one is synced: so what was written to it before a commit began is durable when that commit is. Under load a commit
// comes within a fraction of a millisecond, and those that accept mail do not stand behind syncs of outcomes.
type ride struct {
	begun, done atomic.Uint64 // numbers of commits
	paused      atomic.Uint64 // begun when pause was asked last
	mu          sync.Mutex
	moved       chan struct{} // closed when done grows; nil: nobody waits
}

// rideWait is how long a commit is waited for.
const rideWait = time.Millisecond

// syncPause is the least time from one sync of the log to the next where commits come together. A sync costs more than all the
// rest of a commit, and what comes meanwhile shares the next one.
const syncPause = time.Millisecond

// pause is asked after each sync how long the next is to wait. Commits that come one by one never wait: each would for nobody.
func (r *ride) pause() time.Duration {
	n := r.begun.Load()
	if n-r.paused.Swap(n) < 2 {
		return 0
	}
	return syncPause
}

// begin gives a commit its number, before it writes.
func (r *ride) begin() uint64 { return r.begun.Add(1) }

// end says that the commit of that number is durable.
func (r *ride) end(n uint64) {
	for {
		d := r.done.Load()
		if d >= n {
			return
		}
		if r.done.CompareAndSwap(d, n) {
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// wait tells whether a commit that began after the call is durable; false when none came in time.
func (r *ride) wait() bool {
	after := r.begun.Load()
	timer := time.NewTimer(rideWait)
	defer timer.Stop()
	for {
		r.mu.Lock()
		if r.done.Load() > after {
			r.mu.Unlock()
			return true
		}
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved := r.moved
		r.mu.Unlock()
		select {
		case <-moved:
		case <-timer.C:
			return r.done.Load() > after
		}
	}
}
