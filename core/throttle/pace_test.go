package throttle

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLate: the answer takes as long whatever was found out, and nobody can tell how long exactly.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, took := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, Least, 300 * time.Millisecond, 3 * time.Second} {
			seen, p := map[time.Duration]bool{}, &Pace{}
			for range 20 {
				began := time.Now()
				time.Sleep(took)
				all := took + p.Late(began)
				if seen[all] = true; all < Least || all < took || all > max(Least, took)*6/5 {
					t.Errorf("%s take %s", took, all)
				}
			}
			if len(seen) < 5 {
				t.Errorf("%s take always the same: %v", took, seen)
			}
		}
	})
}

// TestPace: who is fast takes as long as the slowest of late did, up to a bound, and after a while no longer.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pace{}
		answered := func(took, want time.Duration) {
			t.Helper()
			began := time.Now()
			time.Sleep(took)
			if all := took + p.Late(began); all < want || all > want*6/5 {
				t.Errorf("%s take %s, want %s", took, all, want)
			}
		}
		answered(time.Millisecond, Least)
		answered(250*time.Millisecond, 250*time.Millisecond)
		answered(time.Millisecond, 250*time.Millisecond)
		time.Sleep(paceSpan)
		answered(20*time.Millisecond, 250*time.Millisecond)
		time.Sleep(paceSpan)
		answered(time.Millisecond, Least)
		answered(5*time.Second, 5*time.Second)
		answered(time.Millisecond, mostPace)
		time.Sleep(2 * paceSpan)
		answered(time.Millisecond, Least)
	})
}
