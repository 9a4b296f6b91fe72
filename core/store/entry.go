package store

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// MaxLane bounds the name of a lane, in bytes: 16 next hops with the longest names fit.
const MaxLane = 8 << 10

// DueSecond is the time of an entry as engines keep it: seconds since 1970, rounded up, and cut to the years 1970 to 2106.
func DueSecond(t time.Time) uint32 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return uint32(min(max(s, 0), math.MaxUint32))
}

// FirstEntries are all entries that a commit makes, and what is left of also.
func FirstEntries(env *message.Envelope, also []Change) (entries []Entry, others []Change) {
	if env.Hold == "" {
		entries = append(make([]Entry, 0, 2), FirstEntry(env))
	}
	for i := range also {
		if also[i].ID != env.ID {
			others = append(others, also[i])
			continue
		}
		for _, e := range also[i].Add {
			e.ID = env.ID
			entries = append(entries, e)
		}
	}
	return entries, others
}

// Window gives the first and the last second of (from, until]; none is in it when first > last. A zero from means since ever.
func Window(from, until time.Time) (first, last int64) {
	if !from.IsZero() {
		first = max(from.Unix()+1, 0)
	}
	return first, min(until.Unix(), math.MaxUint32)
}

// Check tells whether a change can be carried out by any engine.
func (c *Change) Check() error {
	for _, list := range [][]Entry{c.Del, c.Add} {
		for i := range list {
			if lane := list[i].Lane; len(lane) > MaxLane || strings.IndexByte(lane, 0) >= 0 {
				return fmt.Errorf("store: lane %.40q: a name has at most %d bytes and no NUL", lane, MaxLane)
			}
		}
	}
	return nil
}
