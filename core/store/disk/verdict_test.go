package disk

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// verdict counts what is wrong with what a crash left.
type verdict struct {
	lost     int // messages that were committed, and are not there
	untrue   int // of these, those that nothing but the commit was answered of: wrong 250s
	repeated int // answered steps that are undone: what was settled or moved is tried again
	damaged  int // contents that are not what was written
	unopened int // stores that did not open
	other    int // messages that were never committed, states and entries of no step, notices without the end of their debt
	first    string
}

func (v *verdict) say(n *int, format string, args ...any) {
	if *n++; v.first == "" {
		v.first = fmt.Sprintf(format, args...)
	}
}

func (v *verdict) wrong() bool { return v.lost+v.repeated+v.damaged+v.unopened+v.other > 0 }

func (v *verdict) add(w *verdict) {
	v.lost, v.untrue, v.repeated, v.damaged, v.unopened, v.other = v.lost+w.lost, v.untrue+w.untrue, v.repeated+w.repeated, v.damaged+w.damaged, v.unopened+w.unopened, v.other+w.other
	if v.first == "" {
		v.first = w.first
	}
}

// judge compares a store with what its clients were told. Afterwards the diary, a copy, knows what is the case, so that life can go
// on from there.
func (d *chronicle) judge(s store.Store, v *verdict) {
	items, more, err := s.Scan(ctx, nil, 100_000)
	if err != nil || more != nil {
		v.say(&v.other, "Scan: more %v, %v", more, err)
		return
	}
	entries := d.judgeEntries(s, v)
	have := map[store.ID]*store.State{}
	for _, it := range items {
		have[it.Envelope.ID] = it.State
		if d.stories[it.Envelope.ID] == nil {
			v.say(&v.other, "a message %s is there of which nobody knows", it.Envelope.ID)
		}
	}
	if depth := s.Health().Depth; depth != int64(len(items)) {
		v.say(&v.other, "depth is %d with %d messages", depth, len(items))
	}
	is := map[store.ID]int{} // after which step each is
	for id, st := range d.stories {
		state, at := have[id], -1
		for k := st.done; k <= st.begun; k++ {
			if st.matches(k, state, entries[id]) {
				at = k
				break
			}
		}
		switch {
		case at >= 0:
		case state == nil && st.done > 0:
			if v.say(&v.lost, "message %s is not there, after %d steps that were answered", id, st.done); st.done == 1 {
				v.untrue++
			}
		case st.begun == 0:
			v.say(&v.other, "message %s is there, and was never committed", id)
		default:
			for k := range st.done {
				if st.matches(k, state, entries[id]) {
					v.say(&v.repeated, "message %s is as after step %d of %d that were answered", id, k, st.done)
					at = k
				}
			}
			if at < 0 {
				v.say(&v.other, "message %s is as after none of its steps: %+v with %+v, steps %+v", id, state, entries[id], st.steps)
			}
		}
		is[id] = at
		delete(entries, id)
		if state != nil {
			d.judgeContent(s, st, v)
		}
	}
	for id, list := range entries {
		v.say(&v.other, "entries of no message: %s %+v", id, list)
	}
	for id, st := range d.stories {
		if st.with == nil || is[id] < 0 {
			continue
		}
		of, there := is[st.with.env.ID]
		if there && of >= 0 && (is[id] > 0) != (of >= st.withStep) {
			v.say(&v.other, "notice %s is after step %d, and its message after %d, where the debt ends with %d", id, is[id], of, st.withStep)
		}
	}
	for id, at := range is {
		st := d.stories[id]
		if st.begun, st.done = at, at; at <= 0 || st.steps[at-1].gone {
			delete(d.stories, id)
		} else {
			st.steps = slices.Clip(st.steps[:at])
		}
	}
}

// matches tells whether a message looks as after so many steps.
func (s *story) matches(steps int, state *store.State, entries []store.Entry) bool {
	if steps == 0 || s.steps[steps-1].gone {
		return state == nil
	}
	want := s.steps[steps-1]
	if state == nil || state.Rev != want.rev || state.Held != want.held || len(entries) != len(want.entries) || !reflect.DeepEqual(state.Rcpts, want.rcpts) {
		return false
	}
	for _, e := range want.entries {
		if !slices.ContainsFunc(entries, func(h store.Entry) bool {
			return h.Lane == e.Lane && h.At.Equal(e.At) && (len(h.Rcpts) == 0 && len(e.Rcpts) == len(s.env.Rcpts) || slices.Equal(h.Rcpts, e.Rcpts))
		}) {
			return false
		}
	}
	return true
}

// judgeEntries reads all due entries, and compares the two ways to find their lanes.
func (d *chronicle) judgeEntries(s store.Store, v *verdict) map[store.ID][]store.Entry {
	found, end := map[store.ID][]store.Entry{}, base.Add(601*time.Second)
	soon := map[store.Lane]bool{} // with something due in what the buckets cover
	for lane, err := range s.Wake(ctx, nil, time.Time{}, end) {
		if err != nil {
			v.say(&v.other, "Wake: %v", err)
			return found
		}
		page, _, err := s.Due(ctx, nil, lane, nil, end, 100_000)
		if err != nil {
			v.say(&v.other, "Due: %v", err)
		}
		for _, e := range page {
			found[e.ID] = append(found[e.ID], e)
			soon[lane] = true
		}
	}
	for lane, err := range s.Wake(ctx, nil, base.Add(-time.Second), end) {
		if err != nil {
			v.say(&v.other, "Wake: %v", err)
		}
		delete(soon, lane)
	}
	if len(soon) > 0 {
		v.say(&v.lost, "lanes with something due are not woken: %v", slices.Collect(maps.Keys(soon)))
	}
	return found
}

func (d *chronicle) judgeContent(s store.Store, st *story, v *verdict) {
	r, err := s.Open(ctx, st.env.ID)
	if err != nil {
		v.say(&v.damaged, "message %s of %d octets is there, its content is not: %v", st.env.ID, len(st.content), err)
		return
	}
	defer r.Close()
	got := r.Bytes()
	if got == nil {
		got = make([]byte, r.Size())
		if n, err := r.ReadAt(got, 0); n != len(got) {
			v.say(&v.damaged, "message %s: %d octets of %d can be read: %v", st.env.ID, n, len(got), err)
			return
		}
	}
	if !bytes.Equal(got, st.content) {
		v.say(&v.damaged, "message %s has another content of %d octets, not its own of %d", st.env.ID, len(got), len(st.content))
	}
}
