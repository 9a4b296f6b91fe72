package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/smtp"
)

// ErrNotOwed is the answer to a report for the null reverse-path.
var ErrNotOwed = errors.New("dsn: the sender is the null reverse-path, which nobody may answer")

// Bounds in bytes. What comes from outside is cut to fit a line of 998 (RFC 5322 section 2.1.1) even where it has no space
// to break at.
const (
	maxDiagnostic = 800
	maxAddress    = 512
	maxEncoded    = 900 // of an address in a field
	maxEnvelopeID = 100 // RFC 3461 section 4.4
)

// Compose returns the notification as it is sent, lines ended by CRLF. Its size is bounded by MaxReturned, and some 3 kB for
// each recipient.
//
// All of it is 7-bit unless the sender's address needs SMTPUTF8, with one exception: a message that is returned whole as
// message/rfc822 goes as it came, declared as 8bit where it is. It is not returned whole, but by its header, when it has more than
// MaxReturned bytes or is not made of plain lines.
//
// An error is a mistake in the report, or that of reading Original. After the latter, a report without Original is better
// than none.
func (r *Report) Compose() ([]byte, error) {
	switch {
	case !Owed(r.Sender):
		return nil, ErrNotOwed
	case r.Kind.String() == "":
		return nil, fmt.Errorf("dsn: %d is no kind of report", r.Kind)
	case len(r.Rcpts) == 0:
		return nil, errors.New("dsn: a report without a recipient")
	case !smtp.ValidDomain(r.ReportingMTA):
		return nil, fmt.Errorf("dsn: %q, the reporting MTA, is not a host name", r.ReportingMTA)
	}
	if _, err := smtp.ParseUTF8Address(r.Sender.Text); err != nil {
		return nil, fmt.Errorf("dsn: the sender %q is not an address: %w", r.Sender.Text, err)
	}
	text := part{"text/plain; charset=us-ascii", sevenBit, r.text()}
	if !isASCII(text.body) {
		text = r.beyond("text/plain; charset=utf-8", text.body)
	}
	status := part{"message/delivery-status", sevenBit, r.fields()}
	if !isASCII(status.body) {
		status = r.beyond("message/global-delivery-status", status.body)
	}
	parts := []part{text, status}
	if r.Original != nil {
		original, err := r.original()
		if err != nil {
			return nil, fmt.Errorf("dsn: reading the original message: %w", err)
		}
		if len(original.body) > 0 {
			parts = append(parts, original)
		}
	}
	return r.assemble(parts), nil
}

// Transfer encodings (RFC 2045 section 6.1).
const (
	sevenBit        = "7bit"
	eightBit        = "8bit"
	quotedPrintable = "quoted-printable"
)

type part struct {
	kind     string // Content-Type
	encoding string
	body     []byte // encoded, of whole lines but perhaps the last
}

// beyond is a part with characters beyond ASCII.
func (r *Report) beyond(kind string, body []byte) part {
	if r.wide() {
		return part{kind, eightBit, body}
	}
	return part{kind, quotedPrintable, encodeLines(body)}
}

func isASCII(b []byte) bool { return !bytes.ContainsFunc(b, func(c rune) bool { return c > '~' }) }

func (r *Report) assemble(parts []part) []byte {
	boundary, size, whole := r.boundary(parts), 1024, sevenBit
	for _, p := range parts {
		size += len(p.body) + 256
		if p.encoding == eightBit {
			whole = eightBit // what holds a part of 8bit is 8bit itself (RFC 2045 section 6.4)
		}
	}
	subject := map[Kind]string{Failed: "Message not delivered", Delayed: "Message delayed", Delivered: "Message delivered", Relayed: "Message passed on", Expanded: "Message passed on"}[r.Kind]
	b := make([]byte, 0, size)
	b = appendLine(b, "From: Mail Delivery System <", postmaster(r), ">")
	b = appendLine(b, "To: <", r.Sender.Text, ">")
	b = appendLine(b, "Subject: ", subject)
	b = appendLine(b, "Date: ", date(r.Date))
	b = appendLine(b, "Message-ID: <", r.ID.String(), "@", r.ReportingMTA, ">")
	b = appendLine(b, "Auto-Submitted: auto-replied") // RFC 3834 section 5
	b = appendLine(b, "MIME-Version: 1.0")
	b = appendLine(b, "Content-Type: multipart/report; report-type=delivery-status;")
	b = appendLine(b, "\tboundary=\"", boundary, "\"")
	b = appendLine(b, "Content-Transfer-Encoding: ", whole)
	for _, p := range parts {
		b = appendLine(b)
		b = appendLine(b, "--", boundary)
		b = appendLine(b, "Content-Type: ", p.kind)
		b = appendLine(b, "Content-Transfer-Encoding: ", p.encoding)
		b = appendLine(b)
		b = append(b, p.body...)
	}
	b = appendLine(b)
	return appendLine(b, "--", boundary, "--")
}

