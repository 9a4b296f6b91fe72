package queue

import (
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// A site may be closed: it has a window, and that is not open now, or the source may send no more to it today (warmup.go). Then it is as with
// one that sleeps (rest.go): its mail lies in its lanes on disk, untouched, and its lanes are looked at when it opens. Nothing is probed,
// and nobody opens it by asking. What is being attempted when it closes goes on to its end; what waits in memory goes to the disk.

// closing is until when a site is closed, and why.
type closing struct {
	until time.Time // by the clock that time.Now has
	why   message.Outcome
	full  bool // its source has sent enough today; another may
}

// closed tells whether the site is, and why; nil: it is open. mu is held.
func (s *site) closed(now time.Time) *closing {
	if c := s.q.outside(s.limits.Window, now); c != nil {
		return c
	}
	set := Settings{Shape: s.shape}
	if w := set.warmup(s.key.source); w != nil && s.q.ramps.full(w, s.key.source, s.key.name) {
		return s.q.tomorrow(s.key.source, now)
	}
	return nil
}

// shut leaves a job of a closed site to another source, or to the disk. mu is not held.
func (s *site) shut(j *job, c *closing) {
	if c.full && len(j.spare) > 0 {
		s.q.pass(j, c.why.Reply.Text[0])
		s.q.lanes.done(j)
		return
	}
	if c.full {
		s.mu.Lock()
		s.stuck = true
		s.mu.Unlock()
	}
	s.q.rest(j, s, c.until, &c.why)
}

// outside tells whether a window is closed.
func (q *Queue) outside(w Window, now time.Time) *closing {
	if w == nil {
		return nil
	}
	wall := q.now()
	opens := w.Opens(wall)
	if !opens.After(wall) {
		return nil
	}
	return &closing{until: now.Add(opens.Sub(wall)), why: shut("the window of this site, " + w.String() + ", opens at " + opens.UTC().Format(time.RFC3339))}
}

func shut(why string) message.Outcome {
	return message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.2", why)}
}

// shuts takes what waits for a site that is closed out of memory, and tells whether it is. mu is held.
func (s *site) shuts(now time.Time) bool {
	c := s.closed(now)
	if c == nil {
		return false
	}
	for _, la := range s.hungry {
		la.more.Store(false)
		s.q.wake.again(la.name, c.until)
	}
	s.hungry = nil
	if jobs := s.jobs.drain(); len(jobs) > 0 {
		s.q.workers.Add(1)
		go func() { // mu is held here, and wanted there
			defer s.q.workers.Done()
			for _, j := range jobs {
				s.shut(j, c)
			}
		}()
	}
	return true
}
