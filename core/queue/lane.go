package queue

import (
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// lanes holds the next hops that have work in memory. A lane exists while it has a job or a worker.
type lanes struct {
	q      *Queue
	shards [16]struct {
		mu    sync.Mutex
		lanes map[store.Lane]*lane
	}
}

// lane is the jobs that wait for one next hop, and how many are being attempted.
type lane struct {
	jobs   []*job
	head   int
	active int
	more   bool // jobs were turned away or left on disk: look there when there is room
}

func (la *lane) waiting() int { return len(la.jobs) - la.head }

// most is how many jobs one lane may hold: a quarter of the room there is in the window, so that a burst to one next hop stays
// in memory, while many next hops that are stuck leave room for the others.
func (l *lanes) most() int { return max(laneJobs, (window-l.q.flights.count())/4) }

func (l *lanes) init(q *Queue) {
	l.q = q
	for i := range l.shards {
		l.shards[i].lanes = make(map[store.Lane]*lane)
	}
}

func (l *lanes) shard(name store.Lane) *struct {
	mu    sync.Mutex
	lanes map[store.Lane]*lane
} {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return &l.shards[h&15]
}

// push gives a job to its lane, and a worker to the lane if it may have another. A full lane turns the job away: its entry
// is moved to the lane's own place on disk, so that the lane "" never fills with what cannot be sent.
func (l *lanes) push(j *job) {
	s := l.shard(j.lane)
	s.mu.Lock()
	la := s.lanes[j.lane]
	if la == nil {
		la = &lane{}
		s.lanes[j.lane] = la
	}
	if la.waiting() >= l.most() {
		la.more = true
		s.mu.Unlock()
		l.q.overflow(j)
		return
	}
	la.jobs = append(la.jobs, j)
	start := la.active < l.q.Settings().Concurrency
	if start {
		la.active++
		l.q.workers.Add(1)
	}
	s.mu.Unlock()
	if start {
		l.q.senders.Go(func() { l.work(j.lane, la) })
	}
}

// next takes the lane's oldest job; nil ends the worker.
func (l *lanes) next(name store.Lane, la *lane) *job {
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if la.head == len(la.jobs) || l.q.stopping.Err() != nil || la.active > l.q.Settings().Concurrency {
		la.active--
		if la.head == len(la.jobs) && la.active == 0 {
			delete(s.lanes, name)
			if la.more {
				l.q.wake.again(name, time.Now())
			}
		}
		return nil
	}
	j := la.jobs[la.head]
	la.jobs[la.head] = nil
	la.head++
	if la.head == len(la.jobs) {
		la.jobs, la.head = la.jobs[:0], 0
	} else if la.head >= len(la.jobs)/2 && la.head >= laneJobs {
		la.jobs = append(la.jobs[:0], la.jobs[la.head:]...)
		la.head = 0
	}
	if la.more && la.waiting() <= l.most()/4 {
		la.more = false
		l.q.wake.again(name, time.Now())
	}
	return j
}

// room is how many more jobs the lane takes; leaves marks that more lies on disk.
func (l *lanes) room(name store.Lane) int {
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if la := s.lanes[name]; la != nil {
		return max(0, l.most()-la.waiting())
	}
	return l.most()
}

// leave marks that more of the lane lies on disk than there was room for.
func (l *lanes) leave(name store.Lane) {
	s := l.shard(name)
	s.mu.Lock()
	la := s.lanes[name]
	if la != nil {
		la.more = true
	}
	s.mu.Unlock()
	if la == nil { // it drained meanwhile
		l.q.wake.again(name, time.Now())
	}
}

func (l *lanes) work(name store.Lane, la *lane) {
	defer l.q.workers.Done()
	for j := l.next(name, la); j != nil; j = l.next(name, la) {
		l.q.trying <- struct{}{}
		l.q.attempt(j)
		<-l.q.trying
	}
}
