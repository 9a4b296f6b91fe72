package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"
)

// An address that nobody knows yet is warmed up: it may send so many messages on its first day, so many on the second, and so on, and some
// of these to one site. Messages are counted where they are attempted; one that nobody answered for is given back. What is too much goes by the
// next source of its pool (pool.go); where there is none, the site is closed for that source until the day is over (closed.go).
//
// Counts outlive the process by notes in the store. Not each message is noted: a note takes a block ahead, and after a crash what is left of
// the block counts as sent. So the ramp is never exceeded.

// Warmup says how much a source may send on the days from Start on, which are days of UTC. After the last there is no bound.
type Warmup struct {
	Start            time.Time
	Daily, SiteDaily []int
	By               string // who said so
}

const (
	warmupNote   = "warmup/"
	maxRamps     = 20_000 // counts that are kept; where there are more, further sites are counted in the whole alone
	rampBlocks   = 50     // notes a day for each count
	maxLastNotes = 500    // that are written when the queue is closed
	dayTime      = 24 * time.Hour
)

func dayOf(t time.Time) int64 { return t.Unix() / int64(dayTime/time.Second) }

// allowed is how much may go on a day, in all and to one site; less than 0: there is no bound.
func (w *Warmup) allowed(day int64) (all, site int) {
	n := day - dayOf(w.Start)
	at := func(list []int) int {
		switch {
		case n < 0:
			return 0
		case n < int64(len(list)):
			return list[n]
		}
		return -1
	}
	return at(w.Daily), at(w.SiteDaily)
}

// ramp is what was sent on a day.
type ramp struct {
	day        int64
	used, kept int // kept: what the note says
}

// rampKey names a count; of a site its hash, since names of sites may be long.
type rampKey struct{ source, site string }

func keyOf(source, site string) rampKey {
	if site != "" {
		sum := sha256.Sum256([]byte(site))
		site = hex.EncodeToString(sum[:16])
	}
	return rampKey{source, site}
}

func (k rampKey) note() string { return warmupNote + k.source + "/" + k.site }

// ramps are all counts.
type ramps struct {
	q   *Queue
	mu  sync.Mutex
	all map[rampKey]*ramp
}

