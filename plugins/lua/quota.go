package lua

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Two quotas hold down what many calls at once may take from the rest of the server; a call alone is held by its Budget.
//
// Turns are shared by all plugins. A call that is longer than most (clockStride instructions, or one large allocation) goes on
// only while it has a turn, of which there is one for every two CPUs, so sessions always find a CPU that runs no plugin. It
// passes the turn on after a while when others wait, gives it back when it waits for I/O, and rests now and then so that its own
// CPU serves sessions too: where there are two, the other one is busy with system calls and collecting garbage.
//
// Memory is shared by the calls of one plugin: what a call allocates beyond freeBytes is taken from the plugin's largeBytes, all
// that the call may come to at once, so calls never wait for each other in a circle. It gets them in parts, and rests for each.
const (
	turnTime   = 200 * time.Microsecond // then a turn is passed on
	restEvery  = 200 * time.Microsecond
	restTime   = 400 * time.Microsecond
	freeBytes  = 1 << 20
	largeBytes = 128 << 20
	partBytes  = 256 << 10
	partRest   = 2 * time.Millisecond // for each part
)

// Turns are the turns of one server.
type Turns struct {
	quota
	rested atomic.Int64
}

// NewTurns makes turns for the CPUs that the process may use.
func NewTurns() *Turns {
	t := &Turns{}
	t.free = int64(max(1, runtime.GOMAXPROCS(0)/2))
	return t
}

// rest lets this CPU look for other work. Gosched alone would not do: what waits for a CPU that does not come to it is taken over
// only by one that has nothing to do.
func (t *Turns) rest(now time.Time) {
	last := t.rested.Load()
	if now.UnixNano()-last < int64(restEvery) || !t.rested.CompareAndSwap(last, now.UnixNano()) {
		runtime.Gosched()
		return
	}
	time.Sleep(restTime)
	t.rested.Store(time.Now().UnixNano())
}

// A quota is an amount that calls take parts of and give back. Who asked first gets first.
type quota struct {
	mu      sync.Mutex
	free    int64
	waiting []*applicant
	queued  atomic.Int32 // len(waiting), for a look without the lock
}

type applicant struct {
	n     int64
	ready chan struct{}
}

// take waits for n until the deadline.
func (q *quota) take(n int64, wait time.Duration) bool {
	q.mu.Lock()
	if q.free >= n && len(q.waiting) == 0 {
		q.free -= n
		q.mu.Unlock()
		return true
	}
	a := &applicant{n, make(chan struct{})}
	q.waiting = append(q.waiting, a)
	q.queued.Store(int32(len(q.waiting)))
	q.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-a.ready:
		return true
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.waiting {
		if other == a {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			q.serve() // those behind may want less
			return false
		}
	}
	return true // it came just now
}

// give gives n back.
func (q *quota) give(n int64) {
	q.mu.Lock()
	q.free += n
	q.serve()
	q.mu.Unlock()
}

// serve hands out what is free, in order.
func (q *quota) serve() {
	n := 0
	for n < len(q.waiting) && q.waiting[n].n <= q.free {
		q.free -= q.waiting[n].n
		close(q.waiting[n].ready)
		q.waiting[n] = nil
		n++
	}
	q.waiting = q.waiting[n:]
	q.queued.Store(int32(len(q.waiting)))
}

// turn takes a turn, or passes it on and takes another when it had one for long enough. It is false, and the call at its end,
// when there is none before the deadline.
func (b *Budget) turn(now time.Time) bool {
	if b.turns == nil || b.has && now.Sub(b.turned) < turnTime {
		return true
	}
	if b.has {
		b.turns.rest(now)
		if b.turned = b.now(); b.turns.queued.Load() == 0 {
			return true
		}
		b.endTurn()
	}
	if !b.turns.take(1, b.deadline.Sub(b.now())) {
		b.exhaust(ErrTime, b.limits.Time.String())
		return false
	}
	b.has, b.turned = true, b.now()
	return true
}

// endTurn gives the turn back, at the end of a call and before it waits for I/O.
func (b *Budget) endTurn() {
	if b.has {
		b.has = false
		b.turns.give(1)
	}
}

// enlarge puts the next part of what the call may allocate beyond freeBytes into its reach, n bytes at least. Before the first one
// it makes all of them the call's own; then the call rests in its turn, so that what plugins allocate in sum makes the garbage
// collector run now and then, and not all the time. It is false, and the call at its end, when there is no turn, or other calls
// of the plugin keep the memory, until the deadline.
func (b *Budget) enlarge(n int64) bool {
	if b.more == 0 {
		return false
	}
	part := min(b.more, max(partBytes, n-b.bytes))
	if b.memory != nil && b.large == 0 {
		b.large = min(b.limits.Bytes+b.limits.Extra, largeBytes)
		b.endTurn()
		if !b.memory.take(b.large, b.deadline.Sub(b.now())) {
			b.large = 0
			b.exhaust(ErrTime, b.limits.Time.String()+", waiting for memory")
			return false
		}
	}
	for rests := part / partBytes; rests > 0 && b.turns != nil; rests-- {
		now := b.now()
		if !now.Before(b.deadline) {
			b.exhaust(ErrTime, b.limits.Time.String())
		}
		if b.cause != nil || !b.turn(now) {
			return false
		}
		time.Sleep(partRest)
	}
	b.bytes, b.more = b.bytes+part, b.more-part
	return true
}

// endQuotas gives back what the call took.
func (b *Budget) endQuotas() {
	b.endTurn()
	if b.large > 0 {
		b.memory.give(b.large)
		b.large = 0
	}
}
