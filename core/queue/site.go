package queue

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// A site takes attempts as far as its limits allow. One that answers 421 gets half as many, and one more with each answer that is
// another. One that nobody answers at is put to sleep: its jobs leave the memory, and nothing is written for
// what lies on disk. When the time is over one attempt probes; an answer, whatever it is, wakes the site, and all its lanes are looked at.
// So a dead site costs an attempt now and then, however much mail it has, and no goroutine or worker waits for it.
const (
	wokenAttempts = 5 // at once, to a site that has just woken; with each answer it is one more
	leastSleep    = time.Minute
	mostSleep     = 30 * time.Minute
	tenantJobs    = 16 // that a tenant may have waiting for a site that is full of others'
	probeWait     = 30 * time.Second
	// rateGrain is how much earlier than an even spread messages may go under a rate, so that there is not a timer for each.
	rateGrain = 100 * time.Millisecond
)

// siteKey names a site: limits hang on where mail goes and where it comes from.
type siteKey struct{ name, source string }

type site struct {
	q     *Queue
	key   siteKey
	lanes int // that lead here; guarded by the shard's lock

	mu     sync.Mutex
	limits Limits
	shape  *Shape // by which limits were set, as was
	common int    // the number in Settings
	jobs   fair
	active int       // attempts
	coming int       // of these, workers that did not take a job yet
	allow  int       // attempts at once that it seems to bear, if that is less than its limit; else 0
	proven bool      // it answered
	tat    time.Time // theoretical arrival time of the next message under the rate (GCRA)

	fails int       // times in a row that nobody answered; above 0 it is asleep until a time, or being probed
	since time.Time // it sleeps
	until time.Time
	why   message.Outcome
	probe time.Time // until then no other probe is looked for

	measured *measureTable    // by which limits were lowered
	tenants  bool             // some are slowed down
	paces    map[string]*pace // of those

	ringed   [classes]bool // it waits for a slot
	timed    bool          // it waits for the rate
	pacedAt  time.Time     // until then
	tenantAt time.Time     // the waker comes then, because a tenant that is slowed down may send; zero: he does not
	hungry   []*lane
	eaters   int     // lanes that were told of room together
	left     []*lane // to be looked at when it wakes
	stuck    bool    // there is mail that no other source may send while it is closed
}

// refresh takes the limits from the configuration if that changed. mu is held, as in all that follows but where it says so.
func (s *site) refresh(set *Settings) {
	t := s.q.measures.table.Load()
	if s.limits.Concurrency == 0 || s.shape != set.Shape || s.common != set.Concurrency || s.measured != t {
		old := s.limits.Rate.interval()
		s.shape, s.common, s.measured = set.Shape, set.Concurrency, t
		s.limits, _ = t.limits(set.limits(s.key.name), s.key, "")
		if s.tenants = t.tenants(s.key); !s.tenants {
			s.paces = nil
		}
		if s.limits.Rate.interval() < old {
			s.hasten(time.Now())
		}
	}
}

// hasten lets the next message go as a rate says that is higher than it was.
func (s *site) hasten(now time.Time) {
	if next := now.Add(s.limits.Rate.interval()); s.tat.After(next) {
		s.tat = next
	}
	if s.timed {
		s.pacedAt = now
		s.q.wake.pace(s, now)
	}
}

func (s *site) asleep(now time.Time) bool { return s.fails > 0 && now.Before(s.until) }

// bound is how many attempts may run at once.
func (s *site) bound() int {
	if s.fails > 0 {
		return 1
	}
	if s.allow > 0 {
		return min(s.allow, s.limits.Concurrency)
	}
	return s.limits.Concurrency
}

// share is how many jobs may wait: a quarter of the room there is in the window, so that a burst to one site stays in memory,
// while many that are stuck leave room for the others.
func (s *site) share() int {
	least := max(laneJobs, 4*s.limits.Concurrency)
	switch {
	case s.fails > 0 || s.timed:
		return least
	case !s.proven:
		return s.q.unprovenShare()
	}
	return max(least, (window-s.q.flights.count())/4)
}

// crowds tells whether a tenant has what he may have of a site that is full.
func (s *site) crowds(tenant string) bool {
	n := s.jobs.waiting(tenant)
	return n >= tenantJobs || n == s.jobs.n
}

// unprovenShare is the share of a site that did not answer yet: thousands of such sites together take a quarter of the
// window, since what waits for them would only fill the memory.
func (q *Queue) unprovenShare() int { return max(1, (window/4-q.flights.count())/8) }

