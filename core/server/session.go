package server

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/login"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/tally"
	"github.com/stagepost/stagepost/hooks"
)

// session is one connection. It belongs to one goroutine at a time.
type session struct {
	srv    *Server
	conn   net.Conn
	stream net.Conn // conn, or TLS on it: what is read and written
	source idle.Source
	reader *smtp.Reader
	limits *Limits    // shared
	peer   netip.Addr // as the gate counts it
	info   message.Session
	asked  *hooks.Call     // holds whose facts the session's stages asked for; nil: nobody's
	steps  []observe.Step  // of the session's stages
	late   [2][]hooks.Late // what connect and helo said, where the listener tells that at RCPT
	tx     *incoming
	at     *Listener
	tally  *tally.Listener
	client *x509.Certificate // verified in the handshake, for log-ins by it; nil: none
	first  *message.Facts    // those of connect, if the session may come to be encrypted

	in       []byte         // lent to the reader
	out      []byte         // replies not yet written
	held     *intake.Answer // its reply is late
	until    time.Time      // the session's last moment
	deadline time.Time
	armed    bool     // the deadline of this command is set
	short    bool     // on the connection it is that of the lull
	content  *arrival // while content is read

	since    counts       // what came since the last message
	unwanted bool         // refused at its connect: only QUIT is answered
	login    *login.Login // while an AUTH is under way
	failures int          // of log-ins
	began    bool         // MAIL was given: the steps are in a message's record
	waited   bool         // before the greeting
	greeted  bool         // start has run
	left     bool         // the client said QUIT
	over     bool         // nothing more is read
	broken   bool         // nothing more can be written
}

// counts bound what leads to no message.
type counts struct {
	junk    int   // commands unknown, malformed or out of order
	idle    int   // commands that lead nowhere
	refused int   // commands refused for any reason
	skipped int64 // octets of chunks that were refused
}

const (
	maxSteps = 100  // of the session's stages
	maxAsked = 1000 // hooks whose facts were asked for

	promptErrors   = 10 // refusals between two messages that are not delayed
	mostErrorSteps = 10 // how many times Limits.ErrorDelay the others are delayed at most
)

// Replies with which the core itself ends a session.
var (
	replyDraining = smtp.NewReply(421, "4.3.2", "the server is shutting down, try again later")
	replyTimeout  = smtp.NewReply(421, "4.4.2", "timeout, closing the connection")
	replyLong     = smtp.NewReply(421, "4.4.2", "the session has lasted long enough, closing the connection")
	replyJunk     = smtp.NewReply(421, "4.7.0", "too many errors, closing the connection")
	replyIdle     = smtp.NewReply(421, "4.7.0", "too many commands without a message, closing the connection")
	replyEarly    = smtp.NewReply(554, "5.5.0", "you spoke before the greeting")
)

func newSession(srv *Server, a gate.Arrival, l *Listener, t *tally.Listener, limits *Limits) *session {
	s := &session{srv: srv, conn: a.Conn, stream: a.Conn, at: l, tally: t, limits: limits, peer: a.From.Addr(), source: idle.New(a.Conn, &srv.buffers)}
	s.reader = smtp.NewReader(s)
	s.until = time.Now().Add(limits.Session)
	s.info = message.Session{ID: srv.ids.Next().String(), Role: l.Role, Listener: l.Name, Origin: "smtp", Life: &message.Life{},
		IP: s.peer, Port: a.From.Port(), LocalIP: a.To.Addr(), LocalPort: a.To.Port()}
	return s
}

// start is the beginning of a session, up to the greeting.
func (s *session) start() {
	s.greeted = true
	s.early()
	res, asked := s.ask(hooks.Connect, nil)
	if asked { // that took time
		s.early()
	}
	if s.at.TLS.When != InClear {
		facts := s.info.Facts.Clone()
		s.first = &facts
	}
	speaks := " ESMTP"
	if s.lmtp() {
		speaks = " LMTP"
	}
	switch {
	case res.End != nil:
		s.answer(s.refused(res))
	case s.info.Early: // it takes us for something else, or hopes that we read two sessions where there is one
		s.answer(s.cut(replyEarly, tally.CutEarly))
	default:
		s.write(smtp.NewReply(220, "", s.srv.Intake.Settings().Hostname+speaks))
	}
}

