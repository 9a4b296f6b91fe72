package storetest

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

func testFirstEntry(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	now := commit(t, s, 1, nil, func(e *message.Envelope) { e.Arrived = at(0).Add(time.Millisecond) })
	later := commit(t, s, 1, nil, func(e *message.Envelope) { e.NotBefore = at(3600) })
	held := commit(t, s, 1, nil, func(e *message.Envelope) { e.Hold = "looks odd" })
	b, err := s.Body(ctx, 0)
	check(t, err)
	defer b.Abort()
	own := &message.Envelope{ID: b.ID(), Arrived: at(7200), Hold: "looks odd", Rcpts: later.Rcpts}
	check(t, s.Commit(ctx, own, b, store.Change{ID: own.ID, Add: []store.Entry{{Lane: "look", At: at(100)}}}))
	if got := lane(t, s, "look", at(100)); !reflect.DeepEqual(got, []store.Entry{{ID: own.ID, Lane: "look", At: at(100)}}) {
		t.Errorf("a commit with an entry of its own left %v", got)
	}
	if got := wake(t, s, at(90), at(110)); !slices.Equal(got, []store.Lane{"look"}) {
		t.Errorf("Wake finds %q", got)
	}
	if st := load(t, s, own.ID); st.Rev != 0 {
		t.Errorf("an entry of its own made the revision %d", st.Rev)
	}
	update(t, s, store.Change{ID: own.ID, Settled: true, Del: []store.Entry{{Lane: "look", At: at(100)}}})
	want := []store.Entry{store.FirstEntry(now), store.FirstEntry(later)}
	if got := lane(t, s, "", at(3600)); !reflect.DeepEqual(got, want) {
		t.Errorf("due are %v, want %v", got, want)
	}
	if got := lane(t, s, "", at(0)); len(got) != 0 {
		t.Errorf("due before the second is over: %v", got)
	}
	if st := load(t, s, held.ID); st.Held != "looks odd" || st.Rev != 0 {
		t.Errorf("a message held from the start has the state %+v", st)
	}
	for _, c := range []struct {
		from, until time.Time
		want        []store.Lane
	}{
		{time.Time{}, at(0), nil},
		{time.Time{}, at(1), []store.Lane{""}},
		{at(0), at(1), []store.Lane{""}},
		{at(3599), at(3600), []store.Lane{""}},
	} {
		if got := wake(t, s, c.from, c.until); !slices.Equal(got, c.want) {
			t.Errorf("Wake(%v, %v) = %q, want %q", c.from, c.until, got, c.want)
		}
	}
}

// tried is the state of a recipient after a deferral.
func tried(next int, lane store.Lane) store.RcptState {
	return store.RcptState{Result: message.Deferred, Attempts: 1, First: at(1), Next: at(next), Lane: lane,
		Last: message.Last{Code: 451, Enhanced: "4.7.1", Host: "mx.example.net[192.0.2.9]:25", Text: "come back"}}
}

