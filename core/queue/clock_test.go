package queue

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockJumps: whatever the wall clock does, while the queue runs or between two, a message is tried about as often as it would have
// been, for five hours of those that passed, and then it is given up. New mail goes at once.
func TestClockJumps(t *testing.T) {
	const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
	for _, by := range []time.Duration{hour, -hour, 4 * hour, -4 * hour, 3652 * day, -10_950 * day} { // it is the year 2000 here
		for _, running := range []bool{true, false} {
			for _, returns := range []bool{false, true} {
				file := filepath.Join(t.TempDir(), "clock")
				t.Run(fmt.Sprintf("%v, running %v, returns %v", by, running, returns), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var offset atomic.Int64
						b := newBench(t)
						b.clock, b.set.Expire, b.set.Retry = file, 5*hour, []time.Duration{5 * minute}
						b.wall = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
						b.remote.answer["slow.example"] = append(b.remote.answer["slow.example"], later)
						jump := func(by time.Duration) {
							if !running {
								b.stop()
							}
							offset.Add(int64(by))
							if !running {
								b.start()
							}
						}
						b.start()
						b.send(nil, "u@slow.example")
						time.Sleep(2*time.Minute + 7*time.Second)
						jump(by)
						time.Sleep(time.Second)
						b.send(nil, "new@good.example")
						time.Sleep(time.Second)
						if got := b.remote.got(); !strings.Contains(strings.Join(got, " "), "<new@good.example>") {
							t.Errorf("new mail does not go: %q", got)
						}
						if returns {
							time.Sleep(20 * minute)
							jump(-by)
						}
						time.Sleep(time.Until(b.remote.start.Add(5*hour - 10*minute)))
						expect(t, "before five hours", b.states(), "u@slow.example deferred")
						before := time.Duration(0)
						tries := 0
						for _, s := range b.remote.got() {
							at, to, _ := strings.Cut(s, " ")
							d, err := time.ParseDuration(at)
							if err != nil || !strings.Contains(to, "slow") {
								continue
							}
							// A jump may bring a try about earlier, and after it the wait begins anew.
							if tries++; d-before > 10*minute+30*time.Second {
								t.Errorf("no try from %v to %v", before, d)
							}
							before = d
						}
						if tries < 5*12-4 {
							t.Errorf("%d tries in five hours", tries)
						}
						time.Sleep(40 * minute)
						expect(t, "after them", b.states(), "u@slow.example failed owed")
						b.stop()
					})
				})
			}
		}
	}
}

// TestSlowClock: a clock that is set by little and little does not jump.
func TestSlowClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset time.Duration
		c := newClock(func() time.Time { return time.Now().Add(offset) }, "")
		began := c.now()
		for range 100 {
			time.Sleep(time.Minute)
			offset += time.Second
			if by, _ := c.jump(); by != 0 {
				t.Fatal("jumped by", by)
			}
		}
		if d := c.unseen(began); d != 0 {
			t.Error("unseen", d)
		}
	})
}

// TestDowntime: the time in which no server runs makes no message older, also after several starts.
func TestDowntime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		b := newBench(t)
		b.clock = file
		b.remote.answer["slow.example"] = append(b.remote.answer["slow.example"], later)
		b.start()
		b.send(nil, "u@slow.example")
		for range 3 {
			time.Sleep(day)
			b.stop()
			time.Sleep(10 * day)
			b.start()
		}
		time.Sleep(day)
		expect(t, "after four days", b.states(), "u@slow.example deferred")
		time.Sleep(day + 2*time.Hour)
		expect(t, "after five", b.states(), "u@slow.example failed owed")
		b.stop()
		if seen := Seen(file); seen.Before(time.Now()) || seen.After(time.Now().Add(2*time.Minute)) {
			t.Errorf("seen %v at %v", seen, time.Now())
		}
	})
}
