package server

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/esmtp"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// flags say when a verb may be given.
type flags uint16

const (
	anytime   flags = 1 << iota // before HELO and EHLO too
	needsMail                   // only in a transaction
	noArg                       // takes no argument
	needsArg                    // takes one
	last                        // the client must wait for the reply (RFC 2920 section 3.1): nothing may follow in its group
	clears                      // a positive reply to it ends the transaction
	idles                       // leads nowhere: counted between messages
	leaving                     // also answered to a client that was refused at its connect
	headed                      // not once content has begun to come
	framed                      // octets follow that the argument counts: its method asks check itself, and reads them in any case
	inClear                     // answered in clear where TLS is demanded (RFC 3207 section 4)
	needsUser                   // only after a log-in, where the role is submission (RFC 6409 section 4.3)
	notLMTP                     // there is no such verb in LMTP,
	onlyLMTP                    // or elsewhere
)

// verb is one row of the table.
type verb struct {
	run   func(s *session, arg string) intake.Answer
	flags flags
}

// verbs are the commands there are. The table is never changed.
var verbs = map[string]verb{
	"AUTH":    {(*session).auth, needsArg | last},
	"HELO":    {(*session).helo, notLMTP | anytime | last | clears | idles},
	"EHLO":    {(*session).ehlo, notLMTP | anytime | last | clears | idles | inClear},
	"LHLO":    {(*session).ehlo, onlyLMTP | anytime | last | clears | idles | inClear},
	"XCLIENT": {(*session).xclient, anytime | needsArg | last | idles},
	"MAIL":    {(*session).mail, needsArg | needsUser},
	"RCPT":    {(*session).rcpt, needsMail | needsArg | headed},
	"DATA":    {(*session).data, needsMail | noArg | last | headed},
	"BDAT":    {(*session).bdat, framed},
	"RSET":    {(*session).rset, anytime | noArg | clears | idles},
	"NOOP":    {(*session).noop, anytime | last | idles | inClear},
	"VRFY":    {(*session).vrfy, anytime | needsArg | last | idles},
	"EXPN":    {(*session).expn, anytime | last | idles},
	"HELP":    {(*session).help, anytime | last | idles},
	"QUIT":    {(*session).quit, anytime | noArg | leaving | inClear},

	"STARTTLS": {(*session).startTLS, noArg | last | inClear},

	"GET":     {(*session).foreign, anytime | inClear},
	"POST":    {(*session).foreign, anytime | inClear},
	"PUT":     {(*session).foreign, anytime | inClear},
	"OPTIONS": {(*session).foreign, anytime | inClear},
}

// Replies that the table gives rise to. They are never changed.
var (
	replyUnknown    = smtp.NewReply(500, "5.5.1", "command not recognized")
	replyNoHelo     = smtp.NewReply(503, "5.5.1", "say EHLO or HELO first")
	replyNoLhlo     = smtp.NewReply(503, "5.5.1", "say LHLO first")
	replyNoUser     = smtp.NewReply(530, "5.7.0", "log in first")
	replyNoMail     = smtp.NewReply(503, "5.5.1", "bad sequence of commands, MAIL comes first")
	replyBegun      = smtp.NewReply(503, "5.5.1", "bad sequence of commands, the content is coming by BDAT")
	replyBinary     = smtp.NewReply(503, "5.5.1", "bad sequence of commands, BODY=BINARYMIME needs BDAT")
	replyNested     = smtp.NewReply(503, "5.5.1", "bad sequence of commands, a transaction is open")
	replyUnwanted   = smtp.NewReply(503, "5.5.1", "bad sequence of commands, this session was refused")
	replyLongLine   = smtp.NewReply(500, "5.5.2", "line too long")
	replyArg        = smtp.NewReply(501, "5.5.4", "the command takes no argument")
	replyNoArg      = smtp.NewReply(501, "5.5.4", "the command needs an argument")
	replyPipelining = smtp.NewReply(554, "5.5.0", "commands were sent without waiting for the reply")
	replyNoneLMTP   = smtp.NewReply(503, "5.5.1", "no valid recipients") // RFC 2033 section 4.2
	replyNoRcpt     = smtp.NewReply(554, "5.5.1", "no valid recipients")
	replyOK         = smtp.NewReply(250, "2.0.0", "ok")
	replyBye        = smtp.NewReply(221, "2.0.0", "bye")
	replyVrfy       = smtp.NewReply(252, "2.0.0", "cannot verify, send mail and see")
	replyExpn       = smtp.NewReply(502, "5.5.1", "there are no lists to expand here")
	replyGo         = smtp.NewReply(354, "", "send the message, end with <CR><LF>.<CR><LF>")
)

func say(r smtp.Reply) intake.Answer { return intake.Answer{Reply: r} }

// sayError is for errors of the parsers, which hold their reply.
func sayError(err error) intake.Answer {
	reply := smtp.NewReply(501, "5.5.2", "syntax error")
	errors.As(err, &reply)
	return say(reply)
}

func (s *session) lmtp() bool { return s.info.Role == message.RoleLMTP }

// verb finds a verb among those of the session's role.
func (s *session) verb(name string) verb {
	v, foreign := verbs[name], onlyLMTP
	if s.lmtp() {
		foreign = notLMTP
	}
	if v.flags&foreign != 0 {
		return verb{}
	}
	return v
}

