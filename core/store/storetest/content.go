package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// sizes lie around the bound between content that is kept with the record and content in a file.
var sizes = []int{0, 1, 4 << 10, 4<<10 + 1, 32<<10 - 1, 32 << 10, 32<<10 + 1, 64 << 10, 1 << 20}

func testContent(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	all := sizes
	if !testing.Short() {
		all = append(all, 60_000_000)
	}
	for _, size := range all {
		content := filler(size, 1)
		b, err := s.Body(ctx, int64(size))
		check(t, err)
		for i, n := 0, 1; i < size; i, n = i+n, n*3+1 { // pieces of many sizes
			n = min(n, size-i)
			piece := append([]byte(nil), content[i:i+n]...)
			if m, err := b.Write(piece); m != n || err != nil {
				t.Fatalf("Write(%d) = %d, %v", n, m, err)
			}
			clear(piece) // the writer must not keep it
		}
		r := b.Content()
		hasContent(t, r, content)
		held := r.Retain()
		check(t, s.Commit(ctx, &message.Envelope{ID: b.ID(), Arrived: base}, b))
		hasContent(t, r, content)
		b.Abort()
		hasContent(t, held, content)
		check(t, held.Close())
		hasStored(t, s, b.ID(), content)
	}
	if d := s.Health().Depth; d != int64(len(all)) {
		t.Errorf("depth is %d, want %d", d, len(all))
	}
}

func testEnvelope(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	env := commit(t, s, 3, []byte("x"), func(e *message.Envelope) {
		e.Params = []smtp.Param{{Key: "BODY", Value: "8BITMIME"}}
		e.Prefix, e.Skip, e.Tenant, e.Generation = []byte("Received: x\r\n"), 12, "acme", 7
		check(t, e.Facts.Set("p.k", int64(5)))
	})
	got, st, err := s.Load(ctx, env.ID)
	check(t, err)
	if !reflect.DeepEqual(got, env) {
		t.Errorf("loaded\n%+v, want\n%+v", got, env)
	}
	if !reflect.DeepEqual(st, &store.State{Rcpts: make([]store.RcptState, 3)}) {
		t.Errorf("a fresh message has the state %+v", st)
	}
	env.Tenant, env.Rcpts[0].By = "changed", "changed"
	if again, _, _ := s.Load(ctx, env.ID); again.Tenant != "acme" || again.Rcpts[0].By != "" {
		t.Error("the store shares memory with the caller's envelope")
	}
}

func testBodyWriter(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	a, err := s.Body(ctx, 0)
	check(t, err)
	b, err := s.Body(ctx, 1<<20)
	check(t, err)
	if a.ID().String() >= b.ID().String() {
		t.Errorf("ids do not rise: %s, %s", a.ID(), b.ID())
	}
	for _, w := range []store.BodyWriter{a, b} {
		_, err := w.Write(filler(50_000, 2))
		check(t, err)
		r := w.Content()
		if _, err := w.Write([]byte("more")); err == nil {
			t.Error("something was written behind the content's end")
		}
		kept := r.Retain()
		w.Abort()
		w.Abort()
		check(t, r.Close())
		hasContent(t, kept, filler(50_000, 2))
		check(t, kept.Close())
		check(t, kept.Close())
		if n, err := kept.ReadAt(make([]byte, 1), 0); n != 0 || err == nil {
			t.Error("a closed content can be read")
		}
		isGone(t, s, w.ID())
	}
}

