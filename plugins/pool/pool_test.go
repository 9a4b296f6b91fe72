package pool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
)

type thing struct{ closed bool }

func things(instances int, now func() time.Time) *Pool[*thing] {
	return New(Options[*thing]{Instances: instances, Now: now, Make: func(time.Time) (*thing, error) { return &thing{}, nil }, Close: func(x *thing) { x.closed = true }})
}

func TestPool(t *testing.T) {
	now := time.Unix(0, 0)
	p := things(2, func() time.Time { return now })
	want := func(s Stats) {
		t.Helper()
		if got := p.Stats(); got != s {
			t.Errorf("got %+v, want %+v", got, s)
		}
	}
	get := func() *thing {
		t.Helper()
		in, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	a, b := get(), get()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Get(ended); !errors.Is(err, breaker.Busy) {
		t.Errorf("a third instance: %v", err)
	}
	want(Stats{InUse: 2, Created: 2, Busy: 1})

	p.Put(a, false, now)
	now = now.Add(time.Second)
	p.Put(b, false, now)
	if in := get(); in != b {
		t.Error("the newest instance is not used first")
	}
	want(Stats{InUse: 1, Idle: 1, Created: 2, Busy: 1})
	p.Put(b, true, now)
	want(Stats{Idle: 1, Created: 2, Dropped: 1, Busy: 1})
	if !b.closed {
		t.Error("one that failed is not closed")
	}
	now = now.Add(2 * time.Minute)
	p.Trim()
	want(Stats{Created: 2, Dropped: 1, Busy: 1})

	a, b = get(), get()
	p.Put(a, false, now)
	now = now.Add(2 * time.Minute)
	p.Put(b, false, now)
	want(Stats{Idle: 1, Created: 4, Dropped: 1, Busy: 1})
	if !a.closed || b.closed {
		t.Error("Put closes the wrong instance")
	}

	c := get()
	p.Close()
	if _, err := p.Get(t.Context()); err == nil {
		t.Error("Get works after Close")
	}
	p.Put(c, false, now)
	if !c.closed {
		t.Error("an instance survived Close")
	}
	want(Stats{Created: 4, Dropped: 1, Busy: 1})
}

// TestPoolWaits: waiting for an instance ends when one is put back.
func TestPoolWaits(t *testing.T) {
	p := things(1, nil)
	in, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *thing)
	go func() {
		in, _ := p.Get(context.Background())
		got <- in
	}()
	p.Put(in, false, time.Now())
	if next := <-got; next != in {
		t.Error("the waiting Get got another instance")
	}
}

// TestPoolMakes: the deadline of the call is that of the making, and what could not be made takes no place.
func TestPoolMakes(t *testing.T) {
	var got time.Time
	fails := errors.New("no")
	p := New(Options[*thing]{Instances: 1, Close: func(*thing) {}, Make: func(d time.Time) (*thing, error) { got = d; return nil, fails }})
	if _, err := p.Get(context.Background()); err != fails || !got.IsZero() {
		t.Errorf("%v, deadline %s", err, got)
	}
	want := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), want)
	defer cancel()
	if _, err := p.Get(ctx); err != fails || !got.Equal(want) {
		t.Errorf("%v, deadline %s", err, got)
	}
	if s := p.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
}

func TestPoolConcurrently(t *testing.T) {
	p := things(4, nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 200 {
				in, err := p.Get(context.Background())
				if err != nil || in.closed {
					t.Errorf("%+v, %v", in, err)
					return
				}
				p.Put(in, i%10 == 0, time.Now())
			}
		})
	}
	group.Wait()
	if s := p.Stats(); s.Idle > 4 || s.InUse != 0 || s.Dropped != 160 || s.Created != s.Dropped+uint64(s.Idle) {
		t.Errorf("%+v", s)
	}
}

func BenchmarkPool(b *testing.B) {
	p := things(4, nil)
	b.ReportAllocs()
	for b.Loop() {
		in, err := p.Get(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		p.Put(in, false, time.Time{})
	}
}
