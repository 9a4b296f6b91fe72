package hooks

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
)

// clock is a time that only the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

type told struct {
	failed int
	turned []string
}

func (w *told) saw(*Call, *Hook, error) { w.failed++ }

func (w *told) turn(h *Hook, s breaker.State) {
	w.turned = append(w.turned, fmt.Sprintf("%s %s open=%v %s", h.Plugin, h.Stage, s.Open, s.Why.String()))
}

// patient is a hook at rcpt whose calls go as the test says.
type patient struct {
	t     *testing.T
	clock *clock
	gen   *Generation
	hook  *Hook
	watch told
	next  func() (*Verdict, error)
	made  int // calls
}

func newPatient(t *testing.T) *patient {
	p := &patient{t: t, clock: &clock{time.Unix(1_700_000_000, 0)}}
	p.hook = hook("p", Rcpt, func(*Call) (*Verdict, error) {
		p.made++
		return p.next()
	})
	p.hook.Breaker = breaker.New(func(s breaker.State) { p.watch.turn(p.hook, s) }, p.clock.at)
	p.hook.Failed = p.watch.saw
	p.gen = generation(t, p.hook)
	p.gen.now = p.clock.now
	return p
}

// ask makes a number of calls and returns the verdict in the record of the last.
func (p *patient) ask(n int, next func() (*Verdict, error)) string {
	p.t.Helper()
	p.next = next
	word := ""
	for range n {
		c, rec := call(p.t, Rcpt)
		p.gen.Run(c)
		word = rec.steps[0].Verdict
	}
	return word
}

func well() (*Verdict, error)  { return nil, nil }
func fails() (*Verdict, error) { return nil, errors.New("no such table") }
func overruns() (*Verdict, error) {
	return nil, fmt.Errorf("p.lua:3: %w", breaker.OverInstructions)
}

func (p *patient) open() bool { return p.hook.Breaker.State().Open }

func TestBreakerOpens(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(p *patient)
		open bool
	}{
		{"nine overruns", func(p *patient) { p.ask(9, overruns) }, false},
		{"ten overruns", func(p *patient) { p.ask(10, overruns) }, true},
		{"no instance", func(p *patient) { p.ask(10, func() (*Verdict, error) { return nil, breaker.Busy }) }, true},
		{"plain errors", func(p *patient) { p.ask(1000, fails) }, false},
		{"panics", func(p *patient) { p.ask(1000, func() (*Verdict, error) { panic("no") }) }, false},
		{"half of all", func(p *patient) { p.ask(10, well); p.ask(10, overruns) }, true},
		{"less than half", func(p *patient) { p.ask(11, well); p.ask(10, overruns) }, false},
		{"less than half, in the end half", func(p *patient) { p.ask(30, well); p.ask(30, overruns) }, true},
		{"in a minute", func(p *patient) {
			for range 10 {
				p.ask(1, overruns)
				p.clock.at = p.clock.at.Add(5 * time.Second)
			}
		}, true},
		{"in more than a minute", func(p *patient) {
			for range 100 {
				p.ask(1, overruns)
				p.clock.at = p.clock.at.Add(7 * time.Second)
			}
		}, false},
		{"good calls of earlier minutes", func(p *patient) {
			p.ask(1000, well)
			p.clock.at = p.clock.at.Add(61 * time.Second)
			p.ask(10, overruns)
		}, true},
		{"a day later", func(p *patient) { p.clock.at = p.clock.at.Add(24 * time.Hour); p.ask(10, overruns) }, true},
		{"late answers", func(p *patient) {
			p.ask(10, func() (*Verdict, error) { p.clock.at = p.clock.at.Add(time.Second); return nil, nil })
		}, true},
		{"errors at the deadline", func(p *patient) {
			p.ask(10, func() (*Verdict, error) { p.clock.at = p.clock.at.Add(time.Second); return fails() })
		}, true},
		{"answers just in time", func(p *patient) {
			p.ask(100, func() (*Verdict, error) { p.clock.at = p.clock.at.Add(time.Second - 1); return nil, nil })
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			c.do(p)
			if p.open() != c.open || len(p.watch.turned) > 1 || len(p.watch.turned) == 1 != c.open {
				t.Errorf("open %v, told %q", p.open(), p.watch.turned)
			}
		})
	}
}

func TestOpenBreakerAnswersAtOnce(t *testing.T) {
	p := newPatient(t)
	p.ask(10, overruns)
	if word := p.ask(1000, well); word != "open, defer 451 4.3.0" || p.made != 10 {
		t.Errorf("the record says %q, %d calls were made", word, p.made)
	}
	if s := p.hook.Breaker.State(); s.Calls != 10 || s.Errors != 10 || s.Skipped != 1000 || s.Overran[breaker.OverInstructions] != 10 || s.Why != breaker.OverInstructions || !s.Since.Equal(p.clock.at) {
		t.Errorf("state %+v", s)
	}
	if p.watch.failed != 10 {
		t.Errorf("told of %d failures", p.watch.failed)
	}
	c, rec := call(t, Rcpt)
	if res := p.gen.Run(c); !res.Failed || res.End.Kind != Defer || !strings.Contains(rec.steps[0].Detail, "not asked since 22:13:20 UTC, because too many calls ran out of instructions") {
		t.Errorf("%+v, record %+v", res, rec.steps)
	}
}

