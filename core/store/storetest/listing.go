package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// place moves a fresh message to one entry.
func place(t *testing.T, s store.Store, lane store.Lane, second int) store.Entry {
	t.Helper()
	env := commit(t, s, 1, nil, nil)
	e := store.Entry{ID: env.ID, Lane: lane, At: at(second)}
	update(t, s, store.Change{ID: env.ID, Del: []store.Entry{store.FirstEntry(env)}, Add: []store.Entry{e}})
	return e
}

func testDuePages(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	place(t, s, "mx:a", 5) // neighbours that must not show
	place(t, s, "mx:bb", 5)
	var want []store.Entry
	for second := 10; second < 30; second += 2 {
		want = append(want, place(t, s, "mx:b", second), place(t, s, "mx:b", second))
	}
	page := func(after store.Cursor, until time.Time, limit int) ([]store.Entry, store.Cursor) {
		t.Helper()
		got, next, err := s.Due(ctx, nil, "mx:b", after, until, limit)
		check(t, err)
		return got, next
	}

	first, next := page(nil, at(28), 5)
	if !reflect.DeepEqual(first, want[:5]) || next == nil {
		t.Fatalf("first page is %v", first)
	}
	place(t, s, "mx:b", 10) // before the cursor: not seen any more
	inserted := place(t, s, "mx:b", 15)
	settled := want[7]
	update(t, s, store.Change{ID: settled.ID, Rev: 1, Settled: true, Del: []store.Entry{settled}})
	rest := slices.Concat(want[5:6], []store.Entry{inserted}, want[6:7], want[8:])
	var got []store.Entry
	for pages := 0; next != nil; pages++ {
		var p []store.Entry
		p, next = page(next, at(28), 5)
		if got = append(got, p...); pages > 10 || len(p) == 0 || len(p) > 5 {
			t.Fatalf("page of %d", len(p))
		}
	}
	if !reflect.DeepEqual(got, rest) {
		t.Errorf("further pages are\n%v, want\n%v", got, rest)
	}

	if got, next := page(nil, at(12), 100); len(got) != 5 || next != nil || got[4].At != at(12) {
		t.Errorf("until %v: %v, more: %v", at(12), got, next != nil)
	}
	if got, next := page(nil, at(9), 5); len(got) != 0 || next != nil {
		t.Errorf("nothing is due, but %v", got)
	}
	if got, next := page(nil, at(28), 0); len(got) != 1 || next == nil {
		t.Errorf("a page of 0 has %d entries", len(got))
	}
	if _, _, err := s.Due(ctx, nil, "mx:b", store.Cursor("x"), at(28), 5); err == nil {
		t.Error("a cursor of another engine was taken")
	}
}

// testWake compares with a plain list of entries while they come and go and the caller's clock goes on, and once in a while
// back.
func testWake(t *testing.T, open Open) {
	h := open(t, Setup{})
	s := h.Store
	rng := rand.New(rand.NewPCG(3, 4))
	type place struct {
		id   store.ID
		rev  store.Rev
		lane store.Lane
		at   int
	}
	var places []*place
	lanes := []store.Lane{""}
	for i := range 12 {
		lanes = append(lanes, fmt.Sprintf("mx:%c.example", 'a'+i))
	}
	for range 40 {
		env := commit(t, s, 1, nil, nil)
		places = append(places, &place{id: env.ID})
	}
	steps, now := 4000, 0
	if testing.Short() || h.Slow {
		steps = 800
	}
	for step := range steps {
		switch n := rng.IntN(10); {
		case n < 6:
			p := places[rng.IntN(len(places))]
			to := place{p.id, p.rev + 1, lanes[rng.IntN(len(lanes))], max(0, now+rng.IntN(300)-40)}
			update(t, s, store.Change{ID: p.id, Rev: p.rev, Del: []store.Entry{{Lane: p.lane, At: at(p.at)}}, Add: []store.Entry{{Lane: to.lane, At: at(to.at)}}})
			*p = to
		case n < 9:
			from, until := at(now), at(now+rng.IntN(40))
			switch rng.IntN(8) {
			case 0:
				from = time.Time{}
			case 1:
				from = at(now - rng.IntN(400))
			case 2:
				until = until.Add(time.Duration(rng.IntN(3000)) * time.Second)
			}
			got := wake(t, s, from, until)
			for _, p := range places {
				if e := at(p.at); e.After(from) && !e.After(until) && !slices.Contains(got, p.lane) {
					t.Fatalf("step %d: Wake(%v, %v) = %q misses lane %q, due at %v", step, from, until, got, p.lane, e)
				}
			}
			now = int(until.Sub(base) / time.Second)
			if rng.IntN(50) == 0 {
				now = max(0, now-5000)
			}
		case h.Reopen != nil && rng.IntN(40) == 0:
			s = h.Reopen()
		}
	}
}

