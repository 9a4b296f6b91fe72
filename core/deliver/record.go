package deliver

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

const stepStage = "deliver"

// protected says how a connection is protected: nothing where it is in clear and no more was wanted.
func (c *conn) protected() string {
	switch {
	case c.protection != "":
		return ", " + c.protection
	case c.plain != "":
		return ", in clear since " + c.plain
	}
	return ""
}

// verdict returns what a reply of ours or of a whole host comes to: "deferred 451 4.4.1" or "failed 550 5.1.2".
func verdict(r smtp.Reply) string {
	result := message.Failed
	if r.Temporary() {
		result = message.Deferred
	}
	return word(result, r)
}

func word(result message.Result, r smtp.Reply) string {
	if result == message.Delivered {
		return result.String()
	}
	w := result.String() + " " + strconv.Itoa(r.Code)
	if r.Enhanced != "" {
		w += " " + r.Enhanced
	}
	return w
}

// text returns a reply as it stands in a record: one line, bounded. What a remote said was made printable by smtp; what an
// error of this system or of the DNS says is made so here.
func text(r smtp.Reply) string { return line(r.Error()) }

func line(s string) string {
	if len(s) > message.MaxLastText {
		s = s[:message.MaxLastText]
	}
	if strings.IndexFunc(s, unprintable) >= 0 {
		s = strings.Map(func(c rune) rune {
			if unprintable(c) {
				return '?'
			}
			return c
		}, s)
	}
	return s
}

func unprintable(c rune) bool { return c < ' ' || c > '~' }

// record adds the step of one address. The outcomes in before were decided already when it was tried; f is why it was of no
// use to the others, or nil.
func (d *delivery) record(host, how string, start time.Time, before []message.Result, f *failure, note string) {
	if d.job.Record == nil {
		return
	}
	var counts [message.Failed + 1]int
	var shown *message.Outcome // the first that is not delivered, else the last
	for i := range d.outcomes {
		o := &d.outcomes[i]
		if o.Result == 0 || before != nil && before[i] != 0 {
			continue
		}
		counts[o.Result]++
		if shown == nil || shown.Result == message.Delivered {
			shown = o
		}
	}
	end := d.now()
	step := observe.Step{Time: start, Stage: stepStage, Micros: uint32(min(max(end.Sub(start).Microseconds(), 0), 1<<32-1))}
	detail := host + " " + how + ", "
	switch {
	case f != nil:
		step.Verdict = verdict(f.reply)
		detail += text(f.reply)
	case shown != nil:
		step.Verdict = word(shown.Result, shown.Reply)
		detail += strings.Replace(text(shown.Reply), host+": ", "", 1) // it stands before it already
		if shown.Result != message.Delivered && d.stage != "" {
			detail += " (in reply to " + d.stage + ")"
		}
	}
	if n := counts[message.Delivered] + counts[message.Deferred] + counts[message.Failed]; n > 1 && counts[message.Delivered] < n {
		detail += fmt.Sprintf("; %d delivered, %d deferred, %d failed", counts[message.Delivered], counts[message.Deferred], counts[message.Failed])
	}
	step.Detail = detail + note
	d.job.Record(step)
}
