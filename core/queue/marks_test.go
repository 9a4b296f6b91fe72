package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