// noRcpt is the reply where content would come for nobody.
func (s *session) noRcpt() smtp.Reply {
	if s.lmtp() {
		return replyNoneLMTP
	}
	return replyNoRcpt
}

// check tells whether the table allows the command now.
func (s *session) check(v verb, arg string) (refusal smtp.Reply) {
	switch {
	case s.unwanted && v.flags&leaving == 0:
		return replyUnwanted
	case v.run == nil:
		return replyUnknown
	case s.at.TLS.When == Demanded && s.info.TLS == nil && v.flags&inClear == 0:
		return replyNoTLS
	case s.info.Helo == "" && v.flags&anytime == 0:
		if s.lmtp() {
			return replyNoLhlo
		}
		return replyNoHelo
	case s.info.Role == message.RoleSubmission && s.info.User == "" && v.flags&needsUser != 0:
		return replyNoUser
	case s.tx == nil && v.flags&needsMail != 0:
		return replyNoMail
	case s.tx != nil && s.tx.chunks != nil && v.flags&headed != 0:
		return replyBegun
	case arg != "" && v.flags&noArg != 0:
		return replyArg
	case arg == "" && v.flags&needsArg != 0:
		return replyNoArg
	}
	return smtp.Reply{}
}

func (s *session) helo(arg string) intake.Answer { return s.greet(arg, false) }
func (s *session) ehlo(arg string) intake.Answer { return s.greet(arg, true) }

// greet takes the client's name. When it is refused, all stays as it was (RFC 5321 section 4.1.4).
func (s *session) greet(arg string, esmtp bool) intake.Answer {
	name, err := smtp.ParseHelo(arg)
	if err != nil {
		return sayError(err)
	}
	wasName, wasESMTP := s.info.Helo, s.info.ESMTP
	s.info.Helo, s.info.ESMTP = name, esmtp
	if res, _ := s.ask(hooks.Helo, nil); res.End != nil {
		s.info.Helo, s.info.ESMTP = wasName, wasESMTP
		return s.verdict(res)
	}
	set := s.srv.Intake.Settings()
	if !esmtp {
		return say(smtp.NewReply(250, "", set.Hostname))
	}
	return say(smtp.NewReply(250, "", append([]string{set.Hostname}, s.offer(set).Lines()...)...))
}

// offer is what the client may ask for now.
func (s *session) offer(set intake.Settings) *esmtp.Offer {
	return &esmtp.Offer{Without: s.at.Without, StartTLS: s.at.TLS.When != InClear, TLS: s.info.TLS != nil, LoggedIn: s.info.User != "", Mechanisms: s.mechanisms(), MaxSize: set.MaxSize, MaxRcpts: set.MaxRcpts, Chunking: true, XClient: s.believed(), Now: time.Now()}
}

func (s *session) mail(arg string) intake.Answer {
	if s.tx != nil {
		return say(replyNested)
	}
	sender, params, err := smtp.ParseMail(arg)
	if err != nil {
		return sayError(err)
	}
	if err := s.offer(s.srv.Intake.Settings()).Mail(params); err != nil {
		return sayError(err)
	}
	from := hooks.Call{Session: &s.info, Late: s.at.RejectAtRcpt}
	if s.asked != nil {
		from.Asked = s.asked.Asked
	}
	s.began = true
	tx, ans := s.srv.Intake.Begin(s.srv.ctx, &from, s.steps, sender, params)
	if tx != nil {
		tx.Late(slices.Concat(s.late[:]...)...)
		_, utf8 := params.Get("SMTPUTF8")
		body, _ := params.Get("BODY")
		s.tx = &incoming{Transaction: tx, utf8: utf8, binary: strings.EqualFold(body, string(esmtp.BodyBinary))}
	}
	return ans
}

func (s *session) rcpt(arg string) intake.Answer {
	to, params, err := smtp.ParseRcpt(arg, s.tx.utf8)
	if err == nil && len(params) > 0 {
		if err = s.offer(s.srv.Intake.Settings()).Rcpt(params); err == nil {
			_, err = esmtp.ParseRcpt(params)
		}
	}
	if err != nil {
		return sayError(err)
	}
	return s.tx.Rcpt(s.srv.ctx, to, params)
}

func (s *session) rset(string) intake.Answer { return say(replyOK) }
func (s *session) noop(string) intake.Answer { return say(replyOK) }
func (s *session) vrfy(string) intake.Answer { return say(replyVrfy) }
func (s *session) expn(string) intake.Answer { return say(replyExpn) }

// help lists the verbs of the role.
func (s *session) help(string) intake.Answer {
	names, see := "HELO EHLO", "see RFC 5321"
	if s.lmtp() {
		names, see = "LHLO", "see RFC 2033"
	}
	if s.at.TLS.When != InClear {
		names += " STARTTLS"
	}
	if len(s.at.Auth) > 0 {
		names += " AUTH"
	}
	return say(smtp.NewReply(214, "2.0.0", names+" MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT", see))
}

func (s *session) quit(string) intake.Answer {
	s.left = true
	return intake.Answer{Reply: replyBye, Close: true}
}
