// Package pipe delivers to programs: one run for each recipient, with the message on its standard input. How it ended says what became
// of the message, by the exit codes of sysexits.h as mail programs have used them since Sendmail.
//
// The program and its arguments are listed in the configuration, and no shell is between. What a client chose may stand in an argument or in
// the environment, but never where an option would be read: an argument that only a value makes begin with a hyphen is refused.
//
// A program gets its time, and its output is read to the end but kept only in part. When the time is over the program is killed with all
// that it started: it leads a process group of its own. One that runs when the server stops is let go on, since nobody could say what it has
// done already.
package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/macro"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// Options of a Carrier.
type Options struct {
	Name      string // of the transport
	Program   string // its path
	Arguments []macro.Text
	Delimiter string        // before an extension; empty: there are none
	TimeLimit time.Duration // for one run
	Hostname  func() string
}

// Bounds of a run.
const (
	maxOutput = 4 << 10         // bytes that are kept
	lastWords = 2 * time.Second // for output, once the program has ended
)

// Carrier runs a program.
type Carrier struct{ o Options }

var _ deliver.Carrier = (*Carrier)(nil)

// New makes a Carrier.
func New(o Options) *Carrier { return &Carrier{o} }

// String implements deliver.Carrier.
func (c *Carrier) String() string { return "pipe " + c.o.Program }

// Carry implements deliver.Carrier.
func (c *Carrier) Carry(ctx context.Context, job *deliver.Job) []message.Outcome {
	out := make([]message.Outcome, len(job.Rcpts))
	for k, i := range job.Rcpts {
		if ctx.Err() != nil {
			out[k] = deliver.Interrupted()
			continue
		}
		out[k] = c.run(ctx, job, i)
	}
	return out
}

// arguments puts the values in. A value that would become an option is an error.
func (c *Carrier) arguments(v *values) ([]string, *message.Outcome) {
	args := make([]string, len(c.o.Arguments))
	for i, text := range c.o.Arguments {
		args[i] = text.Expand(v.argument)
		if name := text.Begins(); name != "" && strings.HasPrefix(args[i], "-") {
			enhanced := "5.1.3"
			if name == "sender" {
				enhanced = "5.1.7"
			}
			o := c.answer(message.Failed, 550, enhanced, fmt.Sprintf("%s begins with a hyphen, which %s could take for an option", name, c.o.Program))
			return nil, &o
		}
	}
	return args, nil
}

// run delivers to one recipient.
func (c *Carrier) run(ctx context.Context, job *deliver.Job, rcpt int) message.Outcome {
	v := c.values(job, rcpt)
	args, refused := c.arguments(v)
	if refused != nil {
		return *refused
	}
	if job.Looped(rcpt) {
		return c.answer(message.Failed, 554, "5.4.6", "the message is in a loop: it was delivered to "+job.Env.Rcpts[rcpt].Address.Text+" before")
	}
	in, err := spool(job, rcpt)
	if err != nil {
		var content deliver.ContentError
		if errors.As(err, &content) {
			return deliver.Deferral(451, "4.3.0", "the content cannot be read: %v", err)
		}
		o := deliver.Deferral(452, "4.3.1", "the message cannot be written for the program: %v", err)
		o.Away = true
		return o
	}
	defer in.Close()
	timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.TimeLimit) // once it runs, nobody knows what it has done already
	defer cancel()
	cmd := exec.CommandContext(timed, c.o.Program, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", v.environment(), lastWords
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	ownGroup(cmd)
	said := &output{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, said, said
	if err := cmd.Start(); err != nil {
		o := deliver.Deferral(451, "4.3.5", "the program cannot be started: %v", err)
		o.Away = true
		return o
	}
	err = cmd.Wait()
	return c.ended(timed, cmd.ProcessState, err, said.String())
}

// spool writes the message to a file without a name, which is the program's standard input. From a pipe the program would see the end where the
// server dies in the middle, and would take the part for the whole.
func spool(job *deliver.Job, rcpt int) (*os.File, error) {
	f, err := os.CreateTemp("", "stagepost-pipe-")
	if err != nil {
		return nil, err
	}
	removed := os.Remove(f.Name())
	if err = job.WriteLocal(f, rcpt); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil && removed != nil && runtime.GOOS != "windows" { // there, it stays until the system cleans up
		err = removed
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ended is what a run comes to.
func (c *Carrier) ended(timed context.Context, state *os.ProcessState, err error, said string) message.Outcome {
	if said != "" {
		said = ": " + said
	}
	code := state.ExitCode()
	switch {
	case code == 0:
		return c.answer(message.Delivered, 250, "2.0.0", "delivered by "+c.o.Program+said)
	case code > 0:
		s := statusOf(code)
		result := message.Failed
		if s.code/100 == 4 {
			result = message.Deferred
		}
		return c.answer(result, s.code, s.enhanced, fmt.Sprintf("%s ended with %d, %s%s", c.o.Program, code, s.says, said))
	case timed.Err() != nil: // it may have done all there was to do
		o := c.answer(message.Deferred, 451, "4.3.0", fmt.Sprintf("%s did not end within %v and was killed%s", c.o.Program, c.o.TimeLimit, said))
		o.Unknown = true
		return o
	}
	return c.answer(message.Deferred, 451, "4.3.0", fmt.Sprintf("%s: %v%s", c.o.Program, err, said))
}

func (c *Carrier) answer(result message.Result, code int, enhanced, text string) message.Outcome {
	return message.Outcome{Result: result, Host: "transport:" + c.o.Name, Reply: smtp.NewReply(code, enhanced, deliver.Printable(text, 480))}
}

// status is what an exit code means.
type status struct {
	code     int
	enhanced string
	says     string
}

// statusOf maps exit codes: those of sysexits.h as Sendmail does; what is not there is final, as with Postfix.
func statusOf(exit int) status {
	switch exit {
	case 64:
		return status{500, "5.3.5", "a mistake in its command line"}
	case 65:
		return status{554, "5.6.0", "the data is wrong"}
	case 66:
		return status{550, "5.3.0", "there is no input"}
	case 67:
		return status{550, "5.1.1", "the user is unknown"}
	case 68:
		return status{550, "5.1.2", "the host is unknown"}
	case 69:
		return status{554, "5.3.0", "the service is unavailable"}
	case 70:
		return status{554, "5.3.0", "an internal error"}
	case 71:
		return status{451, "4.3.0", "an error of the system"}
	case 72:
		return status{554, "5.3.5", "a file of the system is missing"}
	case 73:
		return status{550, "5.2.0", "it cannot make its output"}
	case 74:
		return status{451, "4.3.0", "an error of input or output"}
	case 75:
		return status{451, "4.3.0", "later"}
	case 76:
		return status{554, "5.5.0", "an error in a protocol"}
	case 77:
		return status{550, "5.7.0", "permission is denied"}
	case 78:
		return status{554, "5.3.5", "a mistake in its configuration"}
	}
	return status{554, "5.3.0", "which sysexits.h does not know"}
}

// output keeps the beginning of what a program says.
type output struct{ kept []byte }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.kept = append(o.kept, p[:min(len(p), maxOutput-len(o.kept))]...)
	return len(p), nil
}

// String gives it as it stands in an outcome, in quotation marks.
func (o *output) String() string {
	if text := deliver.Printable(string(o.kept), 300); text != "" {
		return strconv.Quote(text)
	}
	return ""
}
