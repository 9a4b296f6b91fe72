package queue

import (
	"container/heap"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// The waker turns what is due on disk into flights. Every reach it asks the store which lanes have something due in the next
// one; within it, a heap knows the first time of each such lane. What becomes due later is left to the disk.
const (
	reach   = 16 * time.Second // one wake bucket of the store
	maxSoon = 20_000           // lanes in the heap
	page    = 256
	// How long after a look at all that is due the next one is: what was left for lack of room, or since there are so many lanes
	// that sleep, would be left again.
	scanPause    = time.Second
	crowdedPause = time.Minute
)

type waker struct {
	q       *Queue
	paced   paceHeap // sites that wait for their rate; guarded by mu
	scanned time.Time
	shape   *Shape // by which sites were looked at
	crowded bool   // lanes did not fit into the heap
	mu      sync.Mutex
	horizon time.Time // the disk has been asked up to here
	soon    soonHeap
	first   map[store.Lane]time.Time // what the heap holds for a lane; other entries of it are stale
	rescan  bool                     // something due was left on disk for lack of room
	kick    chan struct{}
}

func (w *waker) init(q *Queue) {
	w.q, w.kick, w.first = q, make(chan struct{}, 1), make(map[store.Lane]time.Time)
}

func (w *waker) poke() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// at says that the lane has an entry due at t.
func (w *waker) at(lane store.Lane, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.After(w.horizon) { // else the disk will tell
		w.push(lane, t)
	}
}

// again looks at the lane once more at t, though its entry is in the past: no later look at the disk would find it.
func (w *waker) again(lane store.Lane, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.push(lane, w.q.now().Add(time.Until(t)))
}

func (w *waker) push(lane store.Lane, t time.Time) {
	if old, ok := w.first[lane]; ok && !t.Before(old) {
		return
	}
	if len(w.first) >= maxSoon {
		w.crowded = true
		return
	}
	w.first[lane] = t
	heap.Push(&w.soon, soon{t, lane})
	w.poke()
}

// missed says that something due was not taken, for lack of room.
func (w *waker) missed() {
	w.mu.Lock()
	w.rescan = true
	w.mu.Unlock()
}

// pause is the least time between two looks at all that is due. mu is held.
func (w *waker) pause() time.Duration {
	if w.rescan {
		return scanPause
	}
	return crowdedPause
}

// resumed looks at all that is due: what was suspended is not any more.
func (w *waker) resumed() {
	w.missed()
	w.poke()
}

// landed says that a flight ended, so that there is room.
func (w *waker) landed(f *flight) {
	if f.again {
		w.again(f.entry.Lane, time.Now().Add(time.Second)) // not at once: what makes no progress must not spin
	}
	if f.left {
		w.q.lanes.leave(f.entry.Lane, time.Now())
	}
	if n := w.q.flights.count(); n == 0 || n == (window-freshReserve)/2 {
		w.poke()
	}
}

func (w *waker) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	w.tick()
	w.shape = w.q.Settings().Shape
	w.scan(time.Time{})
	for {
		now := w.q.now()
		w.mu.Lock()
		wait := min(w.horizon.Sub(now), reach) // what is due, by the wall clock
		if len(w.soon) > 0 {
			wait = min(wait, w.soon[0].at.Sub(now))
		}
		if len(w.paced) > 0 {
			wait = min(wait, time.Until(w.paced[0].at))
		}
		if again := time.Until(w.scanned.Add(w.pause())); w.rescan && again > 0 {
			wait = min(wait, again)
		}
		w.mu.Unlock()
		timer.Reset(max(0, wait))
		select {
		case <-w.q.stopping.Done():
			return
		case <-timer.C:
		case <-w.kick:
		}
		w.tick()
		if shape := w.q.Settings().Shape; shape != w.shape { // what was closed may be open
			w.missed()
			w.shape = shape
		}
		elapsed := time.Now()
		for p, ok := w.pacedBy(elapsed); ok; p, ok = w.pacedBy(elapsed) {
			p.site.come(p.at, elapsed)
		}
		now = w.q.now()
		w.q.serve()
		for _, lane := range w.due(now) {
			w.fill(lane, now)
		}
		w.mu.Lock()
		from, again := w.horizon, (w.rescan || w.crowded) && w.q.flights.count() < window-freshReserve-page && !elapsed.Before(w.scanned.Add(w.pause()))
		if again {
			w.rescan, w.crowded = false, false
		}
		w.mu.Unlock()
		switch {
		case again:
			w.scanned = elapsed
			w.scan(time.Time{})
		case !now.Before(from):
			w.scan(from)
		}
	}
}