func testScanWhileDeleting(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	var all []*message.Envelope
	for i := range 50 {
		all = append(all, commit(t, s, 2, nil, nil))
		if i%3 == 0 {
			update(t, s, store.Change{ID: all[i].ID, Rcpts: []store.RcptChange{{Index: 1, RcptState: tried(i, "mx:a")}}})
		}
	}
	seen := map[store.ID]bool{}
	var after store.Cursor
	for pages := 0; ; pages++ {
		items, next, err := s.Scan(ctx, after, 7)
		check(t, err)
		for _, item := range items {
			id := item.Envelope.ID
			i := slices.IndexFunc(all, func(e *message.Envelope) bool { return e.ID == id })
			want := &store.State{Rcpts: make([]store.RcptState, 2)}
			if i%3 == 0 {
				want.Rev, want.Rcpts[1] = 1, tried(i, "mx:a")
			}
			if !reflect.DeepEqual(item.Envelope, all[i]) || !reflect.DeepEqual(item.State, want) {
				t.Errorf("message %d is listed as %+v, %+v", i, item.Envelope, item.State)
			}
			if seen[id] {
				t.Errorf("message %d is listed twice", i)
			}
			seen[id] = true
		}
		// What was just listed goes, the cursor's own message with it, and what comes later in part.
		for _, item := range items {
			update(t, s, store.Change{ID: item.Envelope.ID, Rev: item.State.Rev, Settled: true, Del: []store.Entry{store.FirstEntry(item.Envelope)}})
		}
		if next == nil {
			break
		}
		if after = next; pages > 20 {
			t.Fatal("the scan does not end")
		}
	}
	if len(seen) != 50 || s.Health().Depth != 0 {
		t.Errorf("%d messages were listed, %d are left", len(seen), s.Health().Depth)
	}
	if items, next, err := s.Scan(ctx, nil, 7); len(items) != 0 || next != nil || err != nil {
		t.Errorf("an empty store lists %v, %v", items, err)
	}
	if _, _, err := s.Scan(ctx, store.Cursor("x"), 7); err == nil {
		t.Error("a cursor of another engine was taken")
	}
}

func testOwn(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	leases := 0
	for own, err := range s.Own(ctx) {
		check(t, err)
		leases++
		if b, err := s.Body(ctx, 0); err != nil || b.ID().Shard() != own.Shard() {
			t.Errorf("a body has shard %d, the lease %d: %v", b.ID().Shard(), own.Shard(), err)
		} else {
			b.Abort()
		}
		if !own.Valid(time.Hour) {
			t.Error("the lease is not valid")
		}
		cancel()
	}
	if leases != 1 {
		t.Errorf("%d leases", leases)
	}
}

func testConcurrent(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			content := filler(100+worker*8000, uint64(worker))
			for i := range 20 {
				env := commit(t, s, 1, content, nil)
				hasStored(t, s, env.ID, content)
				if i%2 == 0 {
					update(t, s, store.Change{ID: env.ID, Rcpts: []store.RcptChange{{RcptState: tried(9, "mx:a")}}})
					update(t, s, store.Change{ID: env.ID, Rev: 1, Settled: true, Del: []store.Entry{store.FirstEntry(env)}})
				} else {
					settle(t, s, env)
				}
				if _, _, err := s.Load(ctx, env.ID); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("a settled message loads: %v", err)
				}
				s.Health()
			}
		})
	}
	// Writers for the same message: each revision has one winner.
	shared := commit(t, s, 1, nil, nil)
	won := make(chan store.Rev, 8*50)
	for range 4 {
		wg.Go(func() {
			for range 50 {
				_, st, err := s.Load(ctx, shared.ID)
				if err != nil {
					t.Error(err)
					return
				}
				stale, err := s.Update(ctx, nil, store.Change{ID: shared.ID, Rev: st.Rev, Rcpts: []store.RcptChange{{RcptState: tried(1, "mx:a")}}})
				if err != nil {
					t.Error(err)
				}
				if len(stale) == 0 {
					won <- st.Rev
				}
			}
		})
	}
	wg.Wait()
	close(won)
	revs := map[store.Rev]bool{}
	for r := range won {
		if revs[r] {
			t.Errorf("revision %d was changed twice", r)
		}
		revs[r] = true
	}
	if st := load(t, s, shared.ID); st.Rev != store.Rev(len(revs)) {
		t.Errorf("revision is %d after %d changes", st.Rev, len(revs))
	}
}

func testReopen(t *testing.T, open Open) {
	h := open(t, Setup{})
	if h.Reopen == nil {
		t.Skip("the engine keeps nothing")
	}
	small, big := commit(t, h.Store, 2, filler(100, 1), nil), commit(t, h.Store, 1, filler(100_000, 2), nil)
	gone := commit(t, h.Store, 1, filler(100_000, 3), nil)
	settle(t, h.Store, gone)
	moved := store.Entry{ID: small.ID, Lane: "mx:a", At: at(60), Rcpts: []uint16{1}}
	update(t, h.Store, store.Change{ID: small.ID, Del: []store.Entry{store.FirstEntry(small)}, Add: []store.Entry{moved}, Rcpts: []store.RcptChange{{Index: 1, RcptState: tried(60, "mx:a")}}})
	before := load(t, h.Store, small.ID)
	wake(t, h.Store, at(30), at(50)) // a later start must not depend on what was woken before

	s := h.Reopen()
	hasStored(t, s, small.ID, filler(100, 1))
	hasStored(t, s, big.ID, filler(100_000, 2))
	isGone(t, s, gone.ID)
	if after := load(t, s, small.ID); !reflect.DeepEqual(after, before) {
		t.Errorf("state is %+v, was %+v", after, before)
	}
	if got := lane(t, s, "mx:a", at(60)); !reflect.DeepEqual(got, []store.Entry{moved}) {
		t.Errorf("due are %v", got)
	}
	if got := wake(t, s, time.Time{}, at(60)); !slices.Equal(got, []store.Lane{"", "mx:a"}) {
		t.Errorf("lanes are %q", got)
	}
	if d := s.Health().Depth; d != 2 {
		t.Errorf("depth is %d", d)
	}
	b, err := s.Body(ctx, 0)
	check(t, err)
	defer b.Abort()
	if b.ID().String() <= big.ID.String() {
		t.Errorf("id %s is not behind %s of the time before", b.ID(), big.ID)
	}
}