// push takes a job, or leaves it to the disk. mu is not held.
func (s *site) push(j *job, set *Settings, now time.Time) {
	if j.site = s.key.name; s.q.parked(j) {
		s.q.lanes.done(j)
		return
	}
	if s.q.turned(j) {
		s.q.lanes.done(j)
		return
	}
	s.mu.Lock()
	s.refresh(set)
	aside, closed := s.asideOf(j), s.closed(now)
	switch {
	case s.asleep(now):
		until, why := s.until, s.why
		s.mu.Unlock()
		s.q.rest(j, s, until, &why)
		return
	case closed != nil:
		s.mu.Unlock()
		s.shut(j, closed)
		return
	case s.jobs.n >= s.share() && s.crowds(j.flight.msg.env.Tenant):
		s.hunger(j.la)
		s.mu.Unlock()
		s.q.crowded(j)
		return
	case aside != "":
		s.mu.Unlock()
		s.q.layAside(j, aside)
		s.q.lanes.done(j)
		return
	}
	s.jobs.push(j)
	s.start(now)
	s.mu.Unlock()
}

// start begins as many attempts as there may be, one for each job that no worker is on its way to.
func (s *site) start(now time.Time) {
	if s.jobs.n > s.coming && s.shuts(now) {
		return
	}
	for s.jobs.n > s.coming && s.ready(now) > s.coming && !s.timed && s.active < s.bound() && !s.asleep(now) && s.q.stopping.Err() == nil && !s.early(now) {
		c := s.class()
		if s.ringed[c] {
			return
		}
		if !s.q.slots.take(c) {
			s.ringed[c] = true
			if s.q.slots.wait(s, c) {
				s.q.wake.poke()
			}
			return
		}
		s.active++
		s.coming++
		s.q.workers.Add(1)
		s.q.senders.Go(func() { s.q.work(s, c) })
	}
}

// class is that of its next attempt.
func (s *site) class() class {
	switch {
	case s.proven:
		return proven
	case s.active == 0:
		return first
	}
	return further
}

// early tells whether the rate does not allow a message yet; the waker comes back when it does.
func (s *site) early(now time.Time) bool {
	if s.limits.Rate.N == 0 {
		return false
	}
	at := s.tat.Add(-rateGrain)
	if !at.After(now) {
		return false
	}
	if !s.timed {
		s.timed, s.pacedAt = true, at
		s.q.wake.pace(s, at)
	}
	return true
}

