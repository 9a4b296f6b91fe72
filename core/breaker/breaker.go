// Package breaker keeps what overruns again and again from being asked. A Breaker counts what became of calls; when too many of
// them used up what a call may have, it refuses further ones, except one now and then as a probe, until such a one ends well.
package breaker

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

// When a breaker opens: in a minute ten calls, and half of all, overran. While it is open, one call in ProbeEvery is let through.
const (
	least      = 10
	slotTime   = 10 * time.Second
	slots      = 6 // make the minute
	ProbeEvery = 30 * time.Second
)

// A Breaker is that of one thing that is called. Errors that are no overruns do not count, so a message by which a plugin fails
// never opens it. While it is closed it costs a call one atomic addition and two reads. It is safe for concurrent use.
type Breaker struct {
	turned func(State)
	begun  time.Time // times are counted from here, by the monotonic clock

	calls, errors, skipped atomic.Uint64
	overran                [overrunCount]atomic.Uint64
	slot                   atomic.Int64 // the number of the newest slot
	open                   atomic.Pointer[Open]

	mu    sync.Mutex // of the slots, and of opening and closing
	slots [slots]count
}

// count is what a slot holds.
type count struct {
	number int64  // counted from 1; 0 = not used
	before uint64 // calls before it
	over   uint64 // overruns in it
}

// State is what a Breaker counted so far.
type State struct {
	Calls, Errors uint64               // made, and how many of them failed
	Overran       [overrunCount]uint64 // by Overrun; calls that answered late are counted here, too
	Skipped       uint64               // calls that were not made because the breaker was open
	Open          bool
	Why           Overrun   // of the call that opened it
	Since         time.Time // it has been open
}

// Open is the error of a call that is not to be made.
type Open struct {
	why   Overrun
	since time.Time
	probe atomic.Int64 // when the next one may be made
}

func (o *Open) Error() string {
	return fmt.Sprintf("not asked since %s, because too many calls %s", o.since.UTC().Format("15:04:05 MST"), o.why.Error())
}

// New makes one that is closed. turned, which may be nil, is told when it opens or closes, by who ended the call.
func New(turned func(State), now time.Time) *Breaker {
	return &Breaker{turned: turned, begun: now}
}

// State returns the counts.
func (b *Breaker) State() State {
	s := State{Calls: b.calls.Load(), Errors: b.errors.Load(), Skipped: b.skipped.Load()}
	for i := range s.Overran {
		s.Overran[i] = b.overran[i].Load()
	}
	if o := b.open.Load(); o != nil {
		s.Open, s.Why, s.Since = true, o.why, o.since
	}
	return s
}

// Admit tells whether a call may be made: an *Open if not, and whether it is a probe.
func (b *Breaker) Admit(now time.Time) (probe bool, err error) {
	o := b.open.Load()
	if o == nil {
		return false, nil
	}
	at := int64(now.Sub(b.begun))
	if next := o.probe.Load(); at >= next && o.probe.CompareAndSwap(next, at+int64(ProbeEvery)) {
		return true, nil
	}
	b.skipped.Add(1)
	return false, o
}

// Ended counts a call that was made, and opens or closes the breaker. late says that it ended after its deadline, whatever it
// answered.
func (b *Breaker) Ended(end time.Time, err error, late, probe bool) {
	calls := b.calls.Add(1)
	slot := 1 + int64(end.Sub(b.begun)/slotTime)
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
	if b.turn(end, slot, calls, over, probe) && b.turned != nil {
		b.turned(b.State())
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
	s := &b.slots[slot%slots]
	if slot > b.slot.Load() {
		b.slot.Store(slot)
		*s = count{number: slot, before: calls - 1}
	}
	switch open := b.open.Load() != nil; {
	case open && probe && over == 0:
		b.slots = [slots]count{}
		b.slot.Store(0)
		b.open.Store(nil)
		return true
	case open || over == 0 || s.number != slot: // the last: one that ended later was counted earlier
		return false
	}
	s.over++
	first, overran := calls, uint64(0)
	for _, s := range b.slots {
		if s.number > 0 && s.number > slot-slots {
			first, overran = min(first, s.before), overran+s.over
		}
	}
	if overran < least || 2*overran < calls-first {
		return false
	}
	o := &Open{why: over, since: end}
	o.probe.Store(int64(end.Sub(b.begun) + ProbeEvery))
	b.open.Store(o)
	return true
}
