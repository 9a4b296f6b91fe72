package message

import (
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/smtp"
)

// Result is how an attempt ended for one recipient.
type Result uint8

// The results. Held and Discarded are never a remote's doing: a plugin asked for them.
const (
	Deferred Result = iota + 1 // try again later
	Delivered
	Failed // permanently
	Held
	Discarded
)

// String returns the word that listings and records use.
func (r Result) String() string {
	switch r {
	case Deferred:
		return "deferred"
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	case Held:
		return "held"
	case Discarded:
		return "discarded"
	}
	return "unknown"
}

// Outcome is what an attempt came to for one recipient.
type Outcome struct {
	Result Result
	Reply  smtp.Reply    // the remote's, or ours where no remote was reached
	Host   string        // who said so: "mx1.example.org[192.0.2.1]:25"; empty: ourselves
	After  time.Duration // a deferral's own wish when to try again; 0: by the schedule
	// Notifies: who took the message knows what its sender wants to be told, and will do that.
	Notifies bool
	// Timed: who took the message knows by when it is to be delivered (RFC 2852).
	Timed bool
	// Unknown: the final dot was sent and no reply was read, so the remote may have the message. It is deferred, never
	// tried at another host of the same attempt.
	Unknown bool
	// Away: nobody could be talked to, so this says nothing of the message, and another one would fare no better. It is deferred.
	Away bool
	// Onward: who answered did not take the message because of trouble of their own. It is deferred; where a plan has several next hops,
	// the next one is tried.
	Onward bool
}

// Last is what is kept of a recipient's latest outcome.
type Last struct {
	Code     int
	Enhanced string
	Host     string
	Text     string // lines joined by a space, without the codes; at most MaxLastText bytes
	Class    string // why mail was not taken (package bounce), where plugins look; it is not kept
}

// MaxLastText bounds the text of a remote's reply that is kept with a recipient.
const MaxLastText = 512

// Last cuts the outcome to what is kept.
func (o Outcome) Last() Last {
	text := strings.Join(o.Reply.Text, " ")
	if len(text) > MaxLastText {
		text = text[:MaxLastText]
	}
	return Last{Code: o.Reply.Code, Enhanced: o.Reply.Enhanced, Host: o.Host, Text: text}
}

// Known returns the outcome, or nil where there was none.
func (l *Last) Known() any {
	if *l == (Last{}) {
		return nil
	}
	return l
}

// Way is by which way an attempt was made, as far as it got.
type Way struct {
	Hop    string // next hop, as Plan.Hop names it
	Source string // [source.NAME]; empty: none was named
	Site   string // whose limits counted
}
