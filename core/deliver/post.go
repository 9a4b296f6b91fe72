package deliver

import (
	"fmt"

	"github.com/stagepost/stagepost/core/message"
)

// post hands what is open to a URL that the plan names, which is one attempt with one step in the record. As with servers, an answer about the
// message is that of the whole plan, and so is none once the message may have come through whole. Where nobody answered, or the answer is
// about the server, the next host is tried.
func (d *delivery) post(h hop) {
	start, before := d.now(), d.decided()
	secret := func() ([]byte, error) {
		name := d.job.Plan.Auth.Secret
		text, ok, err := d.secret(name)
		if err == nil && !ok {
			err = fmt.Errorf("there is no secret %q in the folder of [secrets]", name)
		}
		return text, err
	}
	c := d.poster(h.url, h.private, secret)
	if c == nil {
		d.missing(h.url, failed(451, "4.3.5", "this server posts no messages"))
		return
	}
	job, open := *d.job, make([]int, 0, d.open)
	job.Rcpts = make([]int, 0, d.open)
	for i := range d.outcomes {
		if d.outcomes[i].Result == 0 {
			open, job.Rcpts = append(open, i), append(job.Rcpts, d.job.Rcpts[i])
		}
	}
	outcomes := c.Carry(d.ctx, &job)
	var f *failure
	by := ""
	for k, i := range open {
		o, ok := answerOf(c, outcomes, k)
		d.met = d.met || !ok || o.Host != "" || o.Unknown
		if ok && o.Result == message.Deferred && !o.Unknown && (o.Host == "" || o.Onward) {
			f, by = &failure{reply: o.Reply, away: o.Away, remote: o.Host != "", after: o.After}, o.Host
			continue
		}
		d.set(i, o)
	}
	if f != nil {
		d.blame(f, by)
	}
	d.record(h.url, "posted", start, before, f, "")
}

// decided tells which outcomes there are already, for the record of the next step; nil: none.
func (d *delivery) decided() []message.Result {
	if d.job.Record == nil || d.open == len(d.outcomes) {
		return nil
	}
	before := make([]message.Result, len(d.outcomes))
	for i, o := range d.outcomes {
		before[i] = o.Result
	}
	return before
}
