package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/store"
)

// slow is a world that takes its time and defers every other recipient.
type slow struct {
	mu   sync.Mutex
	rng  *rand.Rand
	took map[string]int // local part -> how often it was delivered
}

func (s *slow) Send(ctx context.Context, j *deliver.Job) []message.Outcome {
	s.mu.Lock()
	wait := time.Duration(s.rng.IntN(9)) * 250 * time.Millisecond
	s.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return all(len(j.Rcpts), interrupted)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := all(len(j.Rcpts), later)
	for k, i := range j.Rcpts {
		if s.rng.IntN(2) == 0 {
			out[k] = yes
			s.took[j.Env.Rcpts[i].Address.Local]++
		}
	}
	return out
}

// TestHandsAtRandom gives commands at random while messages are delivered, deferred and restarted: what was not deleted is
// delivered exactly once, and what is on disk always agrees with the states.
func TestHandsAtRandom(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			b := newBench(t)
			b.set.Concurrency = 2
			b.set.Retry = []time.Duration{time.Second, 3 * time.Second, 10 * time.Second}
			sender := &slow{rng: rand.New(rand.NewPCG(seed, 2)), took: map[string]int{}}
			b.sender = sender
			b.start()
			var ids []store.ID
			deleted := map[store.ID]bool{}
			for i := range 10 {
				var rcpts []string
				for k := range 1 + rng.IntN(4) {
					rcpts = append(rcpts, fmt.Sprintf("m%d.%d@d%d.example", i, k, rng.IntN(3)))
				}
				ids = append(ids, b.send(func(e *message.Envelope) { e.Sender = smtp.Address{} }, rcpts...))
			}
			for range 400 {
				id := ids[rng.IntN(len(ids))]
				var err error
				switch n := rng.IntN(100); {
				case n < 40:
					err = b.q.Hold(t.Context(), id, "")
				case n < 75:
					err = b.q.Release(t.Context(), id)
				case n < 97:
					err = b.q.Retry(t.Context(), id)
				case n < 98:
					if err = b.q.Delete(t.Context(), id); err == nil {
						deleted[id] = true
					}
				default:
					b.stop()
					b.start()
				}
				if no := Refused(""); err != nil && !errors.As(err, &no) && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rng.IntN(4)) * 250 * time.Millisecond)
			}
			for _, id := range ids {
				_ = b.q.Release(t.Context(), id)
			}
			time.Sleep(10 * time.Minute)
			expect(t, "store", b.states())
			b.sound()
			for i, id := range ids {
				for who, n := range sender.took {
					if strings.HasPrefix(who, fmt.Sprintf("m%d.", i)) && n > 1 {
						t.Errorf("seed %d: %s came %d times", seed, who, n)
					}
				}
				if sender.took[fmt.Sprintf("m%d.0", i)] == 0 && !deleted[id] {
					t.Errorf("seed %d: m%d.0 never came", seed, i)
				}
			}
			b.stop()
		})
	}
}