// early looks for input that came before the greeting, which is not delayed for it unless the listener says so.
func (s *session) early() {
	if s.info.Early {
		return
	}
	buf, n := s.source.Poll(idle.Line)
	s.speaks(buf, n)
}

// speaks takes what a client said before the greeting; nil: nothing.
func (s *session) speaks(buf []byte, n int) {
	if buf != nil {
		s.info.Early, s.in = true, buf
		s.reader.Attach(buf, n)
	}
}

// refused is the greeting of a client that a plugin does not want: after a rejection it may only say QUIT (RFC 5321 section
// 3.1), after a deferral or close the connection ends. 554 and 421 are the only codes there are for that.
func (s *session) refused(res hooks.Result) intake.Answer {
	ans := s.verdict(res)
	s.tally.Refused.Add(tally.RefusedByPlugin)
	switch {
	case ans.Reply.Temporary():
		ans.Reply.Code = 421
	case ans.Reply.Code == 550:
		ans.Reply.Code = 554
	}
	if s.unwanted = res.End.Kind == hooks.Reject; !s.unwanted {
		ans.Close = true
	}
	return ans
}

// ask asks the hooks of a stage of the session, in the newest generation; asked says that there are any.
func (s *session) ask(stage hooks.Stage, l *hooks.LoginView) (res hooks.Result, asked bool) {
	gen := s.srv.Current.Acquire()
	defer gen.Release()
	if len(gen.Chain(stage)) == 0 {
		return res, false
	}
	c := hooks.Call{Stage: stage, Session: &s.info, Login: l, Parent: s.srv.ctx, Observer: s}
	if s.asked != nil {
		c.Asked = s.asked.Asked
	}
	if c.Late = s.at.RejectAtRcpt && stage <= hooks.Helo; c.Late {
		defer func() { s.late[stage-hooks.Connect] = res.Late }()
	}
	res = gen.Run(&c)
	if len(c.Asked) > 0 && len(c.Asked) < maxAsked {
		s.asked = &hooks.Call{Asked: c.Asked}
	}
	return res, true
}

// Observe collects the steps of the session's stages.
func (s *session) Observe(step observe.Step) {
	if len(s.steps) < maxSteps {
		s.steps = append(s.steps, step)
	}
}

// verdict is the answer that ends a stage of the session.
func (s *session) verdict(res hooks.Result) intake.Answer {
	v := res.End
	reply := v.Reply()
	s.srv.Log.LogAttrs(s.srv.ctx, slog.LevelInfo, "rejected", slog.String("session", s.info.ID), slog.String("ip", s.info.IP.String()),
		slog.String("helo", s.info.Helo), slog.String("plugin", res.By), slog.String("reply", reply.Error()))
	return intake.Answer{Reply: reply, Delay: v.Delay, Close: v.Kind == hooks.Close}
}

// cut is an answer with which the core ends the session.
func (s *session) cut(reply smtp.Reply, why int) intake.Answer {
	s.tally.Cut.Add(why)
	s.srv.Log.LogAttrs(s.srv.ctx, slog.LevelInfo, "session ended", slog.String("session", s.info.ID), slog.String("ip", s.info.IP.String()),
		slog.String("reply", reply.Error()))
	return intake.Answer{Reply: reply, Close: true}
}

// serve runs the session on a worker until it is over or its client is quiet. Before it waits it holds nothing that it can do
// without.
func (s *session) serve() {
	if s.at.TLS.When == FromTheOutset && s.info.TLS == nil {
		if s.secure(); s.over {
			s.end()
			return
		}
	}
	if s.at.GreetingDelay > 0 && !s.waited {
		go s.doze()
		return
	}
	if !s.greeted {
		s.start()
	}
	for !s.over {
		if s.held != nil {
			s.flush()
			s.rest()
			go s.doze()
			return
		}
		if s.reader.Buffered() > 0 {
			s.command()
			continue
		}
		s.armed = false
		size, _ := s.room()
		err := s.await(size, quiet)
		if err != nil && s.lull(err) {
			go s.doze()
			return
		}
		if err != nil {
			s.answer(s.lost(err))
		}
	}
	s.end()
}

