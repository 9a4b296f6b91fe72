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
			var all []string                                         // local parts
			given, forgotten := map[string]bool{}, map[string]bool{} // local parts that were given up, and those of whole messages that were deleted
			for i := range 10 {
				var rcpts []string
				for k := range 1 + rng.IntN(4) {
					rcpts = append(rcpts, fmt.Sprintf("m%d.%d@d%d.example", i, k, rng.IntN(3)))
					all = append(all, fmt.Sprintf("m%d.%d", i, k))
				}
				ids = append(ids, b.send(func(e *message.Envelope) { e.Sender = smtp.Address{} }, rcpts...))
			}
			for range 400 {
				var chosen []Choice
				for _, k := range rng.Perm(len(ids))[:1+rng.IntN(4)*rng.IntN(3)] {
					var some []string
					if rng.IntN(2) == 0 {
						some = []string{fmt.Sprintf("*@d%d.example", rng.IntN(3))}
					}
					if c, err := b.choice(ids[k], some...); err == nil && len(c.Rcpts) > 0 {
						chosen = append(chosen, c)
					}
				}
				o := Order{Verb: Hold, Dry: rng.IntN(20) == 0}
				switch n := rng.IntN(100); {
				case n < 40:
				case n < 75:
					o.Verb = Release
				case n < 95:
					o.Verb = Retry
				case n < 97:
					o.Verb = Bounce
				case n < 98:
					o.Verb = Delete
				case n < 99:
					chosen = nil
					b.suspend([]string{SuspendDomain, SuspendNextHop}[rng.IntN(2)], fmt.Sprintf("*d%d.example", rng.IntN(3)), time.Duration(rng.IntN(60))*time.Second)
				default:
					chosen = nil
					b.stop()
					b.start()
				}
				for k, d := range b.q.Handle(t.Context(), o, chosen) {
					if no := Refused(""); d.Err != nil && !errors.As(d.Err, &no) && !errors.Is(d.Err, store.ErrNotFound) {
						t.Fatal(d.Err)
					}
					if d.Err != nil || o.Dry || o.Verb != Bounce && o.Verb != Delete {
						continue
					}
					env := chosen[k].Envelope
					whose := d.Rcpts
					if len(whose) == 0 { // all of the message, what is in an attempt, too
						for _, r := range env.Rcpts {
							forgotten[r.Address.Local] = true
						}
					}
					for _, i := range whose {
						given[env.Rcpts[i].Address.Local] = true
					}
				}
				time.Sleep(time.Duration(rng.IntN(4)) * 250 * time.Millisecond)
			}
			for _, id := range ids {
				_ = b.hand(Order{Verb: Release}, id)
			}
			for _, s := range b.q.Suspensions() {
				if err := b.q.Resume(t.Context(), s.Kind, s.Name); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(10 * time.Minute)
			expect(t, "store", b.states())
			b.sound()
			for _, who := range all {
				switch n := sender.took[who]; {
				case n > 1:
					t.Errorf("seed %d: %s came %d times", seed, who, n)
				case n > 0 && given[who]:
					t.Errorf("seed %d: %s came, and was given up", seed, who)
				case n == 0 && !given[who] && !forgotten[who]:
					t.Errorf("seed %d: %s never came", seed, who)
				}
			}
			b.stop()
		})
	}
}
