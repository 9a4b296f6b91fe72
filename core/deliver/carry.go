package deliver

import (
	"context"
	"fmt"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// Transport is what a [transport.NAME] of the configuration declares. One of its fields is set.
type Transport struct {
	Socket  string  // LMTP is spoken on this socket
	Carrier Carrier // takes messages in any other way
}

// Carrier delivers by another way than SMTP and LMTP. It is safe for concurrent use.
type Carrier interface {
	// Carry attempts a job and returns one outcome for each of Job.Rcpts, in their order: Delivered, Deferred or Failed, with Host where
	// there was an answer, be it that of a file system. When ctx ends, what is not decided is deferred without a Host. Job.Record is not
	// for it.
	Carry(ctx context.Context, job *Job) []message.Outcome
	// String says what it delivers to, for records: "maildir:/var/mail".
	String() string
}

// transported finds the transport that the plan names.
func (d *delivery) transported() (Transport, *failure) {
	name := d.job.Plan.Via
	t, known := d.transport(name)
	if !known {
		return t, failed(451, "4.3.5", "the route names the transport "+name+", but the configuration has no [transport."+name+"]")
	}
	return t, nil
}

// carry hands the job to what delivers by another way, which is one attempt with one step in the record.
func (d *delivery) carry(c Carrier) {
	start := d.now()
	outcomes := c.Carry(d.ctx, d.job)
	for i := range d.outcomes {
		o, _ := answerOf(c, outcomes, i)
		d.set(i, o)
	}
	d.record("transport:"+d.job.Plan.Via, "("+c.String()+")", start, nil, nil, "")
}

// answerOf is what a carrier made of one of a job's recipients; false: it gave no answer, which is a mistake of its own and must not lose mail.
func answerOf(c Carrier, outcomes []message.Outcome, k int) (message.Outcome, bool) {
	if k < len(outcomes) && outcomes[k].Result != 0 {
		return outcomes[k], true
	}
	return message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(451, "4.3.0", fmt.Sprintf("%s gave no answer for this recipient", c))}, false
}