// command reads and answers one command.
func (s *session) command() {
	_, s.reader.MaxLine = s.room()
	line, err := s.reader.ReadLine()
	s.armed = false
	if err != nil {
		s.answer(s.unread(line, err))
		return
	}
	if s.srv.draining.Load() {
		s.answer(s.cut(replyDraining, tally.CutDraining))
		return
	}
	if s.login != nil {
		s.answer(s.response(line))
		return
	}
	var v verb
	var ans intake.Answer
	cmd, err := smtp.ParseCommand(line)
	s.tally.Command(cmd.Verb)
	if err != nil {
		ans = s.notRead(line, sayError(err).Reply)
	} else if v = s.verb(cmd.Verb); v.flags&framed == 0 {
		ans.Reply = s.check(v, cmd.Arg)
	}
	if len(line)+len("\r\n") > smtp.DefaultMaxLine && cmd.Verb != "AUTH" {
		ans = s.notRead(line, replyLongLine)
	}
	// A client that was not told of PIPELINING cannot know how we would read what follows (RFC 2920).
	if s.reader.Buffered() > 0 && v.flags&leaving == 0 && (v.flags&last != 0 || !s.info.ESMTP) {
		ans = s.cut(replyPipelining, tally.CutProtocol)
	} else if ans.Reply.Code == 0 {
		ans = v.run(s, cmd.Arg)
	}
	if cmd.Verb == "AUTH" { // its buffer is used again
		clear(line)
	}
	if v.flags&clears != 0 && ans.Reply.Positive() {
		s.drop()
	}
	if v.flags&idles != 0 {
		s.since.idle++
	}
	s.answer(ans)
}

// unread is the answer to a line that could not be read; what is there of it tells whether octets follow.
func (s *session) unread(line []byte, err error) intake.Answer {
	var fault *smtp.Fault
	if !errors.As(err, &fault) {
		return s.lost(err)
	}
	if s.login != nil {
		s.loggedIn(login.Broken)
	}
	if fault.Kind == smtp.LongLine && s.reader.MaxLine > smtp.DefaultMaxLine {
		fault.Reply = login.ReplyTooLong
	}
	ans := s.notRead(line, fault.Reply)
	ans.Close = ans.Close || fault.Fatal
	return ans
}

// notRead is the answer to a line that is no command. After BDAT nobody knows how many octets follow.
func (s *session) notRead(line []byte, reply smtp.Reply) intake.Answer {
	if len(line) > 3 && bytes.EqualFold(line[:4], []byte("BDAT")) {
		return s.cut(reply, tally.CutProtocol)
	}
	return say(reply)
}

// answer counts an answer and puts it into what will be written. It is the only way to the client but for 220 and 354.
//
// Refusals are late once there were some, the more so the more there were, up to a bound: a client that guesses recipients or
// passwords gets on slowly.
func (s *session) answer(ans intake.Answer) {
	code := ans.Reply.Code
	if code >= 400 {
		s.info.Errors++
		s.since.refused++
		if n := min(s.since.refused-promptErrors, mostErrorSteps); n > 0 && !ans.Close {
			ans.Delay += time.Duration(n) * s.limits.ErrorDelay
		}
	}
	if code >= 500 && code <= 504 || code == 555 {
		s.since.junk++
	}
	switch {
	case ans.Close:
	case s.since.junk >= s.limits.Junk, s.since.refused >= s.limits.Refused:
		ans = s.cut(replyJunk, tally.CutErrors)
	case s.since.idle >= s.limits.Idle:
		ans = s.cut(replyIdle, tally.CutIdle)
	}
	if ans.Delay <= 0 {
		s.give(ans)
		return
	}
	s.tally.Delayed.Add(1)
	ans.Delay = min(ans.Delay, hooks.MaxDelay)
	s.held = &ans // those before it are not held up
}

