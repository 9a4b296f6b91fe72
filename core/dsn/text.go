package dsn

import (
	"strconv"
	"strings"
)

const (
	maxColumn = 76
	maxTold   = 50 // recipients that the text goes into; the next part has all of them
)

// text returns the part for people.
func (r *Report) text() []byte {
	var b []byte
	say := func(indent, text string) { b = appendWrapped(b, indent, indent, text) }

	say("", "This is the mail system at "+r.ReportingMTA+".")
	b = appendLine(b)
	whom := "this address"
	if len(r.Rcpts) > 1 {
		whom = "these " + strconv.Itoa(len(r.Rcpts)) + " addresses"
	}
	arrived := ""
	if !r.Arrived.IsZero() {
		arrived = ", which arrived on " + date(r.Arrived) + ","
	}
	switch r.Kind {
	case Failed:
		say("", "Your message"+arrived+" could not be delivered to "+whom+". No further attempt will be made.")
	case Delayed:
		say("", "Your message"+arrived+" has not been delivered to "+whom+" yet. It is still being tried: there is no need to send it again.")
	case Delivered:
		say("", "Your message"+arrived+" was delivered to "+whom+", as you asked to be told.")
	case Relayed:
		say("", "Your message"+arrived+" was passed on to the mail server of "+whom+". That server does not tell whether it was delivered, so this is the last that you hear of it unless it fails.")
	case Expanded:
		say("", "Your message"+arrived+" was passed on to those for whom "+whom+" "+map[bool]string{true: "stands", false: "stand"}[len(r.Rcpts) == 1]+". There will be no notice of each delivery to them, but one if any fails.")
	}
	for i := range r.Rcpts[:min(len(r.Rcpts), maxTold)] {
		b = appendLine(b)
		rcpt := &r.Rcpts[i]
		b = appendLine(b, "<", address(rcpt.Final), ">") // never broken, to be copied as it is
		why, advice := meaning(Status(r.Kind, 0, rcpt.Status))
		if r.Kind == Failed && advice != "" {
			why += " " + advice
		}
		if why != "" {
			say("  ", why)
		}
		if r.Kind == Delayed && !rcpt.WillRetryUntil.IsZero() {
			say("  ", "It will be tried until "+date(rcpt.WillRetryUntil)+".")
		}
		if words := diagnostic(rcpt); words != "" {
			if remote := mtaName(rcpt.RemoteMTA); remote != "" {
				say("  ", "The mail server "+remote+" answered:")
			} else {
				say("  ", "In detail:")
			}
			say("  > ", words)
		}
	}
	if more := len(r.Rcpts) - maxTold; more > 0 {
		b = appendLine(b)
		say("", "The attached delivery report lists "+strconv.Itoa(more)+" more.")
	}
	b = appendLine(b)
	say("", "If you did not send that message, somebody else gave your address as the sender's, and you need not do anything.")
	b = appendLine(b)
	say("", "For help, write to <"+postmaster(r)+"> and give this reference: "+r.Message.String())
	return b
}

// appendWrapped appends text, broken at its spaces into lines within maxColumn where the words let them. The first line
// begins with first, the others with rest.
func appendWrapped(b []byte, first, rest, text string) []byte {
	b = append(b, first...)
	column := len(first)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > maxColumn:
			b = append(append(b, '\r', '\n'), rest...)
			column = len(rest)
		default:
			b = append(b, ' ')
			column++
		}
		b = append(b, word...)
		column += len(word)
	}
	return append(b, '\r', '\n')
}
