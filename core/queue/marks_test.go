package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// stubborn is a store in which some changes cannot be written.
type stubborn struct {
	store.Store
	mu  sync.Mutex
	bad map[store.ID]bool
}

func (s *stubborn) Update(ctx context.Context, own store.Lease, ch ...store.Change) ([]store.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range ch {
		if s.bad[c.ID] {
			return nil, errors.New("bad block")
		}
	}
	return s.Store.Update(ctx, own, ch...)
}

func TestOneChangeThatCannotBeWrittenHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		st := &stubborn{Store: b.store, bad: map[store.ID]bool{}}
		b.store = st
		b.start()
		block := make(chan struct{})
		b.remote.blocked(block)
		bad := b.send(nil, "bad@one.example")
		st.mu.Lock()
		st.bad[bad] = true
		st.mu.Unlock()
		for i := range 10 {
			b.send(nil, fmt.Sprintf("u%d@one.example", i))
		}
		synctest.Wait()
		close(block)
		time.Sleep(time.Minute)
		expect(t, "store", b.states(), "bad@one.example fresh")
		if n := b.q.flights.count(); n != 0 {
			t.Errorf("%d flights are left", n)
		}
		b.stop()
	})
}

// slowStore is a store whose synced writes of outcomes take a while, and which notes when they are durable.
type slowStore struct {
	store.Store
	takes time.Duration

	mu      sync.Mutex
	durable map[store.ID]time.Time
	batches []int
}

func (s *slowStore) Update(ctx context.Context, own store.Lease, ch ...store.Change) ([]store.ID, error) {
	time.Sleep(s.takes)
	stale, err := s.Store.Update(ctx, own, ch...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range ch {
		s.durable[c.ID] = time.Now()
	}
	s.batches = append(s.batches, len(ch))
	return stale, err
}

// noting is a remote that notes when it took a message.
type noting struct {
	mu   sync.Mutex
	took map[store.ID]time.Time
}

func (n *noting) Send(_ context.Context, j *deliver.Job) []message.Outcome {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took[j.Env.ID] = time.Now()
	return all(len(j.Rcpts), yes)
}

// TestMarksAreDurableWithin5ms: that somebody took a message is durable 5 ms later, on a disk whose synced writes take half of
// that, however much is going on; and under load marks share their syncs.
func TestMarksAreDurableWithin5ms(t *testing.T) {
	const takes = 2500 * time.Microsecond
	for _, c := range []struct {
		name     string
		messages int
		gap      time.Duration // between two messages, at most
		share    int           // marks a write, at least, on average
	}{
		{"idle", 20, time.Second, 1},
		{"load", 2000, time.Millisecond, 4},
		{"heavy load", 4000, 60 * time.Microsecond, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				st, remote := &slowStore{Store: b.store, takes: takes, durable: map[store.ID]time.Time{}}, &noting{took: map[store.ID]time.Time{}}
				b.store, b.sender = st, remote
				b.start()
				rng := rand.New(rand.NewPCG(1, 2))
				for range c.messages {
					b.send(nil, "u@one.example")
					time.Sleep(time.Duration(rng.Int64N(int64(c.gap))))
				}
				time.Sleep(time.Second)
				b.stop()
				var longest time.Duration
				for id, took := range remote.took {
					at, ok := st.durable[id]
					if !ok {
						t.Fatal("a mark was never written")
					}
					longest = max(longest, at.Sub(took))
				}
				share := float64(c.messages) / float64(len(st.batches))
				t.Logf("%d marks, %.1f a write, durable after at most %s", len(remote.took), share, longest)
				if len(remote.took) != c.messages || longest > 5*time.Millisecond || share < float64(c.share) {
					t.Errorf("%d of %d were taken, want at most 5ms and at least %d marks a write", len(remote.took), c.messages, c.share)
				}
			})
		})
	}
}
