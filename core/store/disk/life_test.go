package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// A life is mail in a store as the queue has it: it comes small and large, now and then another content takes its place, it is
// deferred, moved between lanes, held and released, some recipients have it before others, one fails and a notice of that is
// committed with the end of the debt, and at last it is settled. All steps are kept, with what was begun and what was
// answered, so that whatever a crash leaves can be compared exactly: each message is as after its last answered step, or as
// after the one that was begun.

// step is what a message is after a change.
type step struct {
	gone    bool
	rev     store.Rev
	held    string
	rcpts   []store.RcptState
	entries []store.Entry
}

// story is the way of one message.
type story struct {
	env         *message.Envelope
	content     []byte
	steps       []step // the first is that of its commit
	begun, done int    // steps
	with        *story // a notice: the message whose debt ends in the same batch
	withStep    int    // and the number of steps of that, this one included
}

// chronicle holds the stories of all messages. A copy says what an image must hold.
type chronicle struct {
	mu      sync.Mutex
	stories map[store.ID]*story
}

func newChronicle() *chronicle { return &chronicle{stories: map[store.ID]*story{}} }

func (d *chronicle) do(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// copy is of one moment. Steps are only ever added.
func (d *chronicle) copy() *chronicle {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &chronicle{stories: make(map[store.ID]*story, len(d.stories))}
	for id, s := range d.stories {
		as := *s
		c.stories[id] = &as
	}
	return c
}

// later takes what was begun from a copy that was made afterwards.
func (d *chronicle) later(after *chronicle) *chronicle {
	for id, s := range after.stories {
		if was := d.stories[id]; was != nil {
			done := was.done
			*was = *s
			was.done = done
		} else {
			as := *s
			as.done = 0
			d.stories[id] = &as
		}
	}
	return d
}

// liver is one goroutine of a life.
type liver struct {
	t      testing.TB
	s      *Store
	d      *chronicle
	rng    *rand.Rand
	mine   []*story
	check  func(id store.ID, token, content []byte) // asked after each commit, unless nil
	faults bool                                     // of the disk: what cannot be written is given up
	light  bool                                     // nothing is very large
}

var filling = func() []byte {
	b := make([]byte, 9<<20)
	rng := rand.NewPCG(5, 6)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}()

// size is that of a content: most are small, and each class of large ones comes.
func (l *liver) size() int {
	switch n := l.rng.IntN(2000); {
	case n < 1500:
		return l.rng.IntN(3000)
	case n < 1620:
		return 16<<10 + l.rng.IntN(17<<10)
	case n < 1950 || l.light:
		return maxInline + 1 + l.rng.IntN(24<<10)
	case n < 1990:
		return 240<<10 + l.rng.IntN(40<<10)
	case n < 1999:
		return 1<<20 - 50<<10 + l.rng.IntN(100<<10)
	}
	return 8<<20 + l.rng.IntN(1<<19)
}

// write makes a content of a token, again and again, and octets that differ.
func (l *liver) write() (content, token []byte) {
	n := l.size()
	token = fmt.Appendf(nil, "%016x", l.rng.Uint64())
	at := l.rng.IntN(len(filling) - n)
	content = bytes.Clone(filling[at : at+n])
	for i := 0; i == 0 || i+2048 < n; i += 2048 {
		if i+len(token) > len(content) {
			content = append(content[:i], token...)
		} else {
			copy(content[i:], token)
		}
	}
	return content, token
}

// live takes so many steps; fewer when stop is closed.
func (l *liver) live(steps int, stop <-chan struct{}) {
	for range steps {
		select {
		case <-stop:
			return
		default:
		}
		if len(l.mine) < 4 || len(l.mine) < 12 && l.rng.IntN(2) == 0 {
			l.commit(nil, nil)
		} else {
			l.change(l.mine[l.rng.IntN(len(l.mine))])
		}
	}
}

// commit accepts a message; of is the one that it is a notice of, ch the end of its debt.
func (l *liver) commit(of *story, ch *store.Change) {
	content, token := l.write()
	b, err := l.s.Body(ctx, int64(l.rng.IntN(2)*len(content)))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer b.Abort()
	if l.rng.IntN(5) == 0 { // another content takes its place
		first := b
		first.Write(filling[:l.rng.IntN(3*maxInline)])
		if b, err = first.Instead(ctx, 0); err != nil {
			l.t.Error(err)
			return
		}
		defer b.Abort()
		if l.rng.IntN(2) == 0 {
			first.Abort()
		}
	}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 1+l.rng.IntN(60_000))
		if _, err := b.Write(rest[:n]); err != nil {
			l.t.Error(err)
			return
		}
		rest = rest[n:]
	}
	env := envelope(b.ID())
	for range l.rng.IntN(3) {
		env.Rcpts = append(env.Rcpts, env.Rcpts[0])
	}
	if l.rng.IntN(12) == 0 {
		env.Hold = "from the start"
	}
	st := &story{env: env, content: content}
	if of == nil && l.rng.IntN(25) == 0 { // it is given up
		l.d.do(func() { l.d.stories[env.ID] = st })
		return
	}
	first := step{rcpts: store.Begin(env).Rcpts, held: env.Hold}
	if env.Hold == "" {
		first.entries = []store.Entry{store.FirstEntry(env)}
	}
	st.steps, st.begun = []step{first}, 1
	var also []store.Change
	if of != nil {
		also = append(also, *ch)
		st.with, st.withStep = of, len(of.steps)
	}
	l.d.do(func() {
		l.d.stories[env.ID] = st
		if of != nil {
			of.begun++
		}
	})
	if err := l.s.Commit(ctx, env, b, also...); err != nil {
		if !l.faults {
			l.t.Error(err)
		}
		if l.faults && (errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrBusy)) { // nothing was written
			l.d.do(func() {
				if st.begun, st.with = 0, nil; of != nil {
					of.begun--
					of.steps = of.steps[: len(of.steps)-1 : len(of.steps)-1]
				}
			})
		}
		return
	}
	if l.check != nil {
		l.check(env.ID, token, content)
	}
	l.d.do(func() {
		st.done = 1
		if of != nil {
			of.done++
		}
	})
	l.mine = append(l.mine, st)
}

