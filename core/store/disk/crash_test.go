package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// fate is what a message's owner was told: nothing yet, or that a step is done.
type fate struct {
	env       *message.Envelope
	content   []byte
	begun     bool // Commit was called
	committed bool // it returned nil
	deferring bool
	deferred  bool
	settling  bool // Update was called
	settled   bool // it returned nil
}

// diary holds the fates of all messages. A copy of it taken before a crash image says what the image must hold.
type diary struct {
	mu    sync.Mutex
	fates map[store.ID]*fate
}

func (d *diary) note(id store.ID, change func(*fate)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.fates[id]
	if f == nil {
		f = &fate{}
		d.fates[id] = f
	}
	change(f)
}

func (d *diary) copy() map[store.ID]fate {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(map[store.ID]fate, len(d.fates))
	for id, f := range d.fates {
		c[id] = *f
	}
	return c
}

var crashContent = bytes.Repeat([]byte("0123456789abcdef"), 16<<10)

// crashClasses are so small that all of them, and files, are in a test.
var crashClasses = [classes]int64{48 << 10, 96 << 10, 192 << 10}

// crashSize is a size of content of any kind.
func crashSize(rng *rand.Rand) int {
	switch rng.IntN(12) {
	case 0, 1:
		return maxInline + rng.IntN(50_000)
	case 2:
		return maxInline + rng.IntN(210_000)
	}
	return rng.IntN(3000)
}

// lately is a content that is read after its message was settled.
type lately struct {
	r    store.BodyReader
	want []byte
}

func (l *lately) check(t *testing.T) {
	got := make([]byte, l.r.Size())
	if n, err := l.r.ReadAt(got, 0); n != len(got) || !bytes.Equal(got, l.want) {
		t.Errorf("a content that is read while its message was settled is another now: %d, %v", n, err)
	}
	l.r.Close()
}

// work commits, defers and settles until stop is closed.
func (d *diary) work(t *testing.T, s *Store, rng *rand.Rand, stop <-chan struct{}) {
	var mine []*fate
	var open []*lately
	defer func() {
		for _, l := range open {
			l.check(t)
		}
	}()
	step := func(c store.Change) bool {
		stale, err := s.Update(ctx, nil, c)
		if err != nil || len(stale) > 0 {
			t.Error(stale, err)
		}
		return err == nil
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		if len(mine) > 5 && rng.IntN(2) == 0 {
			i := rng.IntN(len(mine))
			f := mine[i]
			id := f.env.ID
			if !f.deferred && rng.IntN(2) == 0 {
				d.note(id, func(f *fate) { f.deferring = true })
				add := store.Entry{Lane: "mx:a", At: base.Add(time.Hour)}
				state := store.RcptChange{RcptState: store.RcptState{Result: message.Deferred, Attempts: 1}}
				step(store.Change{ID: id, Rcpts: []store.RcptChange{state}, Del: []store.Entry{store.FirstEntry(f.env)}, Add: []store.Entry{add}})
				d.note(id, func(f *fate) { f.deferred = true })
				continue
			}
			if rng.IntN(3) == 0 {
				if r, err := s.Open(ctx, id); err != nil {
					t.Error(err)
				} else {
					open = append(open, &lately{r, f.content})
				}
			}
			if len(open) > 3 {
				open[0].check(t)
				open = open[1:]
			}
			d.note(id, func(f *fate) { f.settling = true })
			c := store.Change{ID: id, Settled: true, Del: []store.Entry{store.FirstEntry(f.env), {Lane: "mx:a", At: base.Add(time.Hour)}}}
			if f.deferred {
				c.Rev = 1
			}
			step(c)
			d.note(id, func(f *fate) { f.settled = true })
			mine = append(mine[:i], mine[i+1:]...)
			continue
		}
		size, hint := crashSize(rng), int64(0)
		if rng.IntN(2) == 0 {
			hint = int64(rng.IntN(2*size + 1))
		}
		b, err := s.Body(ctx, hint)
		if err != nil {
			t.Error(err)
			return
		}
		first := b
		if rng.IntN(4) == 0 { // another content takes its place
			first.Write(crashContent[:crashSize(rng)])
			if b, err = first.Instead(ctx, hint); err != nil {
				t.Error(err)
				return
			}
			if rng.IntN(2) == 0 { // and the first goes early, or late
				first.Abort()
			}
		}
		content := binary.BigEndian.AppendUint64(nil, rng.Uint64())
		content = append(content, crashContent[:size]...)
		if _, err := b.Write(content); err != nil {
			t.Error(err)
		}
		env := envelope(b.ID())
		var own *fate
		d.note(env.ID, func(f *fate) { f.env, f.content, f.begun, own = env, content, rng.IntN(30) > 0, f })
		if own.begun {
			if err := s.Commit(ctx, env, b); err != nil {
				t.Error(err)
				return
			}
			d.note(env.ID, func(f *fate) { f.committed = true })
			mine = append(mine, own)
		}
		b.Abort()
		first.Abort()
	}
}

