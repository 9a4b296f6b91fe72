package queue

import (
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// What becomes of mail whose site sleeps: an entry in the lane's own place on disk just stays, and one that was not routed before
// is moved there, once. So a site with a million messages costs nothing while it sleeps. What was agreed on with senders counts
// all the same (review.go). When the site wakes its lanes are looked at.

// rest leaves a job to the disk until its site wakes. why is the answer of whoever was tried last, for people and for what a
// sender is told.
func (q *Queue) rest(j *job, s *site, until time.Time, why *message.Outcome) {
	s.leaves(j.la, until)
	j.why = why
	q.park(j)
}

// resting tells whether mail of a lane is left alone now.
func (q *Queue) resting(la *lane, s *site, now time.Time) bool {
	set := s.q.Settings()
	s.mu.Lock()
	s.refresh(&set)
	rests, until := s.asleep(now), s.until
	switch c := s.closed(now); {
	case c == nil:
		s.stuck = false
	case !rests && (!c.full || s.stuck): // else its mail may go by another source
		rests, until = true, c.until
	}
	if !rests && s.fails == 0 {
		s.woke(now)
	}
	s.mu.Unlock()
	if rests {
		s.leaves(la, until)
	}
	return rests
}