// lanes are where mail goes; the first of a message is "".
var lanes = []store.Lane{"mx:a.example", "mx:b.example", "lmtp:/run/x"}

func (l *liver) soon() time.Time { return base.Add(time.Duration(1+l.rng.IntN(600)) * time.Second) }

// change takes a message one step on.
func (l *liver) change(st *story) {
	was := st.steps[len(st.steps)-1]
	next := step{rev: was.rev + 1, held: was.held, rcpts: slices.Clone(was.rcpts)}
	ch := store.Change{ID: st.env.ID, Rev: was.rev, Del: slices.Clone(was.entries)}
	set := func(i int, r store.RcptState) {
		next.rcpts[i] = r
		ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: r})
	}
	defer func() {
		if next.gone {
			l.mine = slices.DeleteFunc(l.mine, func(s *story) bool { return s == st })
		}
	}()
	tried := store.RcptState{Attempts: 1, First: base, Tried: base, Last: message.Last{Code: 451, Enhanced: "4.7.1", Host: "mx.example.net", Text: "later"}}
	owed := slices.IndexFunc(was.rcpts, func(r store.RcptState) bool { return r.Owed })
	switch n := l.rng.IntN(10); {
	case owed >= 0: // a notice, with the end of the debt
		r := was.rcpts[owed]
		r.Owed = false
		set(owed, r)
		ch.Del, next.entries = nil, was.entries
		if l.rng.IntN(2) == 0 {
			ch.Settled, ch.Del, next = true, was.entries, step{gone: true}
		}
		l.d.do(func() { st.steps = append(st.steps, next) })
		l.commit(st, &ch)
		return
	case was.held != "" && n < 6: // released
		why := ""
		ch.Held, next.held = &why, why
		next.entries = entriesOf(st.env.ID, next.rcpts)
		ch.Add = next.entries
	case was.held == "" && n == 0:
		why := "by hand"
		ch.Held, next.held = &why, why
	case was.held == "" && n < 5: // deferred, or moved to another lane; now and then some have it
		for i := range was.rcpts {
			r := tried
			r.Result, r.Lane, r.Next = message.Deferred, lanes[l.rng.IntN(len(lanes))], l.soon()
			if i > 0 && l.rng.IntN(3) == 0 {
				r.Result, r.Lane, r.Next = message.Delivered, "", time.Time{}
			}
			set(i, r)
		}
		next.entries = entriesOf(st.env.ID, next.rcpts)
		ch.Add = next.entries
	case was.held == "" && n < 7: // one fails, and its sender is to be told
		r := tried
		r.Result, r.Owed, r.Lane = message.Failed, true, lanes[0]
		set(0, r)
		next.entries = entriesOf(st.env.ID, next.rcpts)
		ch.Add = next.entries
	default:
		ch.Settled, next = true, step{gone: true}
	}
	l.d.do(func() {
		st.steps = append(st.steps, next)
		st.begun++
	})
	if stale, err := l.s.Update(ctx, nil, ch); err != nil || len(stale) > 0 {
		l.t.Errorf("Update of %s: stale %v, %v", ch.ID, stale, err)
		return
	}
	l.d.do(func() { st.done++ })
	if l.rng.IntN(50) == 0 { // a tick of the clock, which sweeps what lies behind it
		from := l.soon()
		for _, err := range l.s.Wake(ctx, nil, from, from.Add(16*time.Second)) {
			if err != nil {
				l.t.Error(err)
			}
		}
	}
}

// entriesOf are the due entries of a message with these recipients.
func entriesOf(id store.ID, rcpts []store.RcptState) (list []store.Entry) {
	for i, r := range rcpts {
		e := store.Entry{ID: id, Lane: r.Lane, At: r.Next}
		switch r.Result {
		case 0:
			e.Lane, e.At = "", base
		case message.Deferred:
		default:
			continue
		}
		k := slices.IndexFunc(list, func(h store.Entry) bool { return h.Lane == e.Lane && h.At.Equal(e.At) })
		if k < 0 {
			list = append(list, e)
			k = len(list) - 1
		}
		list[k].Rcpts = append(list[k].Rcpts, uint16(i))
	}
	return list
}
