package queue

import "slices"

// fair is the jobs that wait for a site. Tenants take turns: each may send as much in a turn as its credit allows (deficit round
// robin). So a tenant with a million messages takes no more of a site than one with ten, and a large message counts for what it
// costs. Within a tenant the urgent go first: who marks all his mail as urgent hurries no one else's away.
type fair struct {
	n       int
	ring    []*tenant // that have jobs
	at      int       // whose turn it is
	tenants map[string]*tenant
	spare   *tenant // without jobs, to be used again
}

type tenant struct {
	name   string
	credit int
	n      int
	rings  [3]ring // of high, no and low priority (RFC 6710)
	turn   int
}

const (
	quantum  = 8         // credit for a turn
	costUnit = 64 << 10  // bytes that cost as much as a recipient
	maxCost  = 64 * 1024 // of one job, so that what was sent is paid off in time
)

// cost is what a job takes of its tenant's credit.
func (j *job) cost() int {
	return int(min(int64(len(j.rcpts))+j.flight.msg.env.Size/costUnit, maxCost))
}

// waiting is how many jobs of a tenant there are.
func (f *fair) waiting(name string) int {
	if t := f.tenants[name]; t != nil {
		return t.n
	}
	return 0
}

func (f *fair) push(j *job) {
	name := j.flight.msg.env.Tenant
	t := f.tenants[name]
	if t == nil {
		if f.tenants == nil {
			f.tenants = map[string]*tenant{}
		}
		if t, f.spare = f.spare, nil; t == nil {
			t = &tenant{}
		}
		t.name, t.credit = name, quantum
		f.tenants[name] = t
		f.ring = append(f.ring, t)
	}
	t.push(j)
	f.n++
}

// take takes the job whose turn it is, of tenants that are not kept; nil: there is none. kept may be nil.
func (f *fair) take(kept func(tenant string) bool) *job {
	for passed := 0; passed < len(f.ring); {
		if f.at >= len(f.ring) {
			f.at = 0
		}
		t := f.ring[f.at]
		if kept != nil && kept(t.name) {
			f.at++
			passed++
			continue
		}
		passed = 0
		if t.credit <= 0 {
			if t.credit += quantum; t.credit <= 0 { // it still pays for something large
				f.at++
				continue
			}
		}
		j := t.take()
		f.n--
		switch t.credit -= j.cost(); {
		case t.n == 0:
			f.ring = slices.Delete(f.ring, f.at, f.at+1)
			delete(f.tenants, t.name)
			t.name, f.spare = "", t
		case t.credit <= 0:
			f.at++
		}
		return j
	}
	return nil
}

// drain takes all jobs.
func (f *fair) drain() (jobs []*job) {
	for f.n > 0 {
		jobs = append(jobs, f.take(nil))
	}
	return jobs
}

func (t *tenant) push(j *job) {
	r := &t.rings[1]
	switch p := j.flight.msg.env.Priority; {
	case p > 0:
		r = &t.rings[0]
	case p < 0:
		r = &t.rings[2]
	}
	r.jobs = append(r.jobs, j)
	t.n++
}

// turns says whose turn it is: where there are jobs of all priorities, 8 of 13 are high, 4 have none and 1 is low. So what is urgent
// hardly waits, and nothing waits for ever.
const turns = "0010010010012"

func (t *tenant) take() *job {
	r := &t.rings[turns[t.turn]-'0']
	t.turn = (t.turn + 1) % len(turns)
	for i := 0; r.waiting() == 0; i++ {
		r = &t.rings[i]
	}
	t.n--
	return r.take()
}

// ring is jobs in the order in which they came.
type ring struct {
	jobs []*job
	head int
}

func (r *ring) waiting() int { return len(r.jobs) - r.head }

func (r *ring) take() *job {
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
