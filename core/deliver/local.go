package deliver

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// What carriers need of a job.

// Sender is the reverse-path of the copy.
func (j *Job) Sender() smtp.Address {
	if j.Plan.Sender != nil {
		return *j.Plan.Sender
	}
	return j.Env.Sender
}

// Sent is the message as the next hop gets it.
func (j *Job) Sent() message.Content { return j.Env.SentTo(j.Content, j.Rcpts[0]) }

// ContentError is an error of the message's own content: it cannot be read.
type ContentError struct{ error }

// Unwrap gives what was met.
func (e ContentError) Unwrap() error { return e.error }

// localFields are what the last server adds (RFC 5321 section 4.4), and what tells a loop.
func (j *Job) localFields(rcpt int) string {
	return "Return-Path: <" + j.Sender().Text + ">\nDelivered-To: " + j.Env.Rcpts[rcpt].Address.Text + "\n"
}

// Looped tells whether the recipient has had the message before: where an address leads to another server that leads back here, it would
// go round until it has too many fields Received, and leave a copy each time.
func (j *Job) Looped(rcpt int) bool {
	h, err := message.ReadHeader(j.Sent(), message.DefaultHeaderLimits)
	if err != nil { // one that cannot be read cannot be written either
		return false
	}
	for _, f := range h.Fields("Delivered-To") {
		if strings.EqualFold(f.Value, j.Env.Rcpts[rcpt].Address.Text) {
			return true
		}
	}
	return false
}

// LocalSize is how much WriteLocal writes at most.
func (j *Job) LocalSize(rcpt int) int64 { return int64(len(j.localFields(rcpt))) + j.Sent().Size() }

// WriteLocal writes the message as programs of this host want it: with the fields that the last server adds, and lines that end in
// LF alone. An error is a ContentError, or that of w.
func (j *Job) WriteLocal(w io.Writer, rcpt int) error {
	if _, err := io.WriteString(w, j.localFields(rcpt)); err != nil {
		return err
	}
	content := j.Sent()
	size := content.Size()
	in, out := blocks.Get().(*[blockSize]byte), writers.Get().(*bufio.Writer)
	out.Reset(w)
	defer func() {
		blocks.Put(in)
		out.Reset(nil)
		writers.Put(out)
	}()
	cr := false // one is owed
	for off := int64(0); off < size; {
		piece := in[:min(size-off, blockSize)]
		n, err := content.ReadAt(piece, off)
		if n < len(piece) {
			return ContentError{cmp.Or(err, io.ErrUnexpectedEOF)}
		}
		off += int64(n)
		if cr && piece[0] != '\n' {
			out.WriteByte('\r')
		}
		if cr = piece[n-1] == '\r'; cr {
			piece = piece[:n-1]
		}
		for len(piece) > 0 {
			line, rest, found := bytes.Cut(piece, []byte("\r\n"))
			out.Write(line)
			if found {
				out.WriteByte('\n')
			}
			piece = rest
		}
	}
	if cr {
		out.WriteByte('\r')
	}
	return out.Flush() // it has the first error
}

// Printable makes what a program, a file system or a web server said fit for a reply: printable ASCII in one line, which is cut to so
// many bytes.
func Printable(s string, most int) string {
	s = strings.Join(strings.Fields(s[:min(len(s), 4*most)]), " ")
	s = strings.Map(func(c rune) rune {
		if unprintable(c) {
			return '?'
		}
		return c
	}, s)
	if len(s) > most {
		s = s[:most-3] + "..."
	}
	return s
}

// Answers gives all recipients of a job the same outcome.
func (j *Job) Answers(o message.Outcome) []message.Outcome {
	out := make([]message.Outcome, len(j.Rcpts))
	for i := range out {
		out[i] = o
	}
	return out
}

// Deferral is an outcome that no answer stands behind.
func Deferral(code int, enhanced, format string, args ...any) message.Outcome {
	return message.Outcome{Result: message.Deferred, Reply: smtp.NewReply(code, enhanced, Printable(fmt.Sprintf(format, args...), 400))}
}

// Interrupted is that of a recipient who was not tried, or in vain, when the context of an attempt ended.
func Interrupted() message.Outcome {
	return message.Outcome{Result: message.Deferred, Reply: interrupted().reply}
}
