package queue

import (
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/bounce"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
)

// Counts are what was counted since the start.
type Counts struct {
	Attempts *observe.Counters // by what came of them
	Outcomes *observe.Counters // of recipients
	Deferred *observe.Counters // recipients by the class of why
	Failed   *observe.Counters // alike
	Notices  *observe.Counters
	Attempt  *observe.Histogram // how long an attempt took
	Delay    *observe.Histogram // from arrival to delivery, of a recipient
	Mark     *observe.Histogram // how long a batch of marks took to be written
	Batch    *observe.Histogram // marks in one
}

// NewCounts makes empty ones.
func NewCounts() *Counts {
	var results []string
	for r := message.Deferred; r <= message.Discarded; r++ {
		results = append(results, r.String())
	}
	var classes []string
	for _, i := range bounce.Classes() {
		classes = append(classes, string(i.Class))
	}
	return &Counts{
		Deferred: observe.NewCounters(classes...),
		Failed:   observe.NewCounters(classes...),
		Attempts: observe.NewCounters("delivered", "partial", "deferred", "failed"),
		Outcomes: observe.NewCounters(results...),
		Notices:  observe.NewCounters(noticeSent, noticeDiscarded),
		Attempt:  observe.NewTimes(10*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second, time.Minute, 10*time.Minute),
		Delay: observe.NewTimes(100*time.Millisecond, time.Second, 10*time.Second, time.Minute, 10*time.Minute, time.Hour,
			6*time.Hour, 24*time.Hour, 3*24*time.Hour),
		Mark:  observe.NewTimes(time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second),
		Batch: observe.NewSizes(1, 4, 16, 64, markBatch),
	}
}

// attempted counts one attempt with its outcomes.
func (c *Counts) attempted(took time.Duration, outcomes []message.Outcome) {
	c.Attempt.Took(took)
	delivered, failed := 0, 0
	for i := range outcomes {
		switch outcomes[i].Result {
		case message.Delivered, message.Discarded:
			delivered++
		case message.Failed:
			failed++
		}
	}
	switch {
	case delivered == len(outcomes):
		c.Attempts.Add(0)
	case delivered > 0:
		c.Attempts.Add(1)
	case failed < len(outcomes):
		c.Attempts.Add(2)
	default:
		c.Attempts.Add(3)
	}
}

// outcome counts what one recipient came to.
func (c *Counts) outcome(r message.Result, class string, delay time.Duration) {
	c.Outcomes.Add(int(r - message.Deferred))
	switch i := slices.Index(c.Failed.Names(), class); {
	case r == message.Delivered:
		c.Delay.Took(delay)
	case r == message.Deferred && i >= 0:
		c.Deferred.Add(i)
	case r == message.Failed && i >= 0:
		c.Failed.Add(i)
	}
}

// wrote counts a batch of marks; those that say nothing are none.
func (c *Counts) wrote(began time.Time, n int) {
	if n > 0 {
		c.Mark.Took(time.Since(began))
		c.Batch.Observe(int64(n))
	}
}

const noticeSent, noticeDiscarded = "sent", "discarded"

func (c *Counts) notice(verdict string) {
	if verdict == noticeSent {
		c.Notices.Add(0)
	} else {
		c.Notices.Add(1)
	}
}

// Counts are what was counted since the start.
func (q *Queue) Counts() *Counts { return q.counts }

// Load is what the queue has in memory now.
type Load struct {
	Flights, Window int   // due entries, and the most there may be
	Content, Budget int64 // bytes of content, and the most there may be
	Lanes           int   // next hops with work
	Sites, Asleep   int   // that are known; and of those, which do not answer
	Waiting         int   // jobs in lanes that no attempt has begun for
	Running         int   // attempts
	Marks           int   // outcomes that wait to be written
}

// Load looks at the lanes shard by shard: the numbers are near each other in time, not of one moment.
func (q *Queue) Load() Load {
	l := Load{Flights: q.flights.count(), Window: window, Content: q.budget.used.Load(), Budget: windowContent, Running: int(q.slots.running.Load()), Marks: len(q.marks)}
	for i := range q.lanes.shards {
		s := &q.lanes.shards[i]
		s.mu.Lock()
		for _, la := range s.lanes {
			if la.busy.Load() > 0 {
				l.Lanes++
			}
			l.Waiting += len(la.pending)
		}
		s.mu.Unlock()
	}
	now := time.Now()
	for _, s := range q.lanes.all() {
		s.mu.Lock()
		l.Waiting += s.jobs.n
		if l.Sites++; s.asleep(now) {
			l.Asleep++
		}
		s.mu.Unlock()
	}
	return l
}
