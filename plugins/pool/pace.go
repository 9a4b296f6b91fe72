package pool

import (
	"sync"
	"time"
)

// A Pace bounds how fast many calls together use something: some of it at once, then so much a second. It is safe for concurrent
// use.
type Pace struct {
	burst, rate float64 // an amount, and one a second

	mu   sync.Mutex
	used float64 // of the burst
	last time.Time
}

// NewPace makes one of which nothing is used.
func NewPace(burst, rate int64) *Pace { return &Pace{burst: float64(burst), rate: float64(rate)} }

// Use takes n and says how long its user is to wait for that. Who asked first waits least.
func (p *Pace) Use(n int64, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed := now.Sub(p.last); passed > 0 {
		p.used = max(0, p.used-p.rate*passed.Seconds())
		p.last = now
	}
	p.used += float64(n)
	return time.Duration(max(0, p.used-p.burst) / p.rate * float64(time.Second))
}

// Return gives back what was not used.
func (p *Pace) Return(n int64) {
	p.mu.Lock()
	p.used = max(0, p.used-float64(n))
	p.mu.Unlock()
}