// boundary returns one that is in none of the parts. Its first two characters are such as quoted-printable never makes.
func (r *Report) boundary(parts []part) string {
next:
	for n := 0; ; n++ {
		boundary := "=_" + r.ID.String() + "_" + strconv.Itoa(n)
		for _, p := range parts {
			if bytes.Contains(p.body, []byte(boundary)) {
				continue next
			}
		}
		return boundary
	}
}

// fields returns the body of message/delivery-status: one block for the message, one for each recipient.
func (r *Report) fields() []byte {
	var b []byte
	// Changed, or cut, it would no longer be the sender's own.
	if id := r.EnvelopeID; id != "" && len(id) <= maxEnvelopeID && printable(id) == id {
		b = appendLine(b, "Original-Envelope-Id: ", id)
	}
	b = appendLine(b, "Reporting-MTA: dns; ", r.ReportingMTA)
	if !r.Arrived.IsZero() {
		b = appendLine(b, "Arrival-Date: ", date(r.Arrived))
	}
	for i := range r.Rcpts {
		rcpt := &r.Rcpts[i]
		b = appendLine(b)
		if kind := rcpt.Original.Type; r.Global && kind == utf8Type {
			b = appendLine(b, "Original-Recipient: utf-8; ", address(smtp.Address{Text: rcpt.Original.Address}))
		} else if kind != "" {
			b = appendLine(b, "Original-Recipient: ", clip(printable(rcpt.Original.Field()), maxEncoded))
		}
		final := "rfc822; " + address(rcpt.Final)
		switch {
		case esmtp.IsASCII(rcpt.Final):
		case r.Global:
			final = "utf-8; " + address(rcpt.Final)
		default:
			final = "utf-8; " + clip(esmtp.EncodeUTF8(address(rcpt.Final)), maxEncoded)
		}
		b = appendLine(b, "Final-Recipient: ", final)
		b = appendLine(b, "Action: ", r.Kind.String())
		b = appendLine(b, "Status: ", Status(r.Kind, 0, rcpt.Status))
		remote, kind := mtaName(rcpt.RemoteMTA), "X-Stagepost"
		if remote != "" {
			b = appendLine(b, "Remote-MTA: dns; ", remote)
			kind = "smtp"
		}
		if words := diagnostic(rcpt); words != "" {
			b = appendWrapped(b, "", " ", "Diagnostic-Code: "+kind+"; "+words)
		}
		if !rcpt.LastAttempt.IsZero() {
			b = appendLine(b, "Last-Attempt-Date: ", date(rcpt.LastAttempt))
		}
		if r.Kind == Delayed && !rcpt.WillRetryUntil.IsZero() {
			b = appendLine(b, "Will-Retry-Until: ", date(rcpt.WillRetryUntil))
		}
	}
	return b
}

const utf8Type = "utf-8" // of addresses, RFC 6533 section 3

func postmaster(r *Report) string { return "postmaster@" + r.ReportingMTA }

// date is date-time of RFC 5322 section 3.3, always in UTC, so that it gives away no place and needs no zone data.
func date(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// address returns the text of an address exactly, if it is one.
func address(a smtp.Address) string {
	return strings.Map(func(c rune) rune {
		if smtp.IsControl(c) {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(clip(a.Text, maxAddress), "?"))
}

// diagnostic returns a reply as words with one space between them, safe to be broken at each.
func diagnostic(r *Rcpt) string {
	return printable(strings.Join(strings.Fields(clip(r.Diagnostic, maxDiagnostic)), " "))
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// printable puts a "?" in place of each character, or byte that is none, that is not printable ASCII.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}

// appendLine appends one line. What it is given must hold no line end.
func appendLine(b []byte, text ...string) []byte {
	for _, t := range text {
		b = append(b, t...)
	}
	return append(b, '\r', '\n')
}