func testUpdate(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 3, []byte("x"), nil)
	delivered := store.RcptState{Result: message.Delivered, Attempts: 1, First: at(1), Last: message.Last{Code: 250}}
	failed := store.RcptState{Result: message.Failed, Attempts: 1, First: at(1), Last: message.Last{Code: 550, Text: "no"}, Owed: true}

	update(t, s, store.Change{
		ID:    env.ID,
		Rcpts: []store.RcptChange{{Index: 0, RcptState: delivered}, {Index: 2, RcptState: tried(300, "mx:c")}},
		Del:   []store.Entry{store.FirstEntry(env)},
		Add:   []store.Entry{{Lane: "mx:b", At: at(1), Rcpts: []uint16{1}}, {Lane: "mx:c", At: at(300), Rcpts: []uint16{2}}},
	})
	want := &store.State{Rev: 1, Rcpts: []store.RcptState{delivered, {}, tried(300, "mx:c")}}
	if st := load(t, s, env.ID); !reflect.DeepEqual(st, want) {
		t.Errorf("partial success left\n%+v, want\n%+v", st, want)
	}
	if got := lane(t, s, "", at(9999)); len(got) != 0 {
		t.Errorf("the first entry is still there: %v", got)
	}
	wantEntries := []store.Entry{{ID: env.ID, Lane: "mx:c", At: at(300), Rcpts: []uint16{2}}}
	if got := lane(t, s, "mx:c", at(300)); !reflect.DeepEqual(got, wantEntries) {
		t.Errorf("due are %v, want %v", got, wantEntries)
	}

	update(t, s, store.Change{
		ID:    env.ID,
		Rev:   1,
		Rcpts: []store.RcptChange{{Index: 1, RcptState: failed}},
		Del:   []store.Entry{{Lane: "mx:b", At: at(1)}},
	})
	want.Rev, want.Rcpts[1] = 2, failed
	if st := load(t, s, env.ID); !reflect.DeepEqual(st, want) {
		t.Errorf("the second change left\n%+v, want\n%+v", st, want)
	}
	hasStored(t, s, env.ID, []byte("x"))

	update(t, s, store.Change{ID: env.ID, Rev: 2, Settled: true, Del: []store.Entry{{Lane: "mx:c", At: at(300)}}})
	isGone(t, s, env.ID)
	if lanes := wake(t, s, time.Time{}, at(9999)); len(lanes) != 0 {
		t.Errorf("lanes are left: %q", lanes)
	}
	if d := s.Health().Depth; d != 0 {
		t.Errorf("depth is %d", d)
	}
}

func testStale(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env, other := commit(t, s, 1, nil, nil), commit(t, s, 1, nil, nil)
	step := func(id store.ID, rev store.Rev, text string) store.Change {
		st := tried(60, "mx:a")
		st.Last.Text = text
		return store.Change{ID: id, Rev: rev, Rcpts: []store.RcptChange{{RcptState: st}}, Add: []store.Entry{{Lane: "mx:" + text, At: at(60)}}}
	}
	expect := func(what string, want []store.ID, ch ...store.Change) {
		t.Helper()
		stale, err := s.Update(ctx, nil, ch...)
		check(t, err)
		if !slices.Equal(stale, want) {
			t.Errorf("%s: stale are %v, want %v", what, stale, want)
		}
	}
	expect("the first writer", nil, step(env.ID, 0, "first"))
	expect("the late writer, beside one that is not", []store.ID{env.ID}, step(env.ID, 0, "late"), step(other.ID, 0, "other"))
	expect("a revision that never was", []store.ID{env.ID}, step(env.ID, 7, "early"))
	expect("settling by a late writer", []store.ID{env.ID}, store.Change{ID: env.ID, Settled: true})
	if st := load(t, s, env.ID); st.Rev != 1 || st.Rcpts[0].Last.Text != "first" {
		t.Errorf("a stale change was written: %+v", st)
	}
	if lanes := wake(t, s, at(0), at(100)); !slices.Equal(lanes, []store.Lane{"mx:first", "mx:other"}) {
		t.Errorf("a stale change made due entries: %q", lanes)
	}
	expect("after reloading", nil, step(env.ID, 1, "again"))
	expect("settling", nil, store.Change{ID: env.ID, Rev: 2, Settled: true})
	expect("after the end", []store.ID{env.ID}, step(env.ID, 2, "dead"))
	expect("from the start, after the end", []store.ID{env.ID}, step(env.ID, 0, "dead"))
	isGone(t, s, env.ID)
	if d := s.Health().Depth; d != 1 {
		t.Errorf("depth is %d", d)
	}
}

