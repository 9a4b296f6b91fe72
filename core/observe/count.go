package observe

import (
	"sync/atomic"
	"time"
)

// Counters count one thing by what it was, such as replies by their class. The names are fixed when they are made, so a count is
// one atomic addition, and what a metric says of them is bounded.
type Counters struct {
	names []string
	n     []atomic.Uint64
}

// NewCounters makes a counter for each name; its index is that of the name.
func NewCounters(names ...string) *Counters {
	return &Counters{names, make([]atomic.Uint64, len(names))}
}

// Names are not to be changed.
func (c *Counters) Names() []string { return c.names }

// Add counts one; an index that has no name is not counted.
func (c *Counters) Add(i int) { c.AddN(i, 1) }

// AddN counts n at once.
func (c *Counters) AddN(i, n int) {
	if uint(i) < uint(len(c.n)) {
		c.n[i].Add(uint64(n))
	}
}

// Get is the count of one index.
func (c *Counters) Get(i int) uint64 { return c.n[i].Load() }

// Sum is the count of all.
func (c *Counters) Sum() (sum uint64) {
	for i := range c.n {
		sum += c.n[i].Load()
	}
	return sum
}

// Histogram counts values in buckets: those up to each bound, and those above the last. Observing is two atomic additions.
type Histogram struct {
	bounds []int64
	unit   float64 // what a value is divided by when it is shown
	counts []atomic.Uint64
	sum    atomic.Int64
}

// NewTimes makes a Histogram of times, shown in seconds. The bounds ascend.
func NewTimes(bounds ...time.Duration) *Histogram {
	h := &Histogram{unit: float64(time.Second), counts: make([]atomic.Uint64, len(bounds)+1)}
	for _, b := range bounds {
		h.bounds = append(h.bounds, int64(b))
	}
	return h
}

// NewSizes makes a Histogram of whole numbers. The bounds ascend.
func NewSizes(bounds ...int64) *Histogram {
	return &Histogram{bounds: bounds, unit: 1, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts a value.
func (h *Histogram) Observe(v int64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// Took counts a time; one below zero, by a clock that was set, is none.
func (h *Histogram) Took(d time.Duration) { h.Observe(max(int64(d), 0)) }

// Shown is a Histogram as it is shown: how many values there were, their sum, and how many were at most each bound.
type Shown struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

// Show reads the histogram. What is counted meanwhile may be in part of it.
func (h *Histogram) Show() Shown {
	s := Shown{Sum: float64(h.sum.Load()) / h.unit, Buckets: make(map[float64]uint64, len(h.bounds))}
	for i := range h.counts {
		s.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			s.Buckets[float64(h.bounds[i])/h.unit] = s.Count
		}
	}
	return s
}
