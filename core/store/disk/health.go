package disk

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/store"
)

// Capacity is what a file system can hold.
type Capacity struct {
	Free, Total           int64 // bytes, for us and for all
	FreeFiles, TotalFiles int64 // inodes; a total of 0: there is no bound
}

const (
	slowCommit    = 2 * time.Second // no synced write has ended for this long: stalled
	capacityFresh = time.Second
)

// health is what Health tells, kept so that asking costs next to nothing.
type health struct {
	now     func() time.Time
	quit    chan struct{}      // closed by Close
	stalls  atomic.Int32       // write stalls of Pebble
	waiting atomic.Bool        // for space on the disk
	last    atomic.Int64       // duration of the last synced write
	took    *observe.Histogram // of all

	mu       sync.Mutex
	writes   int       // synced writes under way
	progress time.Time // when one last ended, or the first of them began

	asking sync.Mutex // held while the file system is asked; others take the last answer
	answer atomic.Pointer[answer]
}

// answer is what the file system said last.
type answer struct {
	Capacity
	known bool
	at    time.Time
}

// begin, and end or leave, stand around a synced write; leave where another write's sync did.
func (h *health) begin() time.Time {
	now := h.now()
	h.mu.Lock()
	if h.writes++; h.writes == 1 {
		h.progress = now
	}
	h.mu.Unlock()
	return now
}

func (h *health) end(start time.Time) {
	now := h.now()
	h.last.Store(int64(now.Sub(start)))
	h.took.Took(now.Sub(start))
	h.leave()
}

func (h *health) leave() {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes--
	h.progress = now
}

func (h *health) stalled() bool {
	if h.stalls.Load() > 0 || h.waiting.Load() {
		return true
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes > 0 && now.Sub(h.progress) > slowCommit
}

// Health implements store.Store. Free space is asked for at most once a second.
func (s *Store) Health() store.Health {
	h := &s.health
	out := store.Health{Stalled: h.stalled(), Free: -1, Depth: s.depth.Load(), Sync: time.Duration(h.last.Load())}
	a, now := h.answer.Load(), h.now()
	if (a == nil || now.Sub(a.at) >= capacityFresh || now.Before(a.at)) && h.asking.TryLock() {
		c, err := s.opts.Capacity()
		a = &answer{c, err == nil, now}
		h.answer.Store(a)
		h.asking.Unlock()
	}
	if a != nil && a.known {
		out.Free = a.Free
		out.Full = a.Free < s.minFree(a.Capacity) || a.TotalFiles > 0 && a.FreeFiles < a.TotalFiles/20
	}
	return out
}

// minFree is the watermark in bytes.
func (s *Store) minFree(c Capacity) int64 {
	switch {
	case s.opts.MinFree > 0:
		return s.opts.MinFree
	case s.opts.MinFree < 0:
		return 0
	}
	return max(1<<30, c.Total/50)
}
