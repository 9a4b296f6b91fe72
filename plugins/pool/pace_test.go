package pool

import (
	"sync"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	p := NewPace(1000, 100)
	for _, step := range []struct {
		use  int64
		at   time.Duration
		want time.Duration
	}{
		{1000, 0, 0}, // all of the burst
		{100, 0, time.Second},
		{50, 500 * time.Millisecond, time.Second}, // 50 came back, 150 are over
		{0, 2 * time.Second, 0},
		{500, time.Hour, 0}, // more than the burst does not gather
		{600, time.Hour, time.Second},
		{10, time.Hour - time.Minute, 1100 * time.Millisecond}, // a clock that goes back gives nothing
	} {
		if got := p.Use(step.use, at(step.at)); got != step.want {
			t.Errorf("%d at %s: wait %s, want %s", step.use, step.at, got, step.want)
		}
	}
	p.Return(2000)
	if got := p.Use(1000, at(time.Hour)); got != 0 {
		t.Errorf("what was given back is not there: %s", got)
	}
}

// TestPaceAtOnce: whoever asks, together they get no more than there is.
func TestPaceAtOnce(t *testing.T) {
	p := NewPace(1000, 1000)
	now := time.Unix(1_700_000_000, 0)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				p.Use(1, now)
			}
		})
	}
	all.Wait()
	if got := p.Use(0, now); got != 7*time.Second {
		t.Errorf("8000 of 1000 a second and 1000 at once: wait %s", got)
	}
}
