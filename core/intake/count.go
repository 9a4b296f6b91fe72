package intake

import (
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// Counts are of all transactions of one role since the start.
type Counts struct {
	Messages *observe.Counters // by what became of them
	Rcpts    *observe.Counters // accepted and refused
	Sizes    *observe.Histogram
}

// The outcomes of transactions that have no word of their own in the log: a refusal for now, and mail accepted to be held.
const (
	outcomeDeferred = "deferred"
	outcomeHeld     = "held"
)

// NewCounts makes empty ones.
func NewCounts() *Counts {
	return &Counts{
		Messages: observe.NewCounters("accepted", outcomeHeld, "discarded", "rejected", outcomeDeferred, "dropped", "unknown"),
		Rcpts:    observe.NewCounters("accepted", "refused"),
		Sizes:    observe.NewSizes(4<<10, 32<<10, 256<<10, 2<<20, 16<<20),
	}
}

func (c *Counts) message(outcome string) {
	for i, name := range c.Messages.Names() {
		if name == outcome {
			c.Messages.Add(i)
		}
	}
}

func (c *Counts) rejected(reply smtp.Reply) {
	switch {
	case c == nil: // a role that there is not
	case reply.Temporary():
		c.message(outcomeDeferred)
	default:
		c.message("rejected")
	}
}

// count counts a transaction that ends.
func (t *Transaction) count(outcome string, reply smtp.Reply) {
	t.in.seconds.Took(time.Since(t.began))
	c := t.in.counts[t.env.Session.Role]
	if c == nil {
		return
	}
	c.Rcpts.AddN(0, t.accepted)
	c.Rcpts.AddN(1, t.refused)
	switch {
	case outcome == "rejected":
		c.rejected(reply)
		return
	case outcome == "accepted" && t.env.Hold != "":
		outcome = outcomeHeld
	}
	c.message(outcome)
	if outcome == "accepted" || outcome == outcomeHeld {
		c.Sizes.Observe(t.env.Size)
	}
}

// Counts are what was counted for a role; nil for one that there is not.
func (in *Intake) Counts(role message.Role) *Counts { return in.counts[role] }

// Seconds is how long transactions took, from MAIL to their end.
func (in *Intake) Seconds() *observe.Histogram { return in.seconds }

func newSeconds() *observe.Histogram {
	return observe.NewTimes(10*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second, time.Minute, 10*time.Minute)
}