// scan fills the lanes that have something due after from and before the new horizon.
func (w *waker) scan(from time.Time) {
	now := w.q.now()
	until := now.Add(reach)
	w.mu.Lock()
	w.horizon = until // before the disk is read: entries that come meanwhile go to the heap
	w.mu.Unlock()
	for lane, err := range w.q.Store.Wake(w.q.stopping, w.q.own, from, until) {
		if err != nil {
			w.trouble("what is due cannot be read", err)
			return
		}
		w.fill(lane, now)
	}
}

func (w *waker) trouble(what string, err error) {
	if w.q.stopping.Err() == nil {
		w.q.Log.Error(what+"; trying again", "error", err)
		w.missed()
	}
}

// due takes the lanes out of the heap whose time has come.
func (w *waker) due(now time.Time) (lanes []store.Lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.soon) > 0 && !w.soon[0].at.After(now) {
		s := heap.Pop(&w.soon).(soon)
		if t, ok := w.first[s.lane]; ok && t.Equal(s.at) {
			delete(w.first, s.lane)
			lanes = append(lanes, s.lane)
		}
	}
	return lanes
}

// fill makes flights of what is due in a lane, as far as there is room.
func (w *waker) fill(lane store.Lane, now time.Time) {
	q := w.q
	if q.suspensions.asleep(lane) {
		return
	}
	room, probe, site, elapsed := window, false, (*site)(nil), time.Now()
	if la, s := q.lanes.peek(lane); s != nil {
		if q.turns(lane, s) { // whatever becomes of the site: it does not go there
			room = max(1, (window-q.flights.count())/4)
		} else {
			if q.resting(la, s, elapsed) {
				return
			}
			room, probe = s.room(elapsed)
		}
		site = s
	} else if strings.HasPrefix(lane, slowedLane) {
		room = tenantJobs
	} else if lane != "" && lane != termsLane && !isAside(lane) {
		room = q.unprovenShare()
	}
	w.mu.Lock()
	until := w.horizon
	w.mu.Unlock()
	var cursor store.Cursor
	for {
		entries, next, err := q.Store.Due(q.stopping, q.own, lane, cursor, until, min(page, room+1)) // one more shows that there is more
		if err != nil {
			w.trouble("a lane cannot be read", err)
			return
		}
		for _, e := range entries {
			switch {
			case e.At.After(now):
				w.at(lane, e.At)
				return
			case q.flights.count() >= window-freshReserve && lane != termsLane: // a review is over at once
				w.missed()
				return
			case room == 0:
				q.lanes.leave(lane, elapsed)
				return
			}
			f := q.flights.take(e)
			if f == nil {
				continue
			}
			if room--; probe {
				site.seek(elapsed)
			}
			select {
			case q.way(e.ID) <- f:
			default:
				q.flights.end(f)
				w.missed()
				return
			}
		}
		if next == nil {
			return
		}
		cursor = next
	}
}

type soon struct {
	at   time.Time
	lane store.Lane
}

type soonHeap []soon

func (h soonHeap) Len() int           { return len(h) }
func (h soonHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h soonHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *soonHeap) Push(x any)        { *h = append(*h, x.(soon)) }
func (h *soonHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// pace starts the site at a time when its rate allows a message.
func (w *waker) pace(s *site, at time.Time) {
	w.mu.Lock()
	heap.Push(&w.paced, paced{at, s})
	first := w.paced[0].site == s
	w.mu.Unlock()
	if first {
		w.poke()
	}
}

// pacedBy takes a site whose time has come.
func (w *waker) pacedBy(now time.Time) (p paced, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.paced) == 0 || w.paced[0].at.After(now) {
		return p, false
	}
	return heap.Pop(&w.paced).(paced), true
}

// come starts the site at a time that was waited for. Another one may be waited for instead by now. mu is not held.
func (s *site) come(at, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timed && at.Equal(s.pacedAt) {
		s.timed = false
	}
	if at.Equal(s.tenantAt) {
		s.tenantAt = time.Time{}
	}
	s.start(now)
}

type paced struct {
	at   time.Time
	site *site
}

type paceHeap []paced

func (h paceHeap) Len() int           { return len(h) }
func (h paceHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h paceHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *paceHeap) Push(x any)        { *h = append(*h, x.(paced)) }
func (h *paceHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = paced{}
	*h = old[:len(old)-1]
	return x
}
