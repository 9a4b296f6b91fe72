package server

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
)

// session is one connection. It belongs to one goroutine at a time.
type session struct {
	srv    *Server
	conn   net.Conn
	source idle.Source
	reader *smtp.Reader
	limits Limits
	info   message.Session
	asked  *hooks.Call    // holds whose facts the session's stages asked for; nil: nobody's
	steps  []observe.Step // of the session's stages
	tx     *intake.Transaction
	utf8   bool // tx began with SMTPUTF8
	at     *Listener
	tally  *Tally

	in       []byte // lent to the reader
	out      []byte // replies not yet written
	deadline time.Time
	armed    bool     // the deadline of this command is set
	short    bool     // on the connection it is that of the lull
	content  *arrival // while content is read

	since    counts // what came since the last message
	unwanted bool   // refused at its connect: only QUIT is answered
	began    bool   // MAIL was given: the steps are in a message's record
	greeted  bool   // start has run
	left     bool   // the client said QUIT
	over     bool   // nothing more is read
	broken   bool   // nothing more can be written
}

// counts bound what leads to no message.
type counts struct {
	junk    int // commands unknown, malformed or out of order
	idle    int // commands that lead nowhere
	refused int // commands refused for any reason
}

const (
	maxSteps = 100  // of the session's stages
	maxAsked = 1000 // hooks whose facts were asked for
)

// Replies with which the core itself ends a session.
var (
	replyDraining = smtp.NewReply(421, "4.3.2", "the server is shutting down, try again later")
	replyTimeout  = smtp.NewReply(421, "4.4.2", "timeout, closing the connection")
	replyJunk     = smtp.NewReply(421, "4.7.0", "too many errors, closing the connection")
	replyIdle     = smtp.NewReply(421, "4.7.0", "too many commands without a message, closing the connection")
	replyEarly    = smtp.NewReply(554, "5.5.0", "you spoke before the greeting")
)

func newSession(srv *Server, conn net.Conn, l *Listener, t *Tally) *session {
	s := &session{srv: srv, conn: conn, at: l, tally: t, limits: srv.Limits().withDefaults(), source: idle.New(conn, &srv.buffers)}
	s.reader = smtp.NewReader(s)
	s.info = message.Session{ID: srv.ids.Next().String(), Role: l.Role, Listener: l.Name, Origin: "smtp", Life: &message.Life{}}
	s.info.IP, s.info.Port = ipPort(conn.RemoteAddr())
	s.info.LocalIP, s.info.LocalPort = ipPort(conn.LocalAddr())
	return s
}

func ipPort(a net.Addr) (netip.Addr, uint16) {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return ap.Addr().Unmap(), ap.Port()
	}
	return netip.Addr{}, 0
}

// start is the beginning of a session, up to the greeting.
func (s *session) start() {
	s.greeted = true
	s.early()
	res, asked := s.ask(hooks.Connect)
	if asked { // that took time
		s.early()
	}
	hostname := s.srv.Intake.Settings().Hostname
	switch {
	case res.End != nil:
		s.answer(s.refused(res))
	case s.info.Early: // it takes us for something else, or hopes that we read two sessions where there is one
		s.answer(s.cut(replyEarly))
	default:
		s.write(smtp.NewReply(220, "", hostname+" ESMTP"))
	}
}

// early looks for input that came before the greeting. The greeting is not delayed for it.
func (s *session) early() {
	if s.info.Early {
		return
	}
	if buf, n := s.source.Poll(idle.Line); buf != nil {
		s.info.Early = true
		s.in = buf
		s.reader.Attach(buf, n)
	}
}

