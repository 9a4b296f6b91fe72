package service

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
)

func TestThrottle(t *testing.T) {
	clk := &clock{now: epoch}
	s := open(t, StoreOptions{Now: clk.Now})
	c := handler(t, Options{KV: s, Now: clk.Now})
	yes := Several{true, 0.0}
	no := func(wait float64) Several { return Several{false, wait} }
	take := func(want Several, args ...any) call {
		return call{name: "throttle.take", args: args, want: want}
	}
	check(t, c, []call{
		take(yes, "a", "3/1h"), take(yes, "a", "3/1h"), take(yes, "a", "3/1h"), take(no(1200), "a", "3/1h"), take(no(1200), "a", "3/1h"),
		take(yes, "b", "3/1h"),                // another key
		take(yes, "a", "4/1h"),                // another rate
		take(no(2400), "a", "3/1h", int64(2)), // more at once take longer
		take(yes, "c", "3/1h", int64(3)), take(no(1200), "c", "3/1h"),
		{name: "throttle.take", args: list("c", "3/1h", int64(4)), err: `n is 4; of "3/1h" at most 3 can be taken`},
		{name: "throttle.take", args: list("c", "3/1h", int64(0)), err: "n is 0"},
		{name: "throttle.take", args: list("", "3/1h"), err: "the key has 0 bytes"},
		{name: "throttle.take", args: list(strings.Repeat("k", 401), "3/1h"), err: "the key has 401 bytes"},
		{name: "kv.get", args: list("a"), want: nil}, // another space
	})
	for _, bad := range []string{"", "/", "3", "3/", "/1h", "0/1h", "-1/1h", "+1/1h", "1000001/1h", "3/1", "3/1y", "3/999ms", "3/367d", "3/ 1h", "3/1h/1h", "1e3/1h"} {
		check(t, c, []call{{name: "throttle.take", args: list("k", bad), err: "is no rate; write a number"}})
	}
	clk.add(1199999 * time.Millisecond)
	check(t, c, []call{take(no(0.001), "a", "3/1h")})
	clk.add(time.Millisecond)
	check(t, c, []call{take(yes, "a", "3/1h"), take(no(1200), "a", "3/1h")})
	clk.add(-24 * time.Hour) // a clock that is set back makes nobody wait longer than for a full bucket
	check(t, c, []call{take(no(1200), "a", "3/1h")})
	clk.add(48 * time.Hour)
	check(t, c, []call{take(yes, "a", "3/1h", int64(3)), take(no(1200), "a", "3/1h")})
}

// TestThrottleExact: whatever the rate, exactly its count is in a full bucket, and as much comes in each period.
func TestThrottleExact(t *testing.T) {
	for _, text := range []string{"1/1s", "7/1h", "1000/1s", "999983/1d", "1000000/366d", "1000000/1s"} {
		r, err := parseRate(text)
		if err != nil {
			t.Fatal(err)
		}
		full, now := int64(0), epoch.UnixMilli()
		for range 3 {
			taken := int64(0)
			for n := r.count; n > 0; { // at once, as much as goes, then less
				next, wait := r.take(full, now, n)
				if wait > 0 {
					n /= 2
					continue
				}
				full, taken = next, taken+n
			}
			if taken != r.count {
				t.Errorf("%s: %d were taken", text, taken)
			}
			now += r.period
		}
	}
}

// TestThrottleAtOnce: many at once take exactly what is there.
func TestThrottleAtOnce(t *testing.T) {
	s := open(t, StoreOptions{Now: func() time.Time { return epoch }})
	host := NewHost(Options{KV: s, Now: func() time.Time { return epoch }})
	f := find(t, "throttle.take")
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c := host.Context("vip", &capability.Needs{}, nil)
			c.Begin(&hooks.Call{})
			for range 500 {
				v, err := f.Do(c, list("k", "1000/1d"))
				if err != nil {
					t.Error(err)
					return
				}
				if v.(Several)[0] == true {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d were taken of 1000", n)
	}
}

// TestThrottleKept: buckets outlive the server, are forgotten when they are full again, and too many of them are an error.
func TestThrottleKept(t *testing.T) {
	clk := &clock{now: epoch}
	o := StoreOptions{Folder: filepath.Join(t.TempDir(), "kv"), Now: clk.Now, Entries: 3}
	s := open(t, o)
	c := handler(t, Options{KV: s, Now: clk.Now})
	var calls []call
	for i := range 3 {
		calls = append(calls, call{name: "throttle.take", args: list(fmt.Sprint(i), "1/1h"), want: Several{true, 0.0}})
	}
	check(t, c, append(calls, call{name: "throttle.take", args: list("4", "1/1h"), err: ErrFull.Error()}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clk.add(time.Minute)
	s = open(t, o)
	c = handler(t, Options{KV: s, Now: clk.Now})
	check(t, c, []call{{name: "throttle.take", args: list("1", "1/1h"), want: Several{false, 3540.0}}})
	clk.add(time.Hour)
	check(t, c, []call{{name: "throttle.take", args: list("4", "1/1h"), want: Several{true, 0.0}}})
	if n := len(s.spaces["vip.throttle"].entries); n != 1 {
		t.Errorf("%d buckets are kept", n)
	}
	if err := s.Update("vip.throttle", "1/3600000 4", func(any) (any, time.Duration) { return nil, 0 }); err != nil || len(s.spaces["vip.throttle"].entries) != 0 {
		t.Errorf("not removed: %v", err)
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"100/1h", "1/1s", "1000000/366d", "3/1h30m", "0/1s", "5/", "/", "1/1ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRate(text)
		if err == nil && (r.count < 1 || r.count > maxRateCount || r.period < 1000 || r.period > maxRatePeriod.Milliseconds()) {
			t.Errorf("%q is %v", text, r)
		}
	})
}

func BenchmarkThrottle(b *testing.B) {
	s := open(b, StoreOptions{})
	c := handler(b, Options{KV: s, Now: time.Now})
	f := find(b, "throttle.take")
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("2001:db8:%x::/64", i)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := f.Do(c, list(keys[i%len(keys)], "100/1h")); err != nil {
			b.Fatal(err)
		}
	}
}
