package server

import (
	"errors"
	"io"
	"time"

	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/smtp"
)

// Bounds of reading content, besides Limits.Data for each piece.
const (
	minRate    = 500             // octets a second on the whole
	minRateFor = 5 * time.Minute // that much may be behind
	minDiscard = 1 << 20         // of a content that is refused, read on to its end before the connection is given up
)

// arrival is the state of a content that is being read.
type arrival struct {
	since time.Time
	got   int64
	slow  bool // the deadline is that of the rate
}

// deadline is for the next piece; grace is how far the content may be behind minRate.
func (a *arrival) deadline(now time.Time, piece, grace time.Duration) time.Time {
	whole, next := a.since.Add(grace+time.Duration(a.got/minRate)*time.Second), now.Add(piece)
	if a.slow = whole.Before(next); a.slow {
		return whole
	}
	return next
}

// incoming is all that is known of a message that is being taken; nothing of it is ever cleared.
type incoming struct {
	*intake.Transaction
	utf8   bool    // began with SMTPUTF8
	binary bool    // began with BODY=BINARYMIME
	chunks *chunks // nil: no BDAT has come
}

// data takes the content and ends the transaction, whatever comes of it.
//
// Without a recipient the answer is no 354, so the client sends no content (RFC 5321 section 3.3, RFC 2920 section 3.1); one
// that sends it nevertheless does so in one group with DATA, which ends the session.
func (s *session) data(string) intake.Answer {
	switch {
	case s.tx.Accepted() == 0:
		return say(s.noRcpt())
	case s.tx.binary:
		return say(replyBinary)
	}
	tx := s.tx
	s.tx = nil
	s.write(replyGo)
	return s.ended(tx, s.receive(tx))
}

// ended ends a transaction, if there is one, whose content came, or did not come as it should.
func (s *session) ended(tx *incoming, err error) intake.Answer {
	fault := &smtp.Fault{}
	if err != nil && !errors.As(err, &fault) {
		if tx != nil {
			tx.Drop()
		}
		return s.lost(err)
	}
	s.content = nil
	if tx == nil {
		return intake.Answer{Reply: fault.Reply, Close: fault.Fatal}
	}
	if err != nil {
		ans := tx.Refuse(s.srv.ctx, fault.Reply)
		ans.Close = fault.Fatal
		return ans
	}
	began := time.Now()
	ans := tx.Finish(s.srv.ctx)
	s.srv.Board.Answered.Took(time.Since(began))
	if ans.Reply.Code/100 == 2 {
		s.since = counts{}
	}
	return ans
}

// receive reads the content to its end. When the transaction takes no more, the rest is read and dropped.
func (s *session) receive(tx *incoming) error {
	s.content = &arrival{since: time.Now()}
	if err := s.await(idle.Content, 0); err != nil {
		return err
	}
	d := s.reader.Data(tx.MaxSize(), max(tx.MaxSize(), minDiscard))
	_, err := d.WriteTo(tx)
	if tx.Err() != nil {
		_, err = d.WriteTo(io.Discard)
	}
	return err
}
