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
	rings  [3]ring // of high, no and low priority (RFC 6710)
	turn   int
	active int
	more   bool // jobs were turned away or left on disk: look there when there is room
}

// ring is jobs in the order in which they came.
type ring struct {
	jobs []*job
	head int
}

func (r *ring) waiting() int { return len(r.jobs) - r.head }

func (la *lane) waiting() int {
	return la.rings[0].waiting() + la.rings[1].waiting() + la.rings[2].waiting()
}

func (la *lane) push(j *job) {
	r := &la.rings[1]
	switch p := j.flight.msg.env.Priority; {
	case p > 0:
		r = &la.rings[0]
	case p < 0:
		r = &la.rings[2]
	}
	r.jobs = append(r.jobs, j)
}

// turns says whose turn it is: where there are jobs of all priorities, 8 of 13 are high, 4 have none and 1 is low. So what is urgent
// hardly waits, and nothing waits for ever.
const turns = "0010010010012"

// take takes a job; there is one.
func (la *lane) take() *job {
	r := &la.rings[turns[la.turn]-'0']
	la.turn = (la.turn + 1) % len(turns)
	for i := 0; r.waiting() == 0; i++ {
		r = &la.rings[i]
	}
	j := r.jobs[r.head]
	r.jobs[r.head] = nil
	r.head++
	if r.head == len(r.jobs) {
		r.jobs, r.head = r.jobs[:0], 0
	} else if r.head >= len(r.jobs)/2 && r.head >= laneJobs {
		r.jobs = append(r.jobs[:0], r.jobs[r.head:]...)
		r.head = 0
	}
	return j
}

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
	if l.q.parked(j) {
		return
	}
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
	la.push(j)
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

// next takes the lane's next job; nil ends the worker.
func (l *lanes) next(name store.Lane, la *lane) *job {
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if la.waiting() == 0 || l.q.stopping.Err() != nil || la.active > l.q.Settings().Concurrency {
		la.active--
		if la.waiting() == 0 && la.active == 0 {
			delete(s.lanes, name)
			if la.more {
				l.q.wake.again(name, time.Now())
			}
		}
		return nil
	}
	j := la.take()
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
