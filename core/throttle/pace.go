package throttle

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Pace is how long the answers to log-ins take: all as long as the slowest of late, so that their time says nothing. Not whether the account exists,
// nor how much of the password was right, nor what is kept of it, which may cost more for one account than for another. It is safe for
// concurrent use; the zero Pace has seen no log-in.
type Pace struct {
	mu      sync.Mutex
	since   time.Time        // when the span now began
	slowest [2]time.Duration // in the span now, and in the one before
}

// Least is how long the answer to a log-in takes at least, plus up to a fifth.
const Least = 100 * time.Millisecond

const (
	mostPace = time.Second // to check a password takes no longer; somebody who cannot be reached is not waited for by all
	paceSpan = 10 * time.Minute
)

// Late is how long to wait with the answer to a log-in that began then, and whose answer is known now.
func (p *Pace) Late(began time.Time) time.Duration {
	now := time.Now()
	took := now.Sub(began)
	all := max(took, Least, p.note(now, took))
	return all - took + rand.N(all/5)
}

// note takes a log-in into account, and gives what the slowest took.
func (p *Pace) note(now time.Time, took time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if gone := now.Sub(p.since); gone >= 2*paceSpan {
		p.since, p.slowest = now, [2]time.Duration{}
	} else if gone >= paceSpan {
		p.since, p.slowest = now, [2]time.Duration{0, p.slowest[0]}
	}
	p.slowest[0] = max(p.slowest[0], min(took, mostPace))
	return max(p.slowest[0], p.slowest[1])
}
