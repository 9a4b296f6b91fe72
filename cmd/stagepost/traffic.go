package main

import (
	"context"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
)

// traffic remembers for a minute what was counted, so that a status can tell what is going on now from what once was.
type traffic struct {
	mu   sync.Mutex
	seen []seen // oldest first
}

type seen struct {
	at time.Time
	admin.Traffic
}

const (
	trafficEvery  = 10 * time.Second
	trafficMinute = time.Minute
)

// watch looks now and then, until ctx ends.
func (t *traffic) watch(ctx context.Context, now func() admin.Traffic) {
	tick := time.NewTicker(trafficEvery)
	defer tick.Stop()
	for {
		t.note(time.Now(), now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// note keeps what was counted at a moment, and the newest of what is a minute old.
func (t *traffic) note(at time.Time, n admin.Traffic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, seen{at, n})
	for len(t.seen) > 1 && at.Sub(t.seen[1].at) >= trafficMinute {
		t.seen = t.seen[1:]
	}
}

// last is what was counted from a minute ago on.
func (t *traffic) last(at time.Time, n admin.Traffic) admin.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	var before admin.Traffic // a server that is younger began with nothing
	for _, s := range t.seen {
		if at.Sub(s.at) >= trafficMinute {
			before = s.Traffic
		}
	}
	less := func(n, before map[string]uint64) map[string]uint64 {
		out := make(map[string]uint64, len(n))
		for k, v := range n {
			out[k] = v - min(v, before[k])
		}
		return out
	}
	return admin.Traffic{
		Sessions: n.Sessions - min(n.Sessions, before.Sessions), Refused: n.Refused - min(n.Refused, before.Refused),
		Received: less(n.Received, before.Received), Outcomes: less(n.Outcomes, before.Outcomes),
	}
}

// traffic adds up what the parts counted.
func (d *daemon) traffic() admin.Traffic {
	t := admin.Traffic{Received: map[string]uint64{}, Outcomes: map[string]uint64{}}
	add := func(to map[string]uint64, c *observe.Counters) {
		for i, name := range c.Names() {
			to[name] += c.Get(i)
		}
	}
	for _, l := range d.smtp.Board.Listeners() {
		t.Sessions += l.Sessions.Load()
		t.Refused += l.Refused.Sum()
	}
	for _, role := range message.Roles() {
		add(t.Received, d.intake.Counts(role).Messages)
	}
	add(t.Outcomes, d.queue.Counts().Outcomes)
	return t
}