// TestCrash takes images of what a disk may hold after the power goes, at random moments of a busy store, with any part of
// what was not synced, and starts on each of them.
func TestCrash(t *testing.T) {
	images := 300
	if testing.Short() {
		images = 40
	}
	rng := rand.New(rand.NewPCG(7, 8))
	var lost, undone, ghosts, wrong int
	for images > 0 {
		fs := vfs.NewCrashableMem()
		o := options(t, "/data")
		o.FS, o.slotClasses, o.freeSlots, o.Wipe = fs, crashClasses, 1<<20, images%20 < 10
		if images%40 < 20 { // content does not stay in memory
			o.BodyBudget = 640 << 10
		}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		d := &diary{fates: map[store.ID]*fate{}}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			seed := rng.Uint64()
			wg.Go(func() { d.work(t, s, rand.New(rand.NewPCG(seed, 1)), stop) })
		}
		for range 10 {
			time.Sleep(time.Duration(rng.IntN(4000)) * time.Microsecond) // any moment will do
			before := d.copy()
			image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 25, 50, 75, 100}[rng.IntN(5)], RNG: rng})
			after := d.copy()
			o.FS = image
			restarted, err := Open(o)
			if err != nil {
				t.Fatalf("a start after a crash: %v", err)
			}
			checkSlots(t, restarted, image)
			for range 4 { // what is free is used again
				b, err := restarted.Body(ctx, 0)
				if err == nil {
					b.Write(crashContent[:maxInline+rng.IntN(180_000)])
					err = restarted.Commit(ctx, envelope(b.ID()), b)
					b.Abort()
				}
				if err != nil {
					t.Error(err)
				}
			}
			for id, then := range after {
				was := before[id]
				_, st, err := restarted.Load(ctx, id)
				switch {
				case err != nil && !errors.Is(err, store.ErrNotFound):
					t.Errorf("Load: %v", err)
				case err != nil && was.committed && !then.settling:
					lost++
				case err == nil && was.settled:
					undone++
				case err == nil && !then.begun:
					ghosts++
				case err == nil && was.deferred && st.Rev != 1, err == nil && !then.deferring && st.Rev != 0:
					wrong++
				}
				if err != nil {
					continue
				}
				r, err := restarted.Open(ctx, id)
				if err != nil {
					t.Errorf("a message without content: %v", err)
					continue
				}
				got := make([]byte, r.Size())
				if r.ReadAt(got, 0); !bytes.Equal(got, then.content) {
					t.Errorf("content of %d bytes is another after the crash", len(then.content))
				}
				r.Close()
			}
			checkEntries(t, restarted)
			checkSlots(t, restarted, image)
			if err := restarted.Close(); err != nil {
				t.Error(err)
			}
			images--
		}
		close(stop)
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	if lost+undone+ghosts+wrong > 0 {
		t.Errorf("lost %d, settled but back %d, never committed but there %d, state wrong %d", lost, undone, ghosts, wrong)
	}
}

// checkSlots compares the records with what is in the folders: no two name the same slot or file, each that is named is there, each
// slot that is not is free, and files that are not are removed.
func checkSlots(t *testing.T, s *Store, fs vfs.FS) {
	t.Helper()
	for s.reaper.some() {
	}
	s.looking.Wait()
	items, _, err := s.Scan(ctx, nil, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	used := map[bodyName]bool{}
	for _, it := range items {
		if p, _, _ := s.place(it.Envelope.ID); !p.inline() {
			name := p.name(it.Envelope.ID)
			if used[name] {
				t.Errorf("two messages have their content in %s", s.bodyPath(name))
			}
			used[name] = true
		}
	}
	eventually(t, "the folders hold what is used and what is free", func() bool {
		free := map[bodyName]bool{}
		s.slots.mu.Lock()
		for _, class := range s.slots.free {
			for _, sl := range class {
				if used[sl.name()] || free[sl.name()] {
					t.Errorf("%s is free and used, or free twice", s.bodyPath(sl.name()))
				}
				free[sl.name()] = true
			}
		}
		s.slots.mu.Unlock()
		there := 0
		for i, folder := range append([]string{""}, slotFolders[:]...) {
			names, err := fs.List("/data/body/" + folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				body := bodyName{slot: slotID{class: uint8(i)}}
				if i > 0 {
					body.slot.n, err = strconv.ParseUint(name, 10, slotBits)
				} else if slices.Contains(slotFolders[:], name) {
					continue
				} else {
					body.file, err = message.ParseID(name)
				}
				if err != nil || !used[body] && !free[body] {
					return false
				}
				there++
			}
		}
		return there == len(used)+len(free)
	})
}

// checkEntries compares messages and due entries: each message has one, in its lane, and no entry is without a message.
func checkEntries(t *testing.T, s *Store) {
	t.Helper()
	items, next, err := s.Scan(ctx, nil, 100_000)
	if err != nil || next != nil {
		t.Fatal(next, err)
	}
	entries := 0
	for lane, err := range s.Wake(ctx, nil, time.Time{}, base.Add(time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		page, _, err := s.Due(ctx, nil, lane, nil, base.Add(time.Hour), 100_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			entries++
			_, st, err := s.Load(ctx, e.ID)
			if err != nil || (st.Rev == 0) != (lane == "") {
				t.Errorf("entry in lane %q of a message with state %+v, %v", lane, st, err)
			}
		}
	}
	if entries != len(items) || s.Health().Depth != int64(len(items)) {
		t.Errorf("%d entries of %d messages, depth %d", entries, len(items), s.Health().Depth)
	}
}