func testEntries(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 5, nil, nil)
	first := store.FirstEntry(env)
	rev := store.Rev(0)
	change := func(what string, del, add []store.Entry, want ...store.Entry) {
		t.Helper()
		update(t, s, store.Change{ID: env.ID, Rev: rev, Del: del, Add: add})
		rev++
		for i := range want {
			want[i].ID = env.ID
		}
		var got []store.Entry
		for _, name := range wake(t, s, time.Time{}, at(9999)) {
			got = append(got, lane(t, s, name, at(9999))...)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: due are\n%v, want\n%v", what, got, want)
		}
	}
	e := func(lane string, second int, rcpts ...uint16) store.Entry {
		return store.Entry{Lane: lane, At: at(second), Rcpts: rcpts}
	}
	change("add beside the first", nil, []store.Entry{e("a", 5, 3, 1)}, first, e("a", 5, 1, 3))
	change("more recipients at the same time", nil, []store.Entry{e("a", 5, 0, 3)}, first, e("a", 5, 0, 1, 3))
	change("twice in one change", []store.Entry{first}, []store.Entry{e("b", 5, 2), e("b", 5, 4)}, e("a", 5, 0, 1, 3), e("b", 5, 2, 4))
	change("replaced", []store.Entry{e("a", 5)}, []store.Entry{e("a", 5, 4)}, e("a", 5, 4), e("b", 5, 2, 4))
	change("all", nil, []store.Entry{e("a", 5)}, e("a", 5), e("b", 5, 2, 4))
	change("some of all", nil, []store.Entry{e("a", 5, 1)}, e("a", 5), e("b", 5, 2, 4))
	change("delete what is not there", []store.Entry{e("a", 6), e("c", 5)}, nil, e("a", 5), e("b", 5, 2, 4))
	fraction := store.Entry{Lane: "a", At: at(4).Add(time.Microsecond)}
	change("a fraction of a second names the next", []store.Entry{fraction}, nil, e("b", 5, 2, 4))
	change("and is kept as the next", []store.Entry{e("b", 5)}, []store.Entry{fraction}, e("a", 5))
	change("before 1970, after 2106", []store.Entry{e("a", 5)}, []store.Entry{{Lane: "a", At: time.Unix(-5, 0)}, {Lane: "a", At: base.AddDate(300, 0, 0)}},
		store.Entry{Lane: "a", At: time.Unix(0, 0).UTC()})
}

func testSettleWhatIsGone(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 1, nil, nil)
	entry := store.Entry{ID: env.ID, Lane: "mx:a", At: at(60)}
	update(t, s, store.Change{ID: env.ID, Del: []store.Entry{store.FirstEntry(env)}, Add: []store.Entry{entry}})
	update(t, s, store.Change{ID: env.ID, Rev: 1, Settled: true}) // and forgets its entry
	if got := lane(t, s, "mx:a", at(60)); len(got) != 1 {
		t.Fatalf("due are %v", got)
	}
	update(t, s, store.Change{ID: env.ID, Settled: true, Del: []store.Entry{entry}})
	if got := lane(t, s, "mx:a", at(60)); len(got) != 0 {
		t.Errorf("the entry without a message is still there: %v", got)
	}
	if d := s.Health().Depth; d != 0 {
		t.Errorf("depth is %d", d)
	}
}

func testHoldAndRelease(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 1, nil, func(e *message.Envelope) { e.Hold = "from the start" })
	held := func(want string) {
		t.Helper()
		if st := load(t, s, env.ID); st.Held != want {
			t.Errorf("held for %q, want %q", st.Held, want)
		}
	}
	why, none := "by hand", ""
	update(t, s, store.Change{ID: env.ID, Rcpts: []store.RcptChange{{RcptState: tried(60, "mx:a")}}})
	held("from the start")
	update(t, s, store.Change{ID: env.ID, Rev: 1, Held: &none, Add: []store.Entry{{Lane: "mx:a", At: at(60)}}})
	held("")
	update(t, s, store.Change{ID: env.ID, Rev: 2})
	held("")
	update(t, s, store.Change{ID: env.ID, Rev: 3, Held: &why, Del: []store.Entry{{Lane: "mx:a", At: at(60)}}})
	held("by hand")
	if lanes := wake(t, s, time.Time{}, at(9999)); len(lanes) != 0 {
		t.Errorf("a held message is due in %q", lanes)
	}
}