// refused is the greeting of a client that a plugin does not want: after a rejection it may only say QUIT (RFC 5321 section
// 3.1), after a deferral or close the connection ends. 554 and 421 are the only codes there are for that.
func (s *session) refused(res hooks.Result) intake.Answer {
	ans := s.verdict(res)
	s.tally.Refused.Add(refusedByPlugin)
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
func (s *session) ask(stage hooks.Stage) (res hooks.Result, asked bool) {
	gen := s.srv.Current.Acquire()
	defer gen.Release()
	if len(gen.Chain(stage)) == 0 {
		return res, false
	}
	c := hooks.Call{Stage: stage, Session: &s.info, Parent: s.srv.ctx, Observer: s}
	if s.asked != nil {
		c.Asked = s.asked.Asked
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
func (s *session) cut(reply smtp.Reply) intake.Answer {
	s.tally.cut(reply)
	s.srv.Log.LogAttrs(s.srv.ctx, slog.LevelInfo, "session ended", slog.String("session", s.info.ID), slog.String("ip", s.info.IP.String()),
		slog.String("reply", reply.Error()))
	return intake.Answer{Reply: reply, Close: true}
}

// serve runs the session on a worker until it is over or its client is quiet. Before it waits it holds nothing that it can do
// without.
func (s *session) serve() {
	if !s.greeted {
		s.start()
	}
	for !s.over {
		if s.reader.Buffered() > 0 {
			s.command()
			continue
		}
		s.armed = false
		err := s.await(idle.Line, quiet)
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

// doze waits for a client that is quiet. It does so on a goroutine of its own, which needs no more than the smallest stack:
// that, and not the worker's, is what an idle session holds.
func (s *session) doze() {
	if err := s.await(idle.Line, 0); err != nil {
		s.answer(s.lost(err))
	}
	s.srv.workers.Go(s.serve)
}

// command reads and answers one command.
func (s *session) command() {
	line, err := s.reader.ReadLine()
	s.armed = false
	if err != nil {
		s.answer(s.unread(err))
		return
	}
	if s.srv.draining.Load() {
		s.answer(s.cut(replyDraining))
		return
	}
	var v verb
	var ans intake.Answer
	cmd, err := smtp.ParseCommand(line)
	s.tally.command(cmd.Verb)
	if err != nil {
		ans = sayError(err)
	} else {
		v = verbs[cmd.Verb]
		ans.Reply = s.check(v, cmd.Arg)
	}
	// A client that was not told of PIPELINING cannot know how we would read what follows (RFC 2920).
	if s.reader.Buffered() > 0 && v.flags&leaving == 0 && (v.flags&last != 0 || !s.info.ESMTP) {
		ans = s.cut(replyPipelining)
	} else if ans.Reply.Code == 0 {
		ans = v.run(s, cmd.Arg)
	}
	if v.flags&clears != 0 && ans.Reply.Positive() {
		s.drop()
	}
	if v.flags&idles != 0 {
		s.since.idle++
	}
	s.answer(ans)
}

// unread is the answer to a line that could not be read.
func (s *session) unread(err error) intake.Answer {
	var fault *smtp.Fault
	if errors.As(err, &fault) {
		return intake.Answer{Reply: fault.Reply, Close: fault.Fatal}
	}
	return s.lost(err)
}

// answer counts an answer and puts it into what will be written. It is the only way to the client but for 220 and 354.
func (s *session) answer(ans intake.Answer) {
	code := ans.Reply.Code
	if code >= 400 {
		s.info.Errors++
		s.since.refused++
	}
	if code >= 500 && code <= 504 || code == 555 {
		s.since.junk++
	}
	switch {
	case ans.Close:
	case s.since.junk >= s.limits.Junk, s.since.refused >= s.limits.Refused:
		ans = s.cut(replyJunk)
	case s.since.idle >= s.limits.Idle:
		ans = s.cut(replyIdle)
	}
	if ans.Delay > 0 {
		s.pause(min(ans.Delay, hooks.MaxDelay))
	}
	if !ans.Silent && ans.Reply.Code != 0 {
		s.write(ans.Reply)
	}
	s.over = s.over || ans.Close || ans.Silent
}

// pause delays a reply; those before it are not held up.
func (s *session) pause(d time.Duration) {
	s.flush()
	select {
	case <-s.srv.After(d):
	case <-s.srv.drain:
	}
}

// lost is the answer when reading ended.
func (s *session) lost(err error) intake.Answer {
	s.over = true
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return intake.Answer{Close: true}
	case s.srv.draining.Load():
		return s.cut(replyDraining)
	}
	return s.cut(replyTimeout)
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
	s.tally.reply(r)
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
		if _, err := s.conn.Write(s.out); err != nil {
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
		n, err := s.conn.Read(p)
		if n == 0 && err != nil && s.again(err) {
			continue
		}
		s.count(n)
		return n, err
	}
}

// quiet is how long a worker waits for the next command itself.
const quiet = 20 * time.Millisecond

// lull tells whether the wait for a command ended only because the client is quiet.
func (s *session) lull(err error) bool {
	return s.short && errors.Is(err, os.ErrDeadlineExceeded) && !s.srv.draining.Load()
}

// arm sets the deadline: one for a whole command, one for each piece of a content; while a worker waits for a command, that of
// the lull. The order matters: Shutdown says that it drains, then passes the deadlines; so either it is seen here or the read
// returns at once.
func (s *session) arm(quiet time.Duration) error {
	if s.broken {
		return net.ErrClosed
	}
	now := time.Now()
	switch {
	case s.content != nil:
		s.deadline, quiet = s.content.deadline(now, s.limits.Data), 0
	case !s.armed:
		s.deadline, s.armed = now.Add(s.limits.Command), true
	case !s.short:
		return nil
	}
	at := s.deadline
	if s.short = quiet > 0 && now.Add(quiet).Before(at); s.short {
		at = now.Add(quiet)
	}
	if err := s.conn.SetReadDeadline(at); err != nil {
		return err
	}
	if s.content == nil && s.srv.draining.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// again tells whether a read was only woken by Shutdown, which lets content go on.
func (s *session) again(err error) bool {
	return s.content != nil && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(s.deadline)
}

func (s *session) count(n int) {
	s.tally.Bytes.Add(uint64(n))
	if s.content != nil {
		s.content.got += int64(n)
	}
}

// Bounds of reading on after the last reply.
const (
	lingerFor  = 2 * time.Second
	lingerSize = 64 << 10
)

// end is the end of a session.
func (s *session) end() {
	s.flush()
	s.drop()
	if !s.left && !s.broken {
		s.linger()
	}
	s.conn.Close()
	s.ask(hooks.Disconnect)
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

// linger reads what the client sent in vain: closed with input unread, a connection is reset, and the client may never see
// our last reply.
func (s *session) linger() {
	s.rest()
	if s.in == nil {
		s.in, _ = s.source.Poll(idle.Line)
	}
	half, ok := s.conn.(interface{ CloseWrite() error })
	if s.in == nil || !ok || half.CloseWrite() != nil {
		return
	}
	s.conn.SetReadDeadline(time.Now().Add(lingerFor))
	for read := 0; read < lingerSize; {
		n, err := s.conn.Read(s.in)
		if err != nil {
			return
		}
		read += n
	}
}
