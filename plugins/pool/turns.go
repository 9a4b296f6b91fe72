package pool

import (
	"runtime"
	"time"
)

const (
	turnTime  = 200 * time.Microsecond // used for so long a turn rests, and is passed on
	restShare = 2                      // times as long as it was used, where there is one turn
	maxRest   = 20 * time.Millisecond
)

// Turns are the turns of one server.
type Turns struct {
	Quota
	Memory *Pace // of what calls allocate

	number int
}

// What calls allocate in memory that is collected, beyond what each has for nothing.
const (
	burstBytes = 16 << 20 // at once, and then
	paceBytes  = 8 << 20  // a second
)

// NewTurns makes turns for the CPUs that the process may use.
func NewTurns() *Turns { return TurnsFor(max(1, runtime.GOMAXPROCS(0)/2)) }

// TurnsFor makes so many turns.
func TurnsFor(n int) *Turns {
	t := &Turns{Memory: NewPace(burstBytes, paceBytes), number: n}
	t.free = int64(n)
	return t
}

// restOf is how long a turn rests that was used for so long. Where there are more turns, more CPUs run no plugin meanwhile. A rest is
// sleep, since Gosched alone would not do: what waits for a CPU that does not come to it is taken over only by one that has
// nothing to do.
func (t *Turns) restOf(used time.Duration) time.Duration {
	return min(restShare*used/time.Duration(max(1, t.number)), maxRest)
}

// A Turn is one call's hold on a turn, which it has or has not. Where Of is nil there are no turns to wait for. Not for concurrent
// use.
type Turn struct {
	Of *Turns

	has   bool
	began time.Time
}

// Began is when the turn was taken, or rested last.
func (t *Turn) Began() time.Time { return t.began }

// Enter takes a turn where the call has none. It is false when there was none until the deadline.
func (t *Turn) Enter(deadline time.Time) bool {
	if t.has {
		return true
	}
	if t.Of != nil {
		if !t.Of.Take(1, deadline) {
			return false
		}
		t.has = true
	}
	t.began = time.Now()
	return true
}

// Continue is to be called now and then while code of a plugin runs, with the time: it takes a turn, and one that was used for long
// rests and is passed on to those who wait. It is false when there was none until the deadline.
func (t *Turn) Continue(now, deadline time.Time) bool {
	if t.has && now.Sub(t.began) >= turnTime {
		if t.Rest(t.Of.restOf(now.Sub(t.began))); t.Of.Waiting() > 0 {
			t.giveBack()
		}
	}
	return t.Enter(deadline)
}

// Rest keeps the turn from everybody for a while.
func (t *Turn) Rest(d time.Duration) {
	time.Sleep(d)
	t.began = time.Now()
}

// End gives the turn back, at the end of a call and before it waits for something. A turn that was used for long rests first, which
// the call does not wait for.
func (t *Turn) End() {
	if !t.has {
		return
	}
	if used := time.Since(t.began); used >= turnTime {
		t.has = false
		of := t.Of
		time.AfterFunc(of.restOf(used), func() { of.Give(1) })
		return
	}
	t.giveBack()
}

func (t *Turn) giveBack() {
	t.has = false
	t.Of.Give(1)
}
