package queue

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/suspects"
)

// TestSuspects crashes the queue again and again while a message is in hand: it is held after three times, with the reason,
// and those that happened to be in hand as well are delivered. Released, it goes.
func TestSuspects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suspects")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.set.Concurrency = 100
		open := func(crashed bool) {
			t.Helper()
			f, err := suspects.Open(path, crashed)
			if err != nil {
				t.Fatal(err)
			}
			b.doubt = f
		}
		open(false)
		door := make(chan struct{})
		b.remote.blocked(door)
		b.start()
		bad := b.send(nil, "u@bad.example")
		for i := range 100 {
			b.send(nil, fmt.Sprintf("u%d@good.example", i))
		}
		synctest.Wait()
		peaks := []int{101, probers + 1, probers + 1 + 1} // with one that nobody suspects; and one that has two strikes
		for n, want := range peaks {
			if got := b.remote.peak(); got != want {
				t.Errorf("life %d: %d attempts at once, want %d", n, got, want)
			}
			open(true)
			b.stop() // what is in hand stays in the old file
			b.remote.most = 0
			if got := b.doubt.Strikes(bad); got != n+1 { // it came first, so it is in hand each time
				t.Fatalf("life %d: bad has %d strikes", n, got)
			}
			if n == len(peaks)-1 {
				b.remote.blocked(nil)
			}
			b.start()
			b.send(nil, fmt.Sprintf("fresh%d@good.example", n))
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		_, state, err := b.store.Load(t.Context(), bad)
		if err != nil {
			t.Fatal(err)
		}
		if want := "the server crashed 3 times while it worked on this message"; state.Held != want {
			t.Errorf("held: %q, want %q", state.Held, want)
		}
		expect(t, "left", b.states(), "u@bad.example fresh")
		if err := b.hand(Order{Verb: Release}, bad); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect(t, "left after the release", b.states())
		if !slices.ContainsFunc(b.remote.got(), func(s string) bool { return strings.Contains(s, "u@bad.example") }) || b.doubt.Strikes(bad) != 0 {
			t.Errorf("bad has %d strikes, sent were %q", b.doubt.Strikes(bad), b.remote.got())
		}
		b.stop()
	})
}

// TestProbation: strikes are forgotten an hour after a suspect was tried, so those of many years never come together.
func TestProbation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suspects")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.remote.answer["slow.example"] = append(b.remote.answer["slow.example"], later)
		b.start()
		id := b.send(nil, "u@slow.example")
		time.Sleep(time.Second)
		b.stop()
		for range 2 {
			f, err := suspects.Open(path, true)
			if err != nil {
				t.Fatal(err)
			}
			f.Begin(id)
			b.doubt = f
		}
		b.start()
		for _, c := range []struct {
			after   time.Duration
			strikes int
		}{{5*time.Minute + probation/2, 1}, {probation, 0}} {
			time.Sleep(c.after)
			if n := b.doubt.Strikes(id); n != c.strikes {
				t.Errorf("after another %v: %d strikes, want %d", c.after, n, c.strikes)
			}
		}
		b.stop()
	})
}
