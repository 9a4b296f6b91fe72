package message

import (
	"slices"

	"github.com/stagepost/stagepost/core/smtp"
)

// Ballot is what plugins said of single recipients of a content. SMTP has one reply for all of them, so such verdicts cannot all be told.
// What becomes of them follows from that:
//
//   - One is deferred: the whole message is, since who comes again comes with all recipients.
//   - One is refused: it drops out, and plugins that are asked later do not see it. When nobody is left, that is the reply. Else
//     the client hears 250, so the refused one must not be lost without a word: it is queued and held.
//   - One is held or discarded: others go on. Hold beats discard, and a refusal both, whoever said them; of two that hold, the first
//     says why.
//
// In LMTP each has a reply of its own: one that is refused or deferred drops out, is told so, and nobody else is concerned.
type Ballot struct {
	Told map[*Rcpt]smtp.Reply // those of LMTP, each with its reply once there is one

	refused []*Rcpt
	dropped map[*Rcpt]bool
}

// Tell notes the reply of a recipient, if it has one of its own.
func (b *Ballot) Tell(r *Rcpt, reply smtp.Reply) bool {
	_, ok := b.Told[r]
	if ok {
		b.Told[r] = reply
	}
	return ok
}

// Refuse takes a recipient out of the envelope, and tells whether nobody is left.
func (b *Ballot) Refuse(e *Envelope, r *Rcpt, why string) (last bool) {
	r.Hold = why
	b.refused = append(b.refused, r)
	e.Rcpts = slices.DeleteFunc(e.Rcpts, func(o *Rcpt) bool { return o == r })
	return len(e.Rcpts) == 0
}

// Hold holds a recipient.
func (b *Ballot) Hold(r *Rcpt, why string) {
	if r.Hold == "" {
		r.Hold = why
	}
}

// Discard drops a recipient unless somebody holds it.
func (b *Ballot) Discard(r *Rcpt) {
	if b.dropped == nil {
		b.dropped = map[*Rcpt]bool{}
	}
	b.dropped[r] = true
}

// Settle leaves those in the envelope that go on, nobody if the whole is discarded, and returns those that are held.
func (b *Ballot) Settle(e *Envelope, discard bool) (held []*Rcpt) {
	e.Rcpts = slices.DeleteFunc(e.Rcpts, func(r *Rcpt) bool {
		if r.Hold != "" {
			held = append(held, r)
		}
		return r.Hold != "" || discard || b.dropped[r]
	})
	return append(held, b.refused...)
}
