package queue

import (
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// A tenant that is slowed down at a site has limits of his own there, beside those of the site. His jobs are passed over while he
// may not send, so others of the site do not wait for him; and since much of his mail may come meanwhile, only a few of his jobs wait in
// memory: the rest is moved to a lane aside, once, where it does not stand before others' on disk, and is fetched as he sends.

// slowedLane is before the name of a lane for mail of a tenant that is slowed down.
const slowedLane = "slowed:"

// isAside tells whether a lane leads nowhere: mail lies there that is to be routed when it is tried.
func isAside(lane store.Lane) bool {
	return strings.HasPrefix(lane, suspendedLane) || strings.HasPrefix(lane, slowedLane)
}

// pace is how a tenant goes that is slowed down at a site.
type pace struct {
	limits Limits // those that are set are the measures'
	table  *measureTable
	active int
	tat    time.Time  // as that of the site
	more   store.Lane // there is more on disk; "": nothing is
}

// paceOf is the tenant's pace; nil: he is not slowed down. The site's mu is held, as in all that follows.
func (s *site) paceOf(tenant string) *pace {
	t := s.measured
	if !s.tenants || !t.slowed[strings.ToLower(tenant)] {
		return nil
	}
	p := s.paces[tenant]
	if p != nil && p.table == t {
		return p
	}
	limits, slow := t.limits(Limits{}, s.key, tenant)
	switch {
	case slow && p == nil:
		if s.paces == nil {
			s.paces = map[string]*pace{}
		}
		p = &pace{}
		s.paces[tenant] = p
	case slow && limits.Rate.interval() < p.limits.Rate.interval():
		p.tat = time.Time{}
	case !slow:
		delete(s.paces, tenant) // who runs still holds it
		return nil
	}
	p.limits, p.table = limits, t
	return p
}

// may is how many of a tenant's jobs may begin now, and when another one may, if none may for the rate.
func (p *pace) may(now time.Time) (n int, at time.Time) {
	n = window
	if c := p.limits.Concurrency; c > 0 {
		n = max(0, c-p.active)
	}
	if p.limits.Rate.N > 0 {
		if at = p.tat.Add(-rateGrain); at.After(now) {
			return 0, at
		}
		n = min(n, 1)
	}
	return n, time.Time{}
}

// ready is how many of the jobs may begin as far as their tenants are concerned.
func (s *site) ready(now time.Time) int {
	n := s.jobs.n
	if !s.tenants {
		return n
	}
	for name, t := range s.jobs.tenants {
		if p := s.paceOf(name); p != nil {
			may, at := p.may(now)
			n -= max(0, t.n-may)
			s.looks(at)
		}
	}
	return n
}

// looks has the site started at a time when a tenant may send again.
func (s *site) looks(at time.Time) {
	if !at.IsZero() && (s.tenantAt.IsZero() || at.Before(s.tenantAt)) {
		s.tenantAt = at
		s.q.wake.pace(s, at)
	}
}

// take takes the job whose turn it is of those whose tenants may send; nil: there is none.
func (s *site) take(now time.Time) *job {
	if !s.tenants {
		return s.jobs.take(nil)
	}
	j := s.jobs.take(func(name string) bool {
		p := s.paceOf(name)
		if p == nil {
			return false
		}
		n, at := p.may(now)
		s.looks(at)
		return n == 0
	})
	if j == nil {
		return nil
	}
	if p := s.paceOf(j.flight.msg.env.Tenant); p != nil {
		p.active++
		j.pace = p
		if r := p.limits.Rate; r.N > 0 {
			if p.tat.Before(now) {
				p.tat = now
			}
			p.tat = p.tat.Add(r.interval())
		}
		if p.more != "" && s.jobs.waiting(j.flight.msg.env.Tenant) <= tenantJobs/4 {
			s.q.wake.again(p.more, now)
			p.more = ""
		}
	}
	return j
}

// over says that an attempt of a tenant that is slowed down ended. mu is not held.
func (s *site) over(j *job) {
	if j.pace != nil {
		s.mu.Lock()
		j.pace.active--
		j.pace = nil
		s.mu.Unlock()
	}
}

// asideOf is where a job is to lie that finds enough of its tenant's waiting, since he is slowed down; "": it may wait here.
func (s *site) asideOf(j *job) store.Lane {
	tenant := j.flight.msg.env.Tenant
	p := s.paceOf(tenant)
	if p == nil || s.jobs.waiting(tenant) < tenantJobs {
		return ""
	}
	m := s.measured.firstOf(s.key, tenant)
	if m == nil {
		return ""
	}
	p.more = m.aside()
	return p.more
}

// firstOf is the measure that slows a tenant down at a site and was taken first.
func (t *measureTable) firstOf(key siteKey, tenant string) (found *Measure) {
	t.find(slowing, laneFrom(key.source), key.name, tenant, func(m *Measure) bool {
		if m.Tenant != "" && (found == nil || m.aside() < found.aside()) {
			found = m
		}
		return true
	})
	return found
}

// layAside moves a job to a lane where it stands in nobody's way, unless it lies there. mu of the site is not held.
func (q *Queue) layAside(j *job, lane store.Lane) {
	if j.flight.entry.Lane == lane {
		q.skip(j)
		return
	}
	now := store.WholeSecond(q.now())
	m := j.flight.msg
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := store.Change{ID: m.id, Rev: m.state.Rev}
	j.claim()
	for _, i := range j.rcpts {
		st := &m.state.Rcpts[i]
		st.Result, st.Lane, st.Next = message.Deferred, lane, now
		ch.Rcpts = append(ch.Rcpts, store.RcptChange{Index: uint16(i), RcptState: *st})
		ch.Add = due(ch.Add, m, st, i)
	}
	q.submit(j.flight, ch)
}
