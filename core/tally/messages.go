package tally

import (
	"time"

	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// Role is what was counted of all transactions of one role since the start.
type Role struct {
	Messages *observe.Counters // by what became of them
	Rcpts    *observe.Counters // accepted and refused
	Sizes    *observe.Histogram
}

// The outcomes of transactions that have no word of their own in the log: a refusal for now, and mail accepted to be held.
const (
	outcomeDeferred = "deferred"
	outcomeHeld     = "held"
)

// NewRole makes an empty one.
func NewRole() *Role {
	return &Role{
		Messages: observe.NewCounters("accepted", outcomeHeld, "discarded", "rejected", outcomeDeferred, "dropped", "unknown"),
		Rcpts:    observe.NewCounters("accepted", "refused"),
		Sizes:    observe.NewSizes(4<<10, 32<<10, 256<<10, 2<<20, 16<<20),
	}
}

func (r *Role) message(outcome string) {
	for i, name := range r.Messages.Names() {
		if name == outcome {
			r.Messages.Add(i)
		}
	}
}

// Rejected counts a message that was refused. A nil Role counts nothing.
func (r *Role) Rejected(reply smtp.Reply) {
	switch {
	case r == nil:
	case reply.Temporary():
		r.message(outcomeDeferred)
	default:
		r.message("rejected")
	}
}

// Ended counts a transaction by its outcome, a word of the log. held says that what was accepted is held.
func (r *Role) Ended(outcome string, reply smtp.Reply, held bool, size int64) {
	switch {
	case r == nil:
		return
	case outcome == "rejected":
		r.Rejected(reply)
		return
	case outcome == "accepted":
		r.Sizes.Observe(size)
		if held {
			outcome = outcomeHeld
		}
	}
	r.message(outcome)
}

// NewSeconds makes the histogram of how long transactions take, from MAIL to their end.
func NewSeconds() *observe.Histogram {
	return observe.NewTimes(10*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second, time.Minute, 10*time.Minute)
}
