package generation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
)

// rhythm is a Ticker under a clock that the test moves.
type rhythm struct {
	*Ticker
	clock time.Time
	asked []string
}

func newRhythm() *rhythm {
	r := &rhythm{clock: time.Unix(1_000_000, 0)}
	r.Ticker = NewTicker(hooks.NewCurrent(r.generation(1)), func() time.Time { return r.clock })
	return r
}

func (r *rhythm) generation(number uint64, all ...*hooks.Hook) *hooks.Generation {
	g, err := hooks.NewGeneration(number, all, nil)
	if err != nil {
		panic(err)
	}
	return g
}

func (r *rhythm) hook(name string, every time.Duration) *hooks.Hook {
	return &hooks.Hook{Plugin: name, Stage: hooks.Tick, Every: every, Timeout: time.Minute, OnError: hooks.Next, Needs: &capability.Needs{}, Counts: hooks.NewCounts(),
		Handler: hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asked = append(r.asked, name+" "+c.Tick.Time.Sub(time.Unix(1_000_000, 0)).String())
			return nil, nil
		})}
}

// pass moves the clock second by second, each with what is asked done.
func (r *rhythm) pass(seconds int) string {
	r.asked = nil
	for range seconds {
		r.look(context.Background())
		r.group.Wait()
		r.clock = r.clock.Add(time.Second)
	}
	slices.Sort(r.asked)
	return strings.Join(r.asked, ", ")
}

func TestTick(t *testing.T) {
	r := newRhythm()
	r.current.Swap(r.generation(2, r.hook("a", 2*time.Second), r.hook("b", 5*time.Second)))
	if got := r.pass(7); got != "a 2s, a 4s, a 6s, b 5s" {
		t.Errorf("asked %s", got)
	}
	// A reload goes on where the interval was; a new plugin waits for one first, and one that is gone is asked no more.
	r.current.Swap(r.generation(3, r.hook("b", 5*time.Second), r.hook("c", 3*time.Second)))
	if got := r.pass(5); got != "b 10s, c 10s" {
		t.Errorf("after a reload: asked %s", got)
	}
	// Another interval counts from the last call.
	r.current.Swap(r.generation(4, r.hook("b", 8*time.Second)))
	if got := r.pass(8); got != "b 18s" {
		t.Errorf("with another interval: asked %s", got)
	}
	if len(r.beats) != 1 {
		t.Errorf("%d plugins are remembered", len(r.beats))
	}
	// A process that slept catches nothing up.
	r.clock = r.clock.Add(time.Hour)
	if got := r.pass(9); got != "b 1h0m20s, b 1h0m28s" {
		t.Errorf("after a sleep: asked %s", got)
	}
}

// TestTickIsNotAskedTwiceAtOnce: a call that takes longer than the interval leaves beats out, and holds up no other plugin.
func TestTickIsNotAskedTwiceAtOnce(t *testing.T) {
	r := newRhythm()
	begun, end := make(chan bool), make(chan bool)
	slow := r.hook("slow", time.Second)
	slow.Handler = hooks.HandlerFunc(func(*hooks.Call) (*hooks.Verdict, error) {
		begun <- true
		<-end
		return nil, errors.New("too slow")
	})
	r.current.Swap(r.generation(2, slow, r.hook("quick", 3*time.Second)))
	r.look(context.Background())
	for i := range 4 {
		r.clock = r.clock.Add(time.Second)
		if r.look(context.Background()); i == 0 {
			<-begun
		}
	}
	end <- true
	r.group.Wait()
	if !slices.Equal(r.asked, []string{"quick 3s"}) {
		t.Errorf("the other plugin was asked %q", r.asked)
	}
	st := slow.Breaker.State()
	if st.Calls != 1 || st.Errors != 1 {
		t.Errorf("calls of the slow one: %+v", st)
	}
	r.clock = r.clock.Add(time.Second)
	r.look(context.Background())
	<-begun // asked again
	end <- true
	r.group.Wait()
}

// TestTickEnds: at the end a call is told to give up, and is waited for.
func TestTickEnds(t *testing.T) {
	r := newRhythm()
	ctx, cancel := context.WithCancel(context.Background())
	ended := false
	h := r.hook("a", time.Second)
	h.Handler = hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
		cancel()
		<-c.Context().Done()
		ended = true
		return nil, c.Context().Err()
	})
	r.current.Swap(r.generation(2, h))
	r.look(ctx)
	r.clock = r.clock.Add(time.Minute)
	r.Run(ctx)
	if !ended {
		t.Error("Run returned before the call had ended")
	}
}

// TestTickOfPlugins: what plugins ask for, and what the operator says.
func TestTickOfPlugins(t *testing.T) {
	s := newSite(t)
	s.write("stagepost.toml", base+"[run.lua]\nevery = \"5m\"\n")
	s.write("plugins/lua.lua", "plugin { id = \"lua\", hook = { tick = { every = \"30s\" } } }\nfunction on.tick(t) end\n")
	s.write("plugins/plain.lua", "plugin { id = \"plain\" }\nfunction on.tick(t) end\n")
	s.write("plugins/second.lua", "plugin { id = \"second\", hook = { tick = { every = \"1s\" } } }\nfunction on.tick(t) end\n")
	s.mustOpen()
	want := map[string]time.Duration{"lua": 5 * time.Minute, "plain": time.Minute, "second": time.Second}
	for _, h := range s.m.Order(hooks.Tick) {
		if h.Every != want[h.Plugin] {
			t.Errorf("%s is asked every %s, want %s", h.Plugin, h.Every, want[h.Plugin])
		}
		delete(want, h.Plugin)
	}
	if len(want) > 0 {
		t.Errorf("not asked at all: %v", want)
	}
	s.write("stagepost.toml", base+"[run.other]\nevery = \"5m\"\n")
	s.write("plugins/other.lua", "plugin { id = \"other\" }\nfunction on.mail(m) end\n")
	if c := s.m.Reload(context.Background()); c.Err == nil || !strings.Contains(c.Err.Error(), "stagepost.toml:10: run.other.every: the plugin other is not asked at intervals: it has no on.tick") {
		t.Errorf("an interval for a plugin without on.tick: %v", c.Err)
	}
}
