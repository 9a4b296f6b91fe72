package disk

import (
	"time"

	"github.com/stagepost/stagepost/core/observe"
)

// NewWrites makes the Histogram of synced writes.
func NewWrites() *observe.Histogram {
	return observe.NewTimes(time.Millisecond, 3*time.Millisecond, 10*time.Millisecond, 30*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second)
}

// Writes is how long synced writes took: commits of messages, and batches of marks.
func (s *Store) Writes() *observe.Histogram { return s.health.took }

// Usage is what the store takes.
type Usage struct {
	Disk          int64 // bytes of Pebble's files
	Free          int64 // bytes of slots that wait for content
	Body, Budget  int64 // bytes of content in memory, and the most there may be
	Amplification int   // files that a read of one key may have to look into
}

// Usage asks Pebble, which counts its files; for a scrape now and then.
func (s *Store) Usage() Usage {
	u := Usage{Body: s.opts.BodyBudget - s.budget.Free(), Budget: s.opts.BodyBudget, Free: s.slots.bytes()}
	if s.gate.enter() == nil {
		defer s.gate.leave()
		m := s.db.Metrics()
		u.Disk, u.Amplification = int64(m.DiskSpaceUsage()), m.ReadAmp()
	}
	return u
}
