package queue

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Times in records are those of the wall clock, and that jumps: it is set right, a machine sleeps, a server is down for a while.
// What a queue measures while it runs it takes from the monotonic clock. Where the two differ by more than jumpLeast since they
// were last looked at, the wall clock has jumped: all that is due is read again, and time that passed in the jump alone is a
// gap, which no message is older for. Nobody saw the time either that passed while no server ran, so it is a gap as well;
// for that, when a server was last seen and what gaps there were stand in a file, which power may take along.
//
// A clock that goes back leaves times in the future: of these messages the waits begin anew.
const (
	jumpLeast = time.Minute
	seenEvery = 30 * time.Second
	mostGaps  = 16 // older ones are forgotten, and count as time that passed
)

// clock is the wall clock with what is known of its jumps.
type clock struct {
	wall func() time.Time
	file string    // "": nothing is kept
	base time.Time // of the monotonic clock

	writing sync.Mutex // the file
	mu      sync.Mutex
	last    time.Time     // of the wall clock, when it was looked at
	elapsed time.Duration // of the monotonic clock, then
	jumped  time.Duration // since jump was called
	back    bool          // once at least
	written time.Duration
	gaps    []gap // in the order of their times
}

// gap is time that nobody saw pass.
type gap struct {
	From time.Time     `json:"from"`
	For  time.Duration `json:"for"` // in nanoseconds
}

// seen is the file.
type seen struct {
	Seen time.Time `json:"seen"`
	Gaps []gap     `json:"gaps,omitempty"`
}

func newClock(wall func() time.Time, file string) *clock {
	if wall == nil {
		wall = time.Now
	}
	c := &clock{wall: wall, file: file, base: time.Now()}
	c.last = c.now()
	if m := readSeen(file); !m.Seen.IsZero() {
		c.gaps = m.Gaps
		c.moved(m.Seen, c.last.Sub(m.Seen))
		c.jumped = min(c.jumped, 0) // that nobody ran is no news
	}
	c.written = -seenEvery
	return c
}

// Seen is a time by which no server wrote anything any more that kept such a file; zero: none did. A clock that went back is
// before it.
func Seen(file string) time.Time {
	m := readSeen(file)
	if m.Seen.IsZero() {
		return m.Seen
	}
	return m.Seen.Add(seenEvery + 2*reach)
}

func readSeen(file string) (m seen) {
	if text, err := os.ReadFile(file); file == "" || err != nil || json.Unmarshal(text, &m) != nil {
		return seen{}
	}
	return m
}

// now is what stands in records: without a monotonic reading.
func (c *clock) now() time.Time { return c.wall().Round(0) }

// look compares the clocks. c.mu is held.
func (c *clock) look() {
	now, elapsed := c.now(), time.Since(c.base)
	by := now.Sub(c.last) - (elapsed - c.elapsed)
	from := c.last.Add(elapsed - c.elapsed)
	c.last, c.elapsed = now, elapsed
	c.moved(from, by)
}

// moved notes a jump, unless it is none. What goes back undoes what went forward before. c.mu is held.
func (c *clock) moved(from time.Time, by time.Duration) {
	switch {
	case by.Abs() <= jumpLeast:
		return
	case by > 0:
		c.gaps = append(c.gaps, gap{from, by})
		c.gaps = c.gaps[max(0, len(c.gaps)-mostGaps):]
	default:
		for back := -by; back > 0 && len(c.gaps) > 0; {
			g := &c.gaps[len(c.gaps)-1]
			if g.From.Add(g.For).Before(from.Add(-back)) { // it is older than where the clock went back to
				break
			}
			undone := min(back, g.For)
			back -= undone
			if g.For -= undone; g.For == 0 {
				c.gaps = c.gaps[:len(c.gaps)-1]
			}
		}
	}
	c.jumped += by
	c.back = c.back || by < 0
	c.written = -seenEvery
}

// jump is by how much the clock jumped since it was last asked for that, in all, and whether it went back meanwhile.
func (c *clock) jump() (by time.Duration, back bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	by, back = c.jumped, c.back
	c.jumped, c.back = 0, false
	return by, back
}

