package observe

import (
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestCounters(t *testing.T) {
	c := NewCounters("a", "b")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				c.Add(0)
				c.AddN(1, 2)
				c.Add(2) // no such name
				c.Add(-1)
			}
		})
	}
	group.Wait()
	if c.Get(0) != 4000 || c.Get(1) != 8000 || c.Sum() != 12000 {
		t.Errorf("%d, %d, %d together", c.Get(0), c.Get(1), c.Sum())
	}
}

func TestHistogram(t *testing.T) {
	h := NewTimes(time.Millisecond, time.Second)
	for _, d := range []time.Duration{-time.Hour, 0, time.Millisecond, time.Millisecond + 1, time.Second, time.Minute} {
		h.Took(d)
	}
	want := Shown{Count: 6, Sum: 61.002000001, Buckets: map[float64]uint64{0.001: 3, 1: 5}}
	if got := h.Show(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	s := NewSizes(1, 10)
	s.Observe(10)
	s.Observe(11)
	want = Shown{Count: 2, Sum: 21, Buckets: map[float64]uint64{1: 0, 10: 1}}
	if got := s.Show(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// BenchmarkCount is what one event costs: a counter and a histogram.
func BenchmarkCount(b *testing.B) {
	c := NewCounters("a", "b")
	h := NewTimes(time.Millisecond, 10*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Add(1)
			h.Took(20 * time.Millisecond)
		}
	})
}
