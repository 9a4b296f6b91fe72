package hooks

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Overrun is the class of an error by which a call used up what it may have. Engines wrap it: by that the breaker tells a call
// that costs the server something from one whose plugin merely failed.
type Overrun uint8

// The overruns; the zero value is none.
const (
	OverTime Overrun = 1 + iota
	OverInstructions
	OverMemory
	Busy
	overrunCount
)

var overrunTable = [overrunCount]struct{ word, text string }{
	{"none", "nothing ran out"},
	{"time", "ran out of time"},
	{"instructions", "ran out of instructions"},
	{"memory", "ran out of memory"},
	{"busy", "no instance was free in time"},
}

// Overruns lists them all.
func Overruns() []Overrun { return []Overrun{OverTime, OverInstructions, OverMemory, Busy} }

// String is the word for it in listings and metrics.
func (o Overrun) String() string { return overrunTable[o].word }

// Error says it in a sentence.
func (o Overrun) Error() string { return overrunTable[o].text }

// When a breaker opens: in a minute ten calls, and half of all, overran. While it is open, one call in 30 s is let through.
const (
	breakerLeast = 10
	breakerSlot  = 10 * time.Second
	breakerSlots = 6 // make the minute
	breakerProbe = 30 * time.Second
)

// A Breaker counts what became of the calls of one hook, and keeps a hook that overruns again and again from being asked: its
// on_error answers at once, until a call that is let through as a probe ends within its bounds. Errors that are no overruns
// do not count, so a message by which a plugin fails never opens it. While it is closed it costs a call one atomic addition
// and two reads. The copies of a hook in several generations share one.
type Breaker struct {
	watch Watch
	begun time.Time // times are counted from here, by the monotonic clock

	calls, errors, skipped atomic.Uint64
	overran                [overrunCount]atomic.Uint64
	slot                   atomic.Int64 // the number of the newest slot
	open                   atomic.Pointer[opening]

	mu    sync.Mutex // of the slots, and of opening and closing
	slots [breakerSlots]breakerCount
}

// breakerCount is what a slot holds.
type breakerCount struct {
	number int64  // counted from 1; 0 = not used
	before uint64 // calls before it
	over   uint64 // overruns in it
}

// Watch is told when a call fails that was made, and when a breaker opens or closes.
type Watch interface {
	Failed(c *Call, h *Hook, err error)
	Turned(h *Hook, s BreakerState)
}

// BreakerState is what a Breaker counted so far.
type BreakerState struct {
	Calls, Errors uint64               // made, and how many of them failed
	Overran       [overrunCount]uint64 // by Overrun; calls that answered late are counted here, too
	Skipped       uint64               // answered by on_error because the breaker was open
	Open          bool
	Why           Overrun   // of the call that opened it
	Since         time.Time // it has been open
}

// opening is the state of an open breaker, and the error of the calls that are not made.
type opening struct {
	why   Overrun
	since time.Time
	probe atomic.Int64 // when the next one may be made
}

func (o *opening) Error() string {
	return fmt.Sprintf("not asked since %s, because too many calls %s", o.since.UTC().Format("15:04:05 MST"), o.why.Error())
}

// NewBreaker makes one that is closed. w may be nil.
func NewBreaker(w Watch, now time.Time) *Breaker {
	return &Breaker{watch: w, begun: now}
}

// State returns the counts.
func (b *Breaker) State() BreakerState {
	s := BreakerState{Calls: b.calls.Load(), Errors: b.errors.Load(), Skipped: b.skipped.Load()}
	for i := range s.Overran {
		s.Overran[i] = b.overran[i].Load()
	}
	if o := b.open.Load(); o != nil {
		s.Open, s.Why, s.Since = true, o.why, o.since
	}
	return s
}

// admit tells whether a call may be made: an error if not, and whether it is a probe.
func (b *Breaker) admit(now time.Time) (probe bool, err error) {
	o := b.open.Load()
	if o == nil {
		return false, nil
	}
	at := int64(now.Sub(b.begun))
	if next := o.probe.Load(); at >= next && o.probe.CompareAndSwap(next, at+int64(breakerProbe)) {
		return true, nil
	}
	b.skipped.Add(1)
	return false, o
}

// ended counts a call that was made, and opens or closes the breaker.
func (b *Breaker) ended(h *Hook, end time.Time, err error, late, probe bool) {
	calls := b.calls.Add(1)
	slot := 1 + int64(end.Sub(b.begun)/breakerSlot)
	if err == nil && !late && !probe && slot == b.slot.Load() {
		return
	}
	over := overrunOf(err, late)
	if over != 0 {
		b.overran[over].Add(1)
	}
	if err != nil {
		b.errors.Add(1)
	}
	if b.turn(end, slot, calls, over, probe) && b.watch != nil {
		b.watch.Turned(h, b.State())
	}
}

func overrunOf(err error, late bool) (o Overrun) {
	if err != nil && errors.As(err, &o) {
		return o
	}
	if late {
		return OverTime
	}
	return 0
}

// turn keeps the slots and tells whether the breaker opened or closed.
func (b *Breaker) turn(end time.Time, slot int64, calls uint64, over Overrun, probe bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.slots[slot%breakerSlots]
	if slot > b.slot.Load() {
		b.slot.Store(slot)
		*s = breakerCount{number: slot, before: calls - 1}
	}
	switch open := b.open.Load() != nil; {
	case open && probe && over == 0:
		b.slots = [breakerSlots]breakerCount{}
		b.slot.Store(0)
		b.open.Store(nil)
		return true
	case open || over == 0 || s.number != slot: // the last: one that ended later was counted earlier
		return false
	}
	s.over++
	first, overran := calls, uint64(0)
	for _, s := range b.slots {
		if s.number > 0 && s.number > slot-breakerSlots {
			first, overran = min(first, s.before), overran+s.over
		}
	}
	if overran < breakerLeast || 2*overran < calls-first {
		return false
	}
	o := &opening{why: over, since: end}
	o.probe.Store(int64(end.Sub(b.begun) + breakerProbe))
	b.open.Store(o)
	return true
}