func testTwiceInACall(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 2, nil, nil)
	update(t, s,
		store.Change{ID: env.ID, Rcpts: []store.RcptChange{{Index: 0, RcptState: tried(60, "a")}}, Del: []store.Entry{store.FirstEntry(env)}, Add: []store.Entry{{Lane: "a", At: at(60), Rcpts: []uint16{0}}}},
		store.Change{ID: env.ID, Rev: 1, Rcpts: []store.RcptChange{{Index: 1, RcptState: tried(60, "a")}}, Add: []store.Entry{{Lane: "a", At: at(60), Rcpts: []uint16{1}}}})
	if st := load(t, s, env.ID); st.Rev != 2 || st.Rcpts[0].Attempts != 1 || st.Rcpts[1].Attempts != 1 {
		t.Errorf("state is %+v", st)
	}
	want := []store.Entry{{ID: env.ID, Lane: "a", At: at(60), Rcpts: []uint16{0, 1}}}
	if got := lane(t, s, "a", at(60)); !reflect.DeepEqual(got, want) {
		t.Errorf("due are %v, want %v", got, want)
	}
	stale, err := s.Update(ctx, nil, store.Change{ID: env.ID, Rev: 2, Settled: true, Del: want}, store.Change{ID: env.ID, Rev: 3})
	check(t, err)
	if !slices.Equal(stale, []store.ID{env.ID}) {
		t.Errorf("a change behind the last one: stale are %v", stale)
	}
	isGone(t, s, env.ID)
}

func testBadLane(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 1, nil, nil)
	for _, name := range []string{"a\x00b", strings.Repeat("x", store.MaxLane+1)} {
		if _, err := s.Update(ctx, nil, store.Change{ID: env.ID, Add: []store.Entry{{Lane: name, At: at(1)}}}); err == nil {
			t.Errorf("lane %.10q was taken", name)
		}
	}
	if st := load(t, s, env.ID); st.Rev != 0 {
		t.Error("a refused change was written")
	}
	long := strings.Repeat("x", store.MaxLane)
	update(t, s, store.Change{ID: env.ID, Add: []store.Entry{{Lane: long, At: at(1)}}})
	if got := wake(t, s, at(0), at(1)); !slices.Contains(got, long) {
		t.Error("the longest lane does not wake")
	}
}

// testCommitWithChanges commits a message together with changes of others: both happen, or neither.
func testCommitWithChanges(t *testing.T, open Open) {
	h := open(t, Setup{})
	s := h.Store
	first, second := commit(t, s, 1, nil, nil), commit(t, s, 1, nil, nil)
	with := func(ch ...store.Change) (store.ID, error) {
		t.Helper()
		w, err := s.Body(ctx, 0)
		check(t, err)
		defer w.Abort()
		_, err = w.Write([]byte("a notice"))
		check(t, err)
		return w.ID(), s.Commit(ctx, &message.Envelope{ID: w.ID(), Session: &message.Session{}, Arrived: at(0), Rcpts: []*message.Rcpt{{Address: address("s")}}}, w, ch...)
	}
	done := store.Change{ID: first.ID, Settled: true, Del: []store.Entry{store.FirstEntry(first)}}
	owed := store.RcptState{Result: message.Failed, Attempts: 1}
	told := store.Change{ID: second.ID, Rcpts: []store.RcptChange{{RcptState: owed}}, Del: []store.Entry{store.FirstEntry(second)}}

	stale := told
	stale.Rev = 3
	id, err := with(done, stale)
	if !errors.Is(err, store.ErrStale) {
		t.Fatalf("a commit with a stale change: %v", err)
	}
	isGone(t, s, id)
	if st := load(t, s, first.ID); st.Rev != 0 {
		t.Errorf("half of it was written: %+v", st)
	}
	if _, err := with(told, told); err == nil {
		t.Error("two changes of one message went with a commit")
	}

	id, err = with(done, told)
	check(t, err)
	if h.Reopen != nil {
		s = h.Reopen()
	}
	hasStored(t, s, id, []byte("a notice"))
	isGone(t, s, first.ID)
	if st := load(t, s, second.ID); st.Rev != 1 || st.Rcpts[0].Result != message.Failed {
		t.Errorf("the change was not written: %+v", st)
	}
	if d := s.Health().Depth; d != 2 {
		t.Errorf("depth is %d", d)
	}
}