// testInstead commits a content that took another's place, in all combinations of small and large.
func testInstead(t *testing.T, open Open) {
	h := open(t, Setup{})
	s := h.Store
	const large = 70_000
	kept := map[store.ID][]byte{}
	for _, size := range [][2]int{{10, 20}, {10, large}, {large, 10}, {large, large + 1}} {
		for _, early := range []bool{true, false} { // the first is aborted before the commit, or after
			first, err := s.Body(ctx, 0)
			check(t, err)
			_, err = first.Write(filler(size[0], 1))
			check(t, err)
			if size[0] == large {
				first.Content()
			}
			middle, err := first.Instead(ctx, 0)
			check(t, err)
			_, err = middle.Write(filler(large, 2))
			check(t, err)
			last, err := middle.Instead(ctx, int64(size[1]))
			check(t, err)
			middle.Abort()
			if early {
				first.Abort()
			}
			_, err = last.Write(filler(size[1], 3))
			check(t, err)
			if last.ID() != first.ID() {
				t.Fatalf("%s took the place of %s", last.ID(), first.ID())
			}
			reader := last.Content().Retain()
			check(t, s.Commit(ctx, &message.Envelope{ID: first.ID(), Arrived: base}, last))
			last.Abort()
			first.Abort()
			hasContent(t, reader, filler(size[1], 3))
			check(t, reader.Close())
			kept[first.ID()] = filler(size[1], 3)
		}
	}
	for id, content := range kept {
		hasStored(t, s, id, content)
	}
	if h.Reopen != nil {
		s = h.Reopen()
	}
	for id, content := range kept {
		hasStored(t, s, id, content)
		r, err := s.Open(ctx, id)
		check(t, err)
		stale, err := s.Update(ctx, nil, store.Change{ID: id, Settled: true, Del: []store.Entry{store.FirstEntry(&message.Envelope{ID: id, Arrived: base})}})
		if err != nil || len(stale) > 0 {
			t.Fatal(stale, err)
		}
		hasContent(t, r, content)
		check(t, r.Close())
		isGone(t, s, id)
	}
}

func testBadCommit(t *testing.T, open Open) {
	s, other := open(t, Setup{}).Store, open(t, Setup{}).Store
	b, err := s.Body(ctx, 0)
	check(t, err)
	defer b.Abort()
	_, err = b.Write([]byte("x"))
	check(t, err)
	env := &message.Envelope{ID: b.ID(), Arrived: base}
	if err := s.Commit(ctx, &message.Envelope{Arrived: base}, b); err == nil {
		t.Error("committed under another id")
	}
	if err := other.Commit(ctx, env, b); err == nil {
		t.Error("committed to another store")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Commit(ended, env, b); !errors.Is(err, store.ErrBusy) {
		t.Errorf("committed for nobody: %v", err)
	}
	isGone(t, s, b.ID())
	check(t, s.Commit(ctx, env, b))
	if err := s.Commit(ctx, env, b); err == nil {
		t.Error("committed twice")
	}
	if d := s.Health().Depth; d != 1 {
		t.Errorf("depth is %d", d)
	}
}

func testContentOutlivesMessage(t *testing.T, open Open) {
	s := open(t, Setup{}).Store
	for _, size := range []int{100, 100_000} {
		content := filler(size, 3)
		env := commit(t, s, 1, content, nil)
		r, err := s.Open(ctx, env.ID)
		check(t, err)
		other := r.Retain()
		settle(t, s, env)
		isGone(t, s, env.ID)
		hasContent(t, r, content)
		check(t, r.Close())
		hasContent(t, other, content)
		check(t, other.Close())
	}
}

func testBudget(t *testing.T, open Open) {
	s := open(t, Setup{Budget: 256 << 10, Patience: time.Millisecond}).Store
	for range 2 {
		var open []store.BodyWriter
		for {
			b, err := s.Body(ctx, 0)
			if err == nil {
				open = append(open, b)
				_, err = b.Write(filler(16<<10, 4))
			}
			if errors.Is(err, store.ErrBusy) {
				break
			}
			check(t, err)
			if len(open) > 16 {
				t.Fatal("the budget of 256 KiB holds 17 contents of 16 KiB")
			}
		}
		if len(open) < 8 {
			t.Fatalf("the budget of 256 KiB holds %d contents of 16 KiB", len(open))
		}
		last := open[len(open)-1]
		if n, err := last.Write(make([]byte, 16<<10)); err == nil {
			t.Errorf("%d bytes were written beyond the budget", n)
		}
		if err := s.Commit(ctx, &message.Envelope{ID: last.ID(), Arrived: base}, last); !errors.Is(err, store.ErrBusy) {
			t.Errorf("a content that lacks bytes was committed: %v", err)
		}
		for _, b := range open {
			b.Abort()
			isGone(t, s, b.ID())
		}
	}
	if d := s.Health().Depth; d != 0 {
		t.Errorf("depth is %d", d)
	}
	for range 100 { // what was committed, or read again, holds nothing of the budget
		env := commit(t, s, 1, filler(16<<10, 5), nil)
		r, err := s.Open(ctx, env.ID)
		check(t, err)
		defer r.Close()
	}
}