// unseen is how much of the time since then nobody saw pass.
func (c *clock) unseen(since time.Time) (d time.Duration) {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	for _, g := range c.gaps {
		switch end := g.From.Add(g.For); {
		case !since.After(g.From):
			d += g.For
		case since.Before(end): // by a clock that was ahead, before the gap
			d += end.Sub(since)
		}
	}
	return d
}

// keep writes the file, now and then unless it is for the last time.
func (c *clock) keep(last bool) error {
	if c.file == "" {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	c.look()
	if !last && c.elapsed-c.written < seenEvery {
		c.mu.Unlock()
		return nil
	}
	c.written = c.elapsed
	m := seen{c.last, slices.Clone(c.gaps)}
	c.mu.Unlock()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	next := c.file + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.file)
}

// earlier is the time, which was that before the terms of a message were worked out: should the clock have jumped in between, the
// time at which less is over counts.
func (q *Queue) earlier(before time.Time) time.Time {
	if now := q.now(); now.Before(before) {
		return now
	}
	return before
}

// tick keeps the clock, and begins anew with what is due where it jumped.
func (w *waker) tick() {
	if err := w.q.clock.keep(false); err != nil {
		w.q.Log.Debug("the time cannot be kept", "error", err)
	}
	by, back := w.q.clock.jump()
	if by == 0 && !back {
		return
	}
	w.q.Log.Warn("the clock jumped: what is due is looked for again, and no message is older for it", "by", by.String())
	w.mu.Lock()
	w.soon, w.first = nil, make(map[store.Lane]time.Time)
	w.mu.Unlock()
	if back {
		w.q.redate(w.q.stopping)
	}
	w.scan(time.Time{})
}

// redate gives messages new times that were written by a clock that was ahead.
func (q *Queue) redate(ctx context.Context) {
	ahead := q.now().Add(jumpLeast)
	var cursor store.Cursor
	for n := 0; ; {
		items, next, err := q.Store.Scan(ctx, cursor, page)
		if err != nil {
			if ctx.Err() == nil {
				q.Log.Error("messages with times in the future cannot be looked for", "error", err)
			}
			return
		}
		for _, it := range items {
			if it.State.Held != "" || !slices.ContainsFunc(it.State.Rcpts, func(r store.RcptState) bool { return written(it.Envelope, &r).After(ahead) }) {
				continue
			}
			if err := q.redateOne(ctx, it.Envelope.ID, ahead); err != nil {
				q.Log.Warn("a message with times in the future cannot be given others", "id", it.Envelope.ID.String(), "error", err)
			} else {
				n++
			}
		}
		if cursor = next; next == nil {
			if n > 0 {
				q.Log.Warn("the clock went back: messages with times in the future wait anew", "messages", n)
			}
			return
		}
	}
}

// written is when the time was written at which a recipient is due.
func written(env *message.Envelope, r *store.RcptState) time.Time {
	switch r.Result {
	case 0:
		return env.Arrived
	case message.Deferred:
		return r.Tried
	}
	return time.Time{}
}

// redateOne lets the recipients of a message wait as long from now on as they were to wait when that was written.
func (q *Queue) redateOne(ctx context.Context, id store.ID, ahead time.Time) error {
	return q.alone(ctx, id, func(env *message.Envelope, state *store.State) error {
		ch := store.Change{ID: id, Rev: state.Rev}
		now, air := q.now(), q.flights.air(id)
		for i := range state.Rcpts {
			r := state.Rcpts[i]
			e, isDue := entryOf(env, &r)
			at := written(env, &r)
			if !isDue || !at.After(ahead) || has(air, e) { // what is in the air says itself what comes next
				continue
			}
			when := store.WholeSecond(now.Add(max(0, e.At.Sub(at))))
			if next := soonest(now, air); next.After(when) {
				when = next
			}
			ch.Del = place(ch.Del, e, i)
			r.First, r.Tried = now, now
			r.Result, r.Next = message.Deferred, when
			ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: r})
			ch.Add = place(ch.Add, store.Entry{Lane: r.Lane, At: when}, i)
		}
		if len(ch.Rcpts) == 0 {
			return nil
		}
		if _, err := q.Store.Update(ctx, q.own, ch); err != nil {
			return err
		}
		q.applied(env, state, ch)
		return nil
	})
}
