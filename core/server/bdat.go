package server

import (
	"cmp"
	"os"
	"strconv"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/tally"
)

// chunks are what is known of a content of which the first BDAT has come.
type chunks struct {
	arrival arrival
	size    int64
	lines   esmtp.LineCheck
}

var (
	replyNoChunks  = smtp.NewReply(502, "5.5.1", "BDAT is not offered here")
	replyNullChunk = smtp.NewReply(501, "5.5.4", "a chunk without octets must be the LAST")
	replyBigChunk  = smtp.NewReply(552, "5.3.4", "message exceeds the size limit")
)

// bdat takes one chunk of a content (RFC 3030). Whatever is said of it, its octets are read as such, and never as commands; an
// answer that is not positive ends the transaction. The last line of what is not BINARYMIME gets a CRLF if it has none: without
// one it could not go on by DATA.
func (s *session) bdat(arg string) intake.Answer {
	c, err := esmtp.ParseChunk(arg)
	if err != nil { // nobody knows how many octets follow
		return s.cut(sayError(err).Reply, tally.CutProtocol)
	}
	tx := s.tx
	if refusal := s.refuseChunk(c); refusal.Code != 0 {
		err = s.skip(c.Size, refusal)
	} else {
		err = s.take(c)
	}
	if err == nil && !c.Last && tx.Err() == nil {
		return say(smtp.NewReply(250, "2.0.0", strconv.FormatInt(c.Size, 10)+" octets received"))
	}
	s.tx = nil
	ans := s.ended(tx, err)
	if !c.Last { // recipients have replies of their own only then (RFC 2033 section 4.3)
		ans.Each = nil
	}
	return ans
}

// refuseChunk is the reply to a chunk that may not come now.
func (s *session) refuseChunk(c esmtp.Chunk) smtp.Reply {
	refusal := s.check(verb{run: (*session).bdat, flags: needsMail}, "")
	switch {
	case refusal.Code != 0:
	case !s.info.ESMTP || !s.offer(s.srv.Intake.Settings()).Has("CHUNKING"):
		return replyNoChunks
	case s.tx.Accepted() == 0:
		return s.noRcpt()
	case c.Size == 0 && !c.Last:
		return replyNullChunk
	case s.tx.chunks == nil && c.Size > s.tx.MaxSize(), s.tx.chunks != nil && c.Size > s.tx.MaxSize()-s.tx.chunks.size:
		return replyBigChunk
	}
	return refusal
}

// take hands the octets of a chunk to the transaction.
func (s *session) take(c esmtp.Chunk) error {
	tx := s.tx
	if tx.chunks == nil {
		tx.chunks = &chunks{arrival: arrival{since: time.Now()}}
	}
	k, fault := tx.chunks, (*smtp.Fault)(nil)
	err := s.octets(c.Size, &k.arrival, func(b []byte) {
		if fault == nil && !tx.binary {
			fault = k.lines.Take(b)
		}
		if fault == nil {
			tx.Write(b) // an error is the transaction's, too
		}
	})
	if err != nil {
		return err
	}
	k.size += c.Size
	if open := false; fault == nil && c.Last && !tx.binary {
		if open, fault = k.lines.End(); open {
			tx.Write([]byte("\r\n"))
		}
	}
	if fault != nil {
		return fault
	}
	return nil
}

// skip reads the octets of a chunk that is refused, as long as there are not too many of them between two messages.
func (s *session) skip(n int64, refusal smtp.Reply) error {
	fault := &smtp.Fault{Reply: refusal}
	if fault.Fatal = n > max(s.srv.Intake.Settings().MaxSize, minDiscard)-s.since.skipped; fault.Fatal {
		return fault
	}
	s.since.skipped += n
	return cmp.Or(s.octets(n, &arrival{since: time.Now()}, func([]byte) {}), error(fault))
}

// octets reads just n octets, in pieces.
func (s *session) octets(n int64, a *arrival, piece func([]byte)) error {
	a.got += int64(s.reader.Buffered())
	s.content = a
	if now := time.Now(); !a.deadline(now, time.Second, s.srv.Gate.Patience(minRateFor)).After(now) { // small chunks that come with their command are never waited for
		return os.ErrDeadlineExceeded
	}
	for n > 0 {
		if s.reader.Buffered() == 0 {
			if err := s.await(idle.Content, 0); err != nil {
				return err
			}
		}
		b := s.reader.Octets(n)
		n -= int64(len(b))
		piece(b)
	}
	a.got -= int64(s.reader.Buffered())
	s.content = nil
	return nil
}