// give lets an answer go.
func (s *session) give(ans intake.Answer) {
	switch {
	case ans.Silent || ans.Reply.Code == 0:
	case len(ans.Each) > 0:
		for _, r := range ans.Each {
			s.write(r)
		}
	default:
		s.write(ans.Reply)
	}
	s.over = s.over || ans.Close || ans.Silent
}

// lost is the answer when reading ended.
func (s *session) lost(err error) intake.Answer {
	s.over = true
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return intake.Answer{Close: true}
	case s.srv.draining.Load():
		return s.cut(replyDraining, tally.CutDraining)
	}
	if !time.Now().Before(s.until) {
		return s.cut(replyLong, tally.CutLong)
	}
	if s.content != nil && s.content.slow {
		return s.cut(replyTimeout, tally.CutRate)
	}
	return s.cut(replyTimeout, tally.CutTimeout)
}

// drop gives up the transaction, if there is one.
func (s *session) drop() {
	if s.tx != nil {
		s.tx.Drop()
		s.tx = nil
	}
}

// write appends a reply to those that wait for the next flush.
func (s *session) write(r smtp.Reply) {
	s.tally.Reply(r)
	if s.out == nil {
		s.out = s.srv.buffers.Get(idle.Line)[:0]
	}
	if s.out = r.Append(s.out); len(s.out) > idle.Line/2 {
		s.flush()
	}
}

// flush writes the replies. After an error the session ends.
func (s *session) flush() {
	if len(s.out) == 0 {
		return
	}
	if !s.broken {
		s.conn.SetWriteDeadline(time.Now().Add(s.limits.Write))
		if _, err := s.stream.Write(s.out); err != nil {
			s.broken, s.over = true, true
		}
	}
	s.out = s.out[:0]
}

// rest gives back all buffers that hold nothing.
func (s *session) rest() {
	if len(s.out) == 0 {
		s.srv.buffers.Put(s.out)
		s.out = nil
	}
	if s.reader.Buffered() == 0 {
		s.reader.Detach()
		s.srv.buffers.Put(s.in)
		s.in = nil
	}
}

// await waits for input with nothing buffered, and without a buffer where that can be done. Unless quiet is 0, a wait for a
// command ends in a lull after that time.
func (s *session) await(size int, quiet time.Duration) error {
	s.flush()
	s.rest()
	for {
		if err := s.arm(quiet); err != nil {
			return err
		}
		buf, n, err := s.source.Read(size)
		if err != nil && s.again(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.in = buf
		s.reader.Attach(buf, n)
		s.count(n)
		return nil
	}
}

// Read is how the reader gets the rest of a command or a content.
func (s *session) Read(p []byte) (int, error) {
	s.flush() // the client may wait for a reply before it sends the rest
	for {
		if err := s.arm(0); err != nil {
			return 0, err
		}
		n, err := s.stream.Read(p)
		if n == 0 && err != nil && s.again(err) {
			continue
		}
		s.count(n)
		return n, err
	}
}

func (s *session) count(n int) {
	s.tally.Bytes.Add(uint64(n))
	if s.content != nil {
		s.content.got += int64(n)
	}
}

// end is the end of a session.
func (s *session) end() {
	s.flush()
	s.drop()
	if !s.left && !s.broken {
		s.linger()
	}
	s.stream.Close()
	if s.greeted {
		s.ask(hooks.Disconnect, nil)
	}
	s.info.Life.End()
	if s.asked != nil {
		s.asked.Abandon()
	}
	if !s.began && len(s.steps) > 0 {
		s.srv.Records.Append(s.info.ID, s.steps...)
	}
	s.srv.buffers.Put(s.in)
	s.srv.buffers.Put(s.out)
	s.in, s.out = nil, nil
	s.srv.forget(s)
}
