package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// counted is an ask function that counts its calls and gives one answer for all questions.
func counted(calls *int, a Answer, err error) func(context.Context, key) (Answer, error) {
	return func(context.Context, key) (Answer, error) {
		*calls++
		return a, err
	}
}

func TestCacheCountsTTLDown(t *testing.T) {
	clk := newClock()
	c := newCache(10, 10, clk.now)
	calls := 0
	ask := counted(&calls, Answer{Name: "x", TTL: time.Minute}, nil)
	for _, step := range []struct {
		wait, ttl time.Duration
		calls     int
	}{{0, time.Minute, 1}, {0, time.Minute, 1}, {45 * time.Second, 15 * time.Second, 1}, {-time.Hour, time.Minute, 1}, {time.Hour + 15*time.Second, time.Minute, 2}} {
		clk.add(step.wait)
		a, err := c.get(t.Context(), key{"x", TypeA}, ask)
		if err != nil || a.TTL != step.ttl || calls != step.calls {
			t.Errorf("after %v: got TTL %v, %v, %d calls, want %v and %d", step.wait, a.TTL, err, calls, step.ttl, step.calls)
		}
	}
}

func TestCacheDropsLeastRecentlyUsed(t *testing.T) {
	c := newCache(3, 10, newClock().now)
	calls := 0
	small := counted(&calls, Answer{TTL: time.Minute}, nil)
	get := func(name string) {
		t.Helper()
		if _, err := c.get(t.Context(), key{name, TypeA}, small); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "c", "a", "d"} { // b goes
		get(name)
	}
	calls = 0
	get("a")
	get("c")
	get("d")
	if calls != 0 {
		t.Errorf("%d of a, c, d were dropped", calls)
	}
	if get("b"); calls != 1 {
		t.Error("b was kept")
	}
	if c.used != 3 || len(c.entries) != 3 || c.recent.Len() != 3 {
		t.Errorf("got %d slots, %d entries, %d in the list, want 3 each", c.used, len(c.entries), c.recent.Len())
	}
	// A big answer takes several places; one that is too big takes none for long.
	big := Answer{TTL: time.Minute, Records: []Record{Text(strings.Repeat("x", 600))}}
	if _, err := c.get(t.Context(), key{"big", TypeTXT}, counted(&calls, big, nil)); err != nil || c.used != 3 || len(c.entries) != 2 {
		t.Errorf("got %v, %d slots, %d entries, want 3 slots for 2 entries", err, c.used, len(c.entries))
	}
	huge := Answer{TTL: time.Minute, Records: []Record{Text(strings.Repeat("x", 6000))}}
	if a, err := c.get(t.Context(), key{"huge", TypeTXT}, counted(&calls, huge, nil)); err != nil || len(a.Records) != 1 || c.used != 0 {
		t.Errorf("got %v, %v, %d slots, want the answer and an empty cache", a, err, c.used)
	}
}

func TestCacheAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(10, 2, time.Now)
		calls := 0
		slow := func(context.Context, key) (Answer, error) {
			calls++
			time.Sleep(time.Second)
			return Answer{TTL: time.Minute}, nil
		}
		errs := make(chan error, 50)
		for range cap(errs) {
			go func() {
				_, err := c.get(t.Context(), key{"x", TypeA}, slow)
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if calls != 1 {
			t.Errorf("asked %d times, want once", calls)
		}
	})
}

func TestCacheBoundsQuestionsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(10, 2, time.Now)
		deadlines := make(chan time.Time, 2)
		never := func(ctx context.Context, k key) (Answer, error) {
			deadline, _ := ctx.Deadline()
			deadlines <- deadline
			<-ctx.Done()
			return Answer{}, cannotTell(k.name, k.t, ctx.Err())
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 2 {
			go c.get(ctx, key{fmt.Sprint(i), TypeA}, never)
		}
		synctest.Wait()
		if _, err := c.get(ctx, key{"more", TypeA}, never); !errors.Is(err, Temporary) || !strings.Contains(err.Error(), "2 questions") {
			t.Errorf("got %v, want a temporary error at once", err)
		}
		cancel()
		synctest.Wait()
		inFlight := func() int {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.calls)
		}
		if n := inFlight(); n != 2 {
			t.Errorf("%d questions in flight, want 2: they outlive their callers", n)
		}
		if left := time.Until(<-deadlines); left != patience {
			t.Errorf("a question has %v, want %v", left, patience)
		}
		time.Sleep(patience)
		synctest.Wait()
		if n := inFlight(); n != 0 {
			t.Errorf("%d questions in flight after their time", n)
		}
	})
}