func TestBreakerProbes(t *testing.T) {
	p := newPatient(t)
	p.ask(10, overruns)
	wait := func(d time.Duration) { p.clock.at = p.clock.at.Add(d) }
	for _, c := range []struct {
		name  string
		wait  time.Duration
		calls func() (*Verdict, error)
		made  int
		open  bool
	}{
		{"too early", breaker.ProbeEvery - 1, well, 10, true},
		{"one is tried and overruns", 1, overruns, 11, true},
		{"too early again", breaker.ProbeEvery - 1, well, 11, true},
		{"one is tried and is well", 1, well, 11 + 20, false},
		{"half of twenty overrun", 0, overruns, 31 + 19, true}, // with the 19 that followed the probe
	} {
		wait(c.wait)
		if p.ask(20, c.calls); p.open() != c.open {
			t.Errorf("%s: open %v", c.name, p.open())
		}
		if c.made != p.made {
			t.Errorf("%s: %d calls were made, want %d", c.name, p.made, c.made)
		}
	}
	want := "[p rcpt open=true instructions p rcpt open=false none p rcpt open=true instructions]"
	if got := fmt.Sprint(p.watch.turned); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// TestBreakerClosesForGood: what was counted before the probe does not count after it.
func TestBreakerClosesForGood(t *testing.T) {
	p := newPatient(t)
	p.ask(10, overruns)
	p.clock.at = p.clock.at.Add(breaker.ProbeEvery)
	if p.ask(1, fails); p.open() { // an error, but no overrun
		t.Error("a probe that failed within its bounds left it open")
	}
	if p.ask(9, overruns); p.open() {
		t.Error("nine overruns opened it again")
	}
}

// TestCallsFromBeforeItOpened end while it is open, and change nothing.
func TestCallsFromBeforeItOpened(t *testing.T) {
	p := newPatient(t)
	b := p.hook.Breaker
	for range 10 {
		b.Ended(p.clock.at, breaker.OverTime, true, false)
	}
	for range 100 {
		b.Ended(p.clock.at, breaker.OverTime, true, false)
		b.Ended(p.clock.at, nil, false, false)
	}
	if !p.open() || len(p.watch.turned) != 1 {
		t.Errorf("open %v, told %q", p.open(), p.watch.turned)
	}
}

// TestOneProbe: of many calls at once, one is let through.
func TestOneProbe(t *testing.T) {
	var made atomic.Int32
	release := make(chan struct{})
	h := hook("p", Rcpt, func(*Call) (*Verdict, error) {
		made.Add(1)
		<-release
		return nil, nil
	})
	g := generation(t, h)
	start := time.Now()
	for range 10 {
		h.Breaker.Ended(start, breaker.OverTime, true, false)
	}
	g.now = func() time.Time { return start.Add(breaker.ProbeEvery) }
	var group sync.WaitGroup
	var skipped atomic.Int32
	for range 50 {
		c, _ := call(t, Rcpt)
		group.Go(func() {
			if g.Run(c).Failed {
				if skipped.Add(1) == 49 {
					close(release)
				}
			}
		})
	}
	group.Wait()
	if made.Load() != 1 || skipped.Load() != 49 || h.Breaker.State().Open {
		t.Errorf("%d calls were made, %d skipped, open %v", made.Load(), skipped.Load(), h.Breaker.State().Open)
	}
}

// TestBreakerOfASetter: who reads what the hook sets is answered by its own on_error, as when the hook fails.
func TestBreakerOfASetter(t *testing.T) {
	set := hook("spf", Mail, func(*Call) (*Verdict, error) { return nil, breaker.OverTime })
	set.OnError = Next
	asked := false
	read := hook("dmarc", Mail, func(*Call) (*Verdict, error) { asked = true; return nil, nil })
	read.Reads = []string{"spf.mail"}
	g := generation(t, set, read)
	for range 20 {
		c, rec := call(t, Mail)
		if res := g.Run(c); res.By != "dmarc" || asked || rec.steps[1].Verdict != "error, defer 451 4.3.0" {
			t.Fatalf("%+v", rec.steps)
		}
	}
	if s, r := set.Breaker.State(), read.Breaker.State(); !s.Open || s.Skipped != 10 || r.Open || r.Calls != 0 {
		t.Errorf("setter %+v, reader %+v", s, r)
	}
}

// TestGenerationsShareABreaker: a copy of the hook in the next generation knows what was counted.
func TestGenerationsShareABreaker(t *testing.T) {
	p := newPatient(t)
	p.ask(5, overruns)
	own := *p.hook
	p.gen = generation(t, &own)
	p.gen.now = p.clock.now
	p.ask(5, overruns)
	if !p.open() {
		t.Error("the copies do not count together")
	}
}
