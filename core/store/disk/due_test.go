package disk

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// waiting puts a message in each of n lanes, due second seconds after base.
func waiting(t *testing.T, s *Store, name string, n, second int) []store.Lane {
	t.Helper()
	var lanes []store.Lane
	for i := range n {
		env := mustCommit(t, s, nil)
		lane := fmt.Sprintf("%s%02d", name, i)
		e := store.Entry{Lane: lane, At: base.Add(time.Duration(second) * time.Second)}
		if stale, err := s.Update(ctx, nil, store.Change{ID: env.ID, Del: []store.Entry{store.FirstEntry(env)}, Add: []store.Entry{e}}); err != nil || stale != nil {
			t.Fatal(stale, err)
		}
		lanes = append(lanes, lane)
	}
	return lanes
}

func woken(t *testing.T, s *Store, from, until time.Time) []store.Lane {
	t.Helper()
	var lanes []store.Lane
	for lane, err := range s.Wake(ctx, nil, from, until) {
		if err != nil {
			t.Fatal(err)
		}
		lanes = append(lanes, lane)
	}
	slices.Sort(lanes)
	return lanes
}

func buckets(t *testing.T, s *Store) int {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyWake}, UpperBound: []byte{keyWake + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := 0
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	return n
}

func TestWakeSweepsWhatIsBehind(t *testing.T) {
	now := base.Add(time.Hour)
	o := options(t, "/data")
	o.FS = vfs.NewMem()
	o.Now = func() time.Time { return now }
	s := mustOpen(t, o)
	past, soon, later := waiting(t, s, "past", 3, 10), waiting(t, s, "soon", 3, 100), waiting(t, s, "later", 3, 100_000)
	expect := func(what string, from, until int, want ...[]store.Lane) {
		t.Helper()
		all := slices.Concat(want...)
		slices.Sort(all)
		if got := woken(t, s, base.Add(time.Duration(from)*time.Second), base.Add(time.Duration(until)*time.Second)); !slices.Equal(got, all) {
			t.Errorf("%s: %q, want %q", what, got, all)
		}
	}
	if n := buckets(t, s); n != 9 {
		t.Errorf("%d buckets", n)
	}
	expect("the next minute", 64, 110, soon)
	if n := buckets(t, s); n != 6 {
		t.Errorf("%d buckets after the first were passed", n)
	}
	expect("from before the sweep", 0, 110, past, soon)
	expect("a long time", 50, 200_000, soon, later)

	s.Close()
	s = mustOpen(t, o)
	expect("from before the sweep, after a restart", 0, 110, past, soon)
	expect("by buckets, after a restart", 64, 110, soon)

	// A caller whose clock is far ahead must not empty the index for the others.
	if got := woken(t, s, base.Add(90_000*time.Second), base.Add(100_010*time.Second)); !slices.Equal(got, later) {
		t.Errorf("far ahead: %q", got)
	}
	if b := s.swept.boundary(); b > store.DueSecond(now)/bucketLen {
		t.Errorf("swept up to %d, the clock says %d", b, store.DueSecond(now)/bucketLen)
	}

	// The clock goes back behind the sweep, and the store restarts: buckets ahead of it are there again.
	s.Close()
	now = base.Add(-time.Hour)
	s = mustOpen(t, o)
	if b := s.swept.boundary(); b != store.DueSecond(now)/bucketLen {
		t.Errorf("swept up to %d, the clock says %d", b, store.DueSecond(now)/bucketLen)
	}
	if n := buckets(t, s); n != 9 {
		t.Errorf("%d buckets, not all are there again", n)
	}
	expect("after the clock went back", 0, 110, past, soon)
}

// TestWakeDoesNotStepThroughEntries gives one lane many entries that are not due: waking another must not read them.
func TestWakeSeeksFromLaneToLane(t *testing.T) {
	o := options(t, "/data")
	o.FS = vfs.NewMem()
	s := mustOpen(t, o)
	batch := s.db.NewBatch()
	var id store.ID
	for i := range 20_000 {
		binary.BigEndian.PutUint32(id[:], uint32(i))
		batch.Set(dueKey("mx:big", uint32(i), id), nil, nil)
	}
	batch.Set(dueKey("mx:small", 7_000, id), nil, nil)
	if err := s.db.Apply(batch, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var lanes []store.Lane
	if _, err := s.wakeFromEntries(it, 6_000, 8_000, func(l store.Lane, err error) bool { lanes = append(lanes, l); return true }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lanes, []store.Lane{"mx:big", "mx:small"}) {
		t.Errorf("lanes are %q", lanes)
	}
	st := it.Stats()
	if steps := st.ForwardStepCount[pebble.InterfaceCall] + st.ForwardSeekCount[pebble.InterfaceCall]; steps > 10 {
		t.Errorf("%d steps for two lanes", steps)
	}
}

func TestWakeStopsWhenItsConsumerDoes(t *testing.T) {
	o := options(t, "/data")
	o.FS = vfs.NewMem()
	s := mustOpen(t, o)
	waiting(t, s, "a", 5, 10)
	mustCommit(t, s, nil)
	for _, from := range []time.Time{{}, base, base.Add(-time.Second)} {
		n := 0
		for range s.Wake(ctx, nil, from, base.Add(20*time.Second)) {
			if n++; n == 2 {
				break
			}
		}
		if n != 2 {
			t.Errorf("%d lanes", n)
		}
		for range s.Wake(ctx, nil, from, base.Add(20*time.Second)) {
			break
		}
	}
}