// loadRamps reads what was sent today by the server before.
func (q *Queue) loadRamps(ctx context.Context) error {
	q.ramps.q, q.ramps.all = q, map[rampKey]*ramp{}
	today := dayOf(q.now())
	var old []string
	for n, err := range q.Store.Notes(ctx, warmupNote) {
		if err != nil {
			return fmt.Errorf("what was sent from new addresses cannot be read: %w", err)
		}
		source, site, _ := strings.Cut(strings.TrimPrefix(n.Name, warmupNote), "/")
		r := &ramp{}
		if _, err := fmt.Sscanf(string(n.Value), "%d %d", &r.day, &r.used); err != nil || r.day < today || len(q.ramps.all) >= maxRamps {
			old = append(old, n.Name)
			continue
		}
		r.kept = r.used
		q.ramps.all[rampKey{source, site}] = r
	}
	for _, name := range old {
		if err := q.Store.DropNote(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// of is the count of a day; nil: there are too many. mu is held.
func (x *ramps) of(k rampKey, day int64) *ramp {
	r := x.all[k]
	switch {
	case r != nil && r.day >= day: // a day that was begun does not begin again by a clock that goes back
		return r
	case r == nil && len(x.all) >= maxRamps:
		for key, o := range x.all {
			if o.day < day {
				delete(x.all, key)
			}
		}
		if len(x.all) >= maxRamps && k.site != "" {
			return nil
		}
	}
	r = &ramp{day: day}
	x.all[k] = r
	return r
}

// full tells whether a source may send no more today, in all or to a site.
func (x *ramps) full(w *Warmup, source, site string) bool {
	day := dayOf(x.q.now())
	all, one := w.allowed(day)
	if all < 0 && one < 0 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	over := func(k rampKey, most int) bool {
		if most < 0 {
			return false
		}
		r := x.of(k, day)
		return r != nil && r.used >= most
	}
	return over(keyOf(source, ""), all) || over(keyOf(source, site), one)
}

// take counts a message, unless that is too much.
func (x *ramps) take(w *Warmup, source, site string) bool {
	if x.full(w, source, site) {
		return false
	}
	day := dayOf(x.q.now())
	all, one := w.allowed(day)
	x.mu.Lock()
	defer x.mu.Unlock()
	var counts []*ramp
	for k, most := range map[rampKey]int{keyOf(source, ""): all, keyOf(source, site): one} {
		if most < 0 {
			continue
		}
		r := x.of(k, day)
		if r == nil {
			continue
		}
		if r.used >= most { // somebody was faster
			for _, o := range counts {
				o.used--
			}
			return false
		}
		if r.used++; r.used > r.kept {
			r.kept = min(most, r.used+max(1, most/rampBlocks)-1)
			x.keep(k, r.day, r.kept)
		}
		counts = append(counts, r)
	}
	return true
}

// giveBack uncounts a message that nobody answered for.
func (x *ramps) giveBack(source, site string) {
	day := dayOf(x.q.now())
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range []rampKey{keyOf(source, ""), keyOf(source, site)} {
		if r := x.all[k]; r != nil && r.day == day && r.used > 0 {
			r.used--
		}
	}
}

func (x *ramps) keep(k rampKey, day int64, n int) {
	if err := x.q.Store.PutNote(context.WithoutCancel(x.q.stopping), k.note(), fmt.Appendf(nil, "%d %d", day, n)); err != nil {
		x.q.Log.Error("what was sent from a new address cannot be noted", "source", k.source, "error", err)
	}
}

// close notes what is left of the blocks, so that it may be sent after the next start.
func (x *ramps) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for k, r := range x.all {
		if r.used < r.kept && n < maxLastNotes {
			x.keep(k, r.day, r.used)
			n++
		}
	}
}

// warmup is that of a source; nil: there is none.
func (s *Settings) warmup(source string) *Warmup {
	if source == "" || s.Shape == nil {
		return nil
	}
	return s.Shape.Warmups[source]
}

// overflows counts a job to the ramp of its source. It tells whether that is full: then the job goes by another source, or waits.
func (q *Queue) overflows(j *job) bool {
	set := q.Settings()
	w := set.warmup(j.plan.Source)
	if w == nil || q.ramps.take(w, j.plan.Source, j.site) {
		j.warmed = w != nil
		return false
	}
	if len(j.spare) > 0 {
		q.pass(j, warmedUp(j.plan.Source))
		return true
	}
	if _, s := q.lanes.peek(j.lane); s != nil {
		now := time.Now()
		c := q.tomorrow(j.plan.Source, now)
		s.mu.Lock()
		s.stuck = true
		s.mu.Unlock()
		s.leaves(j.la, c.until)
		j.why = &c.why
	}
	q.lay(j)
	return true
}

func warmedUp(source string) string {
	return "the source " + source + " is warmed up and may send no more today"
}

// tomorrow is how a source is closed for the day.
func (q *Queue) tomorrow(source string, now time.Time) *closing {
	wall := q.now()
	next := time.Unix((dayOf(wall)+1)*int64(dayTime/time.Second), 0)
	return &closing{until: now.Add(next.Sub(wall)), why: shut(warmedUp(source)), full: true}
}

// view says in words how far a source is.
func (x *ramps) view(w *Warmup, source, site string) string {
	day := dayOf(x.q.now())
	all, one := w.allowed(day)
	n := day - dayOf(w.Start) + 1
	x.mu.Lock()
	defer x.mu.Unlock()
	said := func(k rampKey, most int, where string) string {
		used := 0
		if r := x.all[k]; r != nil && r.day == day {
			used = r.used
		}
		if most < 0 {
			return "no bound" + where
		}
		return fmt.Sprintf("%d of %d today%s", used, most, where)
	}
	switch {
	case n < 1:
		return "begins on " + w.Start.Format(time.DateOnly)
	case all < 0 && one < 0:
		return "is over"
	}
	words := fmt.Sprintf("day %d of %d: %s", n, max(len(w.Daily), len(w.SiteDaily)), said(keyOf(source, ""), all, ""))
	if len(w.SiteDaily) > 0 {
		words += ", " + said(keyOf(source, site), one, " to this site")
	}
	return words
}
