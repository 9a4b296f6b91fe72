package generation

import (
	"context"
	"sync"
	"time"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// Ticker asks the plugins that have a hook at tick, each at its own interval, always those of the generation in force. A plugin
// is never asked twice at once: a beat that comes while it still works on the one before is left out. A plugin that is new
// waits for one interval first, and a reload that leaves it, or changes its code, does not begin the interval anew.
type Ticker struct {
	current *hooks.Current
	now     func() time.Time

	mu    sync.Mutex
	beats map[string]*beat // by plugin
	group sync.WaitGroup
}

// beat is when a plugin is due.
type beat struct {
	next    time.Time
	every   time.Duration
	running bool
	seen    bool // there is still such a hook
}

// NewTicker makes a Ticker for what current holds.
func NewTicker(current *hooks.Current, now func() time.Time) *Ticker {
	return &Ticker{current: current, now: now, beats: map[string]*beat{}}
}

// Run asks until ctx ends. Then the calls that are under way are told so, and it returns when they have ended.
func (t *Ticker) Run(ctx context.Context) {
	defer t.group.Wait()
	look := time.NewTicker(manifest.MinEvery)
	defer look.Stop()
	for {
		t.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// look asks those who are due.
func (t *Ticker) look(ctx context.Context) {
	gen := t.current.Acquire()
	defer gen.Release()
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range gen.Chain(hooks.Tick) {
		b := t.beats[h.Plugin]
		switch {
		case b == nil:
			b = &beat{next: now.Add(h.Every), every: h.Every}
			t.beats[h.Plugin] = b
		case b.every != h.Every:
			b.next, b.every = b.next.Add(h.Every-b.every), h.Every
		}
		b.seen = true
		if now.Before(b.next) {
			continue
		}
		if b.next = b.next.Add(h.Every); !now.Before(b.next) { // it was late by more than an interval
			b.next = now.Add(h.Every)
		}
		if b.running {
			continue
		}
		b.running = true
		own := t.current.Acquire()
		t.group.Go(func() {
			defer own.Release()
			own.RunPlugin(&hooks.Call{Stage: hooks.Tick, Tick: &hooks.TickView{Time: now}, Parent: ctx}, h.Plugin)
			t.mu.Lock()
			defer t.mu.Unlock()
			b.running = false
		})
	}
	for name, b := range t.beats {
		if !b.seen && !b.running {
			delete(t.beats, name)
		}
		b.seen = false
	}
}
