package pool

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func in(d time.Duration) time.Time { return time.Now().Add(d) }

func TestQuotaServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(3)
		if !q.Take(3, in(time.Minute)) {
			t.Fatal("what is free is not given")
		}
		var mu sync.Mutex
		var order []int64
		var group sync.WaitGroup
		for i, n := range []int64{2, 3, 1} {
			group.Go(func() {
				if !q.Take(n, in(time.Minute)) {
					t.Errorf("%d was not given", n)
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				q.Give(n)
			})
			if synctest.Wait(); q.Waiting() != i+1 {
				t.Fatalf("%d wait", q.Waiting())
			}
		}
		q.Give(1)
		if q.Waiting() != 3 {
			t.Error("1 of 2 was enough")
		}
		if q.Take(1, in(time.Millisecond)) {
			t.Error("who came last was served first")
		}
		q.Give(2)
		group.Wait()
		if fmt.Sprint(order) != "[2 3 1]" || q.Free() != 3 || q.Waiting() != 0 {
			t.Errorf("served %v, %d are free, %d wait", order, q.Free(), q.Waiting())
		}
	})
}

// TestQuotaGivenUp: who gives up does not hold up those behind.
func TestQuotaGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(2)
		q.Take(1, in(time.Minute))
		done, behind := make(chan bool), make(chan bool)
		go func() { done <- q.Take(2, in(50*time.Millisecond)) }()
		synctest.Wait()
		go func() { behind <- q.Take(1, in(time.Minute)) }()
		if <-done || !<-behind {
			t.Error("2 of 2 were given, or 1 of 1 was not")
		}
		if q.Free() != 0 {
			t.Errorf("%d are free", q.Free())
		}
	})
}

// TestTurnRests: a turn that was used for long rests for twice as long where it is the only one, in the call while that goes on, and
// without it after its end.
func TestTurnRests(t *testing.T) {
	for _, tt := range []struct {
		turns      int
		used, rest time.Duration
	}{
		{1, turnTime - 1, 0}, {1, turnTime, 2 * turnTime}, {1, 3 * time.Millisecond, 6 * time.Millisecond}, {1, time.Second, maxRest},
		{2, 3 * time.Millisecond, 3 * time.Millisecond}, {4, 3 * time.Millisecond, 1500 * time.Microsecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			turns := TurnsFor(tt.turns)
			turn := Turn{Of: turns}
			use := func() {
				if !turn.Enter(in(time.Second)) {
					t.Fatal("no turn")
				}
				time.Sleep(tt.used) // its code runs
			}
			took := func(f func()) time.Duration { begin := time.Now(); f(); return time.Since(begin) }
			use()
			if got := took(func() { turn.Continue(time.Now(), in(time.Hour)) }); got != tt.rest {
				t.Errorf("%+v: a call that goes on rests for %s", tt, got)
			}
			turn.End()
			synctest.Wait()
			use()
			if got := took(turn.End); got != 0 {
				t.Errorf("%+v: the end of a call takes %s", tt, got)
			}
			got := took(func() {
				if !turns.Take(int64(tt.turns), in(time.Hour)) {
					t.Error("the turn is gone")
				}
			})
			if got != tt.rest {
				t.Errorf("%+v: the next has it after %s", tt, got)
			}
		})
	}
}

// TestTurnsArePassedOn: calls that go on for long have turns one after the other, and no more at once than there are.
func TestTurnsArePassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := TurnsFor(1)
		var order []int
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() {
				turn := Turn{Of: turns}
				defer turn.End()
				for range 3 {
					if !turn.Continue(time.Now(), in(time.Minute)) {
						t.Error("no turn")
					}
					order = append(order, i) // safe, for there is one turn
					time.Sleep(turnTime)
				}
			})
			synctest.Wait()
		}
		group.Wait()
		time.Sleep(time.Second) // the last one rests
		if fmt.Sprint(order) != "[0 1 2 0 1 2 0 1 2]" || turns.Free() != 1 || turns.Waiting() != 0 {
			t.Errorf("%v; %d turns are free, %d wait", order, turns.Free(), turns.Waiting())
		}
		none := Turn{Of: TurnsFor(0)}
		if none.Enter(in(time.Second)) || none.Continue(time.Now(), in(time.Second)) {
			t.Error("there is no turn, and it is given")
		}
		none.End()
		free := Turn{}
		if !free.Enter(in(time.Second)) || !free.Continue(time.Now().Add(time.Hour), in(time.Second)) {
			t.Error("where nobody counts, a turn is refused")
		}
		free.End()
	})
}