// next takes the job for a worker; nil ends the worker. came: it is the worker's first. mu is not held.
func (s *site) next(came bool) *job {
	set, now := s.q.Settings(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(&set)
	if came {
		s.coming--
	}
	if s.jobs.n == 0 || s.active > s.bound() || s.asleep(now) || s.q.stopping.Err() != nil || s.shuts(now) || s.early(now) {
		s.active--
		return nil
	}
	j := s.take(now)
	if j == nil {
		s.active--
		return nil
	}
	if r := s.limits.Rate; r.N > 0 {
		if s.tat.Before(now) {
			s.tat = now
		}
		s.tat = s.tat.Add(r.interval())
		s.start(now)
	}
	if len(s.hungry) > 0 && s.jobs.n <= s.share()/4 {
		s.feed(now)
	}
	j.connectionMessages, j.prefer, j.tls = s.limits.ConnectionMessages, s.limits.Prefer, s.limits.TLS
	if j.pace != nil {
		if n := j.pace.limits.ConnectionMessages; n > 0 && (j.connectionMessages == 0 || n < j.connectionMessages) {
			j.connectionMessages = n
		}
	}
	return j
}

// work makes attempts until there is nothing to do, or another site waits for the slot.
func (q *Queue) work(s *site, c class) {
	defer q.workers.Done()
	waited := false
	for j := s.next(true); j != nil; j = s.next(false) {
		began := time.Now()
		outcomes := q.attempt(j)
		q.lanes.done(j)
		s.over(j)
		if s.ended(outcomes, began) && c != proven {
			c = proven
			q.slots.unproven.Add(-1)
		}
		if waited = q.slots.waiting.Load() > 0; waited {
			s.mu.Lock()
			s.active--
			s.mu.Unlock()
			break
		}
	}
	q.slots.give(c)
	q.serve()
	if waited {
		s.mu.Lock()
		s.start(time.Now())
		s.mu.Unlock()
	}
}

// ended draws from an attempt what it says of the site, and tells whether the site is proven. mu is not held.
func (s *site) ended(outcomes []message.Outcome, began time.Time) bool {
	answered, busy, away := false, -1, -1
	for i := range outcomes {
		switch o := &outcomes[i]; {
		case o.Away:
			away = i
		case o.Host == "":
		case o.Reply.Code == 421: // it is there, and has enough
			busy = i
		default:
			answered = true
		}
	}
	if !answered && busy < 0 && away < 0 {
		return false
	}
	now := time.Now()
	s.mu.Lock()
	var jobs []*job
	switch {
	case answered:
		s.proven = true
		if s.allow > 0 {
			if s.allow++; s.allow >= s.limits.Concurrency {
				s.allow = 0
			}
		}
		if s.fails > 0 {
			s.fails, s.until, s.probe = 0, time.Time{}, time.Time{}
			s.woke(now)
		}
		s.start(now)
	case !began.After(s.since): // that it sleeps already came of others at the same time
	case busy >= 0:
		s.proven = true
		if s.allow = s.bound() / 2; s.allow == 0 {
			jobs = s.sleep(outcomes[busy], now)
			s.allow = 1
		}
	default:
		jobs = s.sleep(outcomes[away], now)
	}
	until, why, proven := s.until, s.why, s.proven
	s.mu.Unlock()
	for _, j := range jobs {
		s.q.rest(j, s, until, &why)
	}
	return proven
}

// sleep puts the site to sleep for longer than the last time, but never for longer than the message that failed waits. It
// returns the jobs that are not to be kept.
func (s *site) sleep(why message.Outcome, now time.Time) []*job {
	s.fails++
	set := s.q.Settings()
	wait := min(leastSleep<<min(s.fails-1, 10), mostSleep)
	if retry := set.times(nil, s.key.name).Retry; len(retry) > 0 {
		wait = min(wait, retry[min(s.fails, len(retry))-1])
	}
	wait -= rand.N(wait/10 + 1) // so that those that fell asleep together do not wake together
	s.since, s.until, s.why, s.probe = now, now.Add(wait), why, time.Time{}
	s.proven, s.allow = false, wokenAttempts
	for _, la := range s.hungry {
		la.more.Store(false)
		s.q.wake.again(la.name, s.until)
	}
	s.hungry = nil
	return s.jobs.drain()
}

// woke has all lanes looked at that were left.
func (s *site) woke(now time.Time) {
	for _, la := range s.left {
		la.left.Store(false)
		la.busy.Add(-1)
		s.q.lanes.left.Add(-1)
		s.q.wake.again(la.name, now)
	}
	s.left = nil
}

// leaves notes that a lane has entries on disk that are not tried before a time. mu is not held.
func (s *site) leaves(la *lane, until time.Time) {
	s.mu.Lock()
	if n := &s.q.lanes.left; n.Load() < maxLeft && la.left.CompareAndSwap(false, true) {
		n.Add(1)
		la.busy.Add(1)
		s.left = append(s.left, la)
	}
	s.mu.Unlock()
	s.q.wake.again(la.name, until)
}

// rouse has the site of a lane probed now, if it sleeps: somebody asked for it.
func (l *lanes) rouse(name store.Lane) {
	if _, s := l.peek(name); s != nil {
		s.mu.Lock()
		if now := time.Now(); s.asleep(now) {
			s.until = now
		}
		s.mu.Unlock()
	}
}

// hunger notes that a lane has more on disk than there is room for.
func (s *site) hunger(la *lane) {
	if la.more.CompareAndSwap(false, true) {
		s.hungry = append(s.hungry, la)
	}
}

// feed has the lanes looked at that have more on disk. They share the room.
func (s *site) feed(now time.Time) {
	s.eaters = len(s.hungry)
	for _, la := range s.hungry {
		la.more.Store(false)
		s.q.wake.again(la.name, now)
	}
	s.hungry = nil
}

// room is how many more jobs of a lane are taken; for a site that is to be probed, one, and the caller tells seek. mu is not held.
func (s *site) room(now time.Time) (n int, probe bool) {
	set := s.q.Settings()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(&set)
	if s.fails > 0 {
		if s.jobs.n > 0 || s.active > 0 || now.Before(s.probe) {
			return 0, false
		}
		return 1, true
	}
	if n = s.share() - s.jobs.n; n <= 0 {
		return 0, false
	}
	return max(1, n/max(1, s.eaters)), false
}

// seek says that what probes the site was found. mu is not held.
func (s *site) seek(now time.Time) {
	s.mu.Lock()
	s.probe = now.Add(probeWait)
	s.mu.Unlock()
}

// leave marks that more of the lane lies on disk than there was room for.
func (l *lanes) leave(name store.Lane, now time.Time) {
	la, s := l.peek(name)
	if s == nil {
		if strings.HasPrefix(name, slowedLane) { // not at once: there is room when its tenant has sent some
			now = now.Add(time.Second)
		}
		l.q.wake.again(name, now)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fails > 0:
		l.q.wake.again(name, now.Add(probeWait))
	case s.jobs.n <= s.share()/4: // it drained meanwhile
		l.q.wake.again(name, now)
	default:
		s.hunger(la)
	}
}
