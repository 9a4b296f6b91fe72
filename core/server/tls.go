package server

import (
	"log/slog"
	"net"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/tally"
)

// Encryption is when sessions of a listener are encrypted.
type Encryption uint8

// The zero Encryption is never.
const (
	InClear       Encryption = iota
	OnDemand                 // STARTTLS is offered (RFC 3207)
	Demanded                 // and nothing much is answered before it
	FromTheOutset            // before the greeting (RFC 8314)
)

// TLS is how a listener encrypts. In clear there need be no Side.
type TLS struct {
	When Encryption
	Side *certs.Side
}

const handshakeTime = 30 * time.Second // for a handshake

var (
	replyNoTLS     = smtp.NewReply(530, "5.7.0", "say STARTTLS first")
	replySecure    = smtp.NewReply(503, "5.5.1", "the session is encrypted already")
	replyNoneHere  = smtp.NewReply(502, "5.5.1", "there is no TLS here")
	replyNoEhlo    = smtp.NewReply(503, "5.5.1", "say EHLO first")
	replyHandshake = smtp.NewReply(220, "2.0.0", "go on with TLS")
	replyForeign   = smtp.NewReply(554, "5.5.0", "this is SMTP, not HTTP")
)

// startTLS answers in clear, makes the handshake, and forgets the rest. What came in the same group as the command has ended the session
// (verbs.go: last), and what comes after it is read by TLS alone: nothing that was sent in clear is taken for a command behind the handshake.
func (s *session) startTLS(string) intake.Answer {
	switch {
	case s.info.TLS != nil:
		return say(replySecure)
	case s.at.TLS.When == InClear:
		return say(replyNoneHere)
	case !s.info.ESMTP:
		return say(replyNoEhlo)
	case s.tx != nil:
		return say(replyNested)
	}
	s.write(replyHandshake)
	s.secure()
	// Nothing that the client said is known any more (RFC 3207 section 4.2), nor what plugins concluded from it.
	s.info.Helo, s.info.ESMTP, s.info.User, s.info.Auth, s.info.Groups = "", false, "", "", nil
	s.info.Facts = s.first.Clone()
	return intake.Answer{Close: s.over}
}

// secure makes the handshake. If it fails, the session is over.
func (s *session) secure() {
	s.flush()
	s.rest()
	turn := s.tally.TLS.Turn(s.conn)
	conn, source := idle.TLS(turn, s.source, &s.srv.buffers, s.at.TLS.Side.Config())
	err := turn.SetDeadline(time.Now().Add(s.srv.Gate.Patience(handshakeTime)))
	if s.broken || s.srv.draining.Load() { // in this order, see arm
		err = net.ErrClosed
	}
	if err == nil {
		s.info.TLS, s.client, err = turn.Handshake(conn, s.at.TLS.Side)
	}
	if err != nil {
		s.over = true
		s.srv.Log.LogAttrs(s.srv.ctx, slog.LevelInfo, "TLS handshake failed", slog.String("session", s.info.ID), slog.String("ip", s.info.IP.String()),
			slog.String("listener", s.at.Name), slog.String("error", err.Error()))
		return
	}
	s.stream, s.source = conn, source
}

// foreign ends the session of a client that speaks HTTP: a browser, perhaps, that somebody made to speak to us (ALPACA).
func (s *session) foreign(string) intake.Answer { return s.cut(replyForeign, tally.CutProtocol) }
