package lua

import (
	"time"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/plugins/pool"
)

// What many calls at once may take from the rest of the server; a call alone is held by its Budget.
//
// A call that is longer than most (clockStride instructions, or one large allocation) goes on only while it has a turn of the
// server's. It passes the turn on now and then, and gives it back when it waits for I/O.
//
// Memory is shared by the calls of one plugin: what a call allocates beyond freeBytes is taken from the plugin's SharedBytes, all
// that the call may come to at once, so calls never wait for each other in a circle. It gets them in parts, and rests for each. What
// all plugins allocate so has a pace, too: how often the garbage collector runs, at which others wait, follows from it. What a call
// may allocate because it reads a large message is not held back so, for that is what messages make of it, and not loops.
const (
	DefaultInstances = 256       // of a plugin, so calls of it at once
	SharedBytes      = 128 << 20 // what the calls of a plugin have together

	freeBytes = 1 << 20
	partBytes = 256 << 10
	partRest  = 2 * time.Millisecond // for each part
)

// newPool makes a pool of instances of an image. now is that of Trim; nil: time.Now.
func newPool(im *Image, instances int, now func() time.Time, o Options) *pool.Pool[*Instance] {
	if instances <= 0 {
		instances = DefaultInstances
	}
	o.memory = pool.NewQuota(SharedBytes)
	return pool.New(pool.Options[*Instance]{Instances: instances, Now: now, Close: (*Instance).Close, Make: func(deadline time.Time) (*Instance, error) {
		own := o
		if !deadline.IsZero() { // the main chunk runs on the time of the call
			if own.Load.Time = time.Until(deadline); own.Load.Time <= 0 {
				return nil, breaker.OverTime
			}
		}
		return NewInstance(im, own)
	}})
}

// proceed is asked while code runs: it waits for a turn where that is due. It is false, and the call at its end, when there is none
// before the deadline.
func (b *Budget) proceed(now time.Time) bool {
	if !b.turn.Continue(now, b.deadline) {
		b.exhaust(ErrTime, b.limits.Time.String())
		return false
	}
	return true
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
		b.large = min(b.limits.Bytes+b.limits.Extra, SharedBytes)
		b.turn.End()
		if !b.memory.Take(b.large, b.deadline) {
			b.large = 0
			b.exhaust(ErrTime, b.limits.Time.String()+", waiting for memory")
			return false
		}
	}
	if b.turn.Of != nil && !b.slow(part) {
		return false
	}
	b.bytes, b.more = b.bytes+part, b.more-part
	return true
}

// slow makes the call wait for the pace of memory, without its turn, and rest in its turn for each part. It is false, and the call at
// its end, when the deadline comes before.
func (b *Budget) slow(bytes int64) bool {
	pace, now := b.turn.Of.Memory, b.now()
	given := min(bytes, b.given)
	b.given -= given
	if wait := pace.Use(bytes-given, now); wait > 0 && given < bytes {
		b.turn.End()
		left := b.deadline.Sub(now)
		time.Sleep(min(wait, max(0, left)))
		if wait >= left {
			pace.Return(bytes - given)
			b.exhaust(ErrTime, b.limits.Time.String()+", held back for allocating much")
			return false
		}
	}
	for rests := bytes / partBytes; rests > 0; rests-- {
		now := b.now()
		if !now.Before(b.deadline) {
			b.exhaust(ErrTime, b.limits.Time.String())
		}
		if b.cause != nil || !b.proceed(now) {
			return false
		}
		b.turn.Rest(partRest)
	}
	return true
}

// endQuotas gives back what the call took.
func (b *Budget) endQuotas() {
	b.turn.End()
	if b.large > 0 {
		b.memory.Give(b.large)
		b.large = 0
	}
}
