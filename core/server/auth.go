package server

import (
	"crypto/tls"
	"log/slog"
	"slices"
	"time"

	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/login"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/tally"
	"github.com/stagepost/stagepost/hooks"
)

// mechanisms are those with which the client may log in now.
func (s *session) mechanisms() []string {
	if s.info.User != "" || s.info.TLS == nil && !s.at.AuthInClear {
		return nil
	}
	return sasl.Offer(s.at.Auth, s.binding(), s.client)
}

// binding is nil unless it is needed.
func (s *session) binding() *sasl.Binding {
	if c, ok := s.stream.(*tls.Conn); ok && slices.Contains(s.at.Auth, sasl.ScramPlus) {
		state := c.ConnectionState()
		return sasl.Bind(&state)
	}
	return nil
}

// room is the size of a buffer for a line, and how long that may be: those of log-ins are long (RFC 4954 section 4), that with AUTH
// as well.
func (s *session) room() (buffer, line int) {
	if len(s.at.Auth) > 0 && s.info.User == "" {
		return idle.Content, sasl.MaxLine + len("\r\n")
	}
	return idle.Line, smtp.DefaultMaxLine
}

func (s *session) auth(arg string) intake.Answer {
	switch {
	case s.tx != nil:
		return say(replyNested)
	case s.info.User != "":
		return say(login.ReplyTwice)
	case len(s.at.Auth) == 0:
		return say(login.ReplyNone)
	case !s.info.ESMTP:
		return say(replyNoHelo)
	case s.info.TLS == nil && !s.at.AuthInClear:
		return say(login.ReplyEncrypt)
	}
	var step login.Step
	s.login, step = s.srv.logins.Begin(arg, &login.Client{IP: s.info.IP, Offered: s.mechanisms(), Binding: s.binding(), Certificate: s.client,
		Ask: func(l *hooks.LoginView) hooks.Result {
			l.Session = &s.info
			res, _ := s.ask(hooks.Auth, l)
			return res
		}})
	return s.logIn(step)
}

// response takes a line of the client while it logs in. Nothing may follow it before it is answered.
func (s *session) response(line []byte) intake.Answer {
	if s.reader.Buffered() > 0 {
		return s.cut(replyPipelining, tally.CutProtocol)
	}
	return s.logIn(s.login.Line(line))
}

// logIn answers what came of a step.
func (s *session) logIn(step login.Step) intake.Answer {
	ans := intake.Answer{Reply: step.Reply, Delay: step.Delay}
	if step.Ended.End != nil {
		ans = s.verdict(step.Ended)
		ans.Delay += step.Delay
	}
	if !step.Over {
		return ans
	}
	if step.Result == login.Accepted {
		v := s.login.Accepted
		s.info.User, s.info.Groups, s.info.Auth = v.User, v.Groups, s.login.Mechanism
	}
	s.loggedIn(step.Result)
	if step.Result == login.Refused {
		if end, reply := login.Fail(&s.failures, &ans.Delay); end && !ans.Close {
			delay := ans.Delay
			ans = s.cut(reply, tally.CutErrors)
			ans.Delay = delay
		}
	}
	return ans
}

// loggedIn notes what became of a log-in. Nothing that was said in it is kept but the name.
func (s *session) loggedIn(r login.Result) {
	l, word := s.login, login.Results()[r]
	s.login = nil
	s.tally.Logins[slices.Index(sasl.Mechanisms(), l.Mechanism)].Add(int(r))
	s.Observe(observe.Step{Time: time.Now(), Stage: hooks.Auth.String(), Verdict: word, Detail: l.Mechanism + " " + l.Name})
	s.srv.Log.LogAttrs(s.srv.ctx, slog.LevelInfo, "log-in", slog.String("session", s.info.ID), slog.String("ip", s.info.IP.String()), slog.String("listener", s.at.Name),
		slog.String("mechanism", l.Mechanism), slog.String("name", l.Name), slog.String("user", s.info.User), slog.String("result", word))
}
