// Package server speaks SMTP with clients (RFC 5321). It knows connections, commands and replies; what is said yes or no to
// is decided by core/intake and by the plugins behind it.
//
// The verb table (verbs.go) is the centre: it says of each verb which method answers it and when it may be given. A method
// returns an answer; one place (session.answer) counts and writes it. Replies gather while input is buffered and go out in
// one write before the session waits (RFC 2920).
//
// A session that waits holds little. It has no buffers: they come from a pool when input is there, which on plain TCP is
// found out by trying to read when the poller says so (core/idle), and go back when it is used up. And its stack is
// small: commands are answered by workers (core/workers), whose stacks have grown and are used again; once a client is quiet, a
// goroutine that does nothing else waits for it. A stack that has grown shrinks only when the garbage collector runs, which on
// an idle server is seldom.
//
// Nothing here recovers from panics: a plugin's are contained where it is called, and one in the core, between a write to
// the store and its end, must not leave a server running that holds locks for ever.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/gate"
	"github.com/stagepost/stagepost/core/idle"
	"github.com/stagepost/stagepost/core/intake"
	"github.com/stagepost/stagepost/core/login"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/core/tally"
	"github.com/stagepost/stagepost/core/workers"
	"github.com/stagepost/stagepost/hooks"
)

// Limits bound sessions.
type Limits = gate.Limits

// Options are what a Server is made of. All but Gate and After are needed.
type Options struct {
	Intake  *intake.Intake
	Current *hooks.Current
	Limits  func() Limits
	Gate    *gate.Gate // nil: one of its own
	Records intake.Recorder
	Log     *slog.Logger
	After   func(time.Duration) <-chan time.Time // waits before a reply that is delayed; nil: time.After
}

// Listener is what sessions know of where they came in. It is never changed once it is served.
type Listener struct {
	Name          string
	Role          message.Role
	GreetingDelay time.Duration  // a client that speaks in this time is refused
	Proxies       []netip.Prefix // see gate.Door
	XClient       []netip.Prefix // from there XCLIENT is believed
	RejectAtRcpt  bool           // rejects and defers of connect, helo and mail are told at RCPT, those that hold then
	TLS           TLS
	Auth          []string // mechanisms with which clients may log in, of sasl.Mechanisms
	AuthInClear   bool     // without TLS, too
	Without       []string // extensions that are not offered; see esmtp.Offer
}

// Server holds the sessions of any number of listeners. It is safe for concurrent use.
type Server struct {
	Options
	ctx      context.Context // of what sessions do; ends when Shutdown cuts them
	cancel   context.CancelFunc
	ids      *message.IDs
	limits   atomic.Pointer[Limits]
	buffers  idle.Buffers
	draining atomic.Bool
	drain    chan struct{} // closed when draining begins
	workers  *workers.Pool
	logins   *login.Keeper

	mu        sync.Mutex
	sessions  map[*session]struct{}
	listeners map[net.Listener]struct{}
	empty     chan struct{} // closed when draining and the last session ended

	Board *tally.Board
}

// maxSpares is how many workers that have nothing to do are kept.
const maxSpares = 64

// sessionShard is the shard of no message: both kinds of ids are keys of records, and must not meet.
const sessionShard = 0xffff

// New makes a Server that serves nothing yet.
func New(o Options) *Server {
	if o.After == nil {
		o.After = time.After
	}
	if o.Gate == nil {
		o.Gate = gate.New(gate.Options{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		Options: o, ctx: ctx, cancel: cancel,
		ids:       message.NewIDs(time.Now, sessionShard, message.ID{}),
		drain:     make(chan struct{}),
		logins:    login.New(),
		workers:   workers.New(maxSpares, ctx.Done()),
		sessions:  make(map[*session]struct{}),
		listeners: make(map[net.Listener]struct{}),
		empty:     make(chan struct{}),
		Board:     tally.NewBoard(sasl.Mechanisms(), login.Results()),
	}
}

// Serve accepts sessions until ctx ends or Shutdown is called; then it closes ln and returns nil. Sessions go on.
func (srv *Server) Serve(ctx context.Context, ln net.Listener, l *Listener) error {
	srv.mu.Lock()
	if srv.draining.Load() {
		srv.mu.Unlock()
		return ln.Close()
	}
	srv.listeners[ln] = struct{}{}
	srv.mu.Unlock()
	counts := srv.Board.Serve(l.Name, l.Role)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer func() {
		stop()
		ln.Close()
		srv.mu.Lock()
		delete(srv.listeners, ln)
		srv.mu.Unlock()
		srv.Board.Closed(counts)
	}()
	err := srv.Gate.Accept(ctx, &gate.Door{
		Listener: ln, Name: l.Name, Proxies: l.Proxies, Log: srv.Log, Quit: srv.drain,
		Admit: func(a gate.Arrival) { srv.admit(a, l, counts) },
		Lost:  func(why gate.Reason) { counts.Refused.Add(int(why) - 1) },
	})
	if ctx.Err() != nil || srv.draining.Load() {
		return nil
	}
	return err
}

// refusals are the replies to connections that get no session. They are never changed.
var refusals = map[gate.Reason]smtp.Reply{
	gate.Full:        smtp.NewReply(421, "4.3.2", "too many connections, try again later"),
	gate.PerClient:   smtp.NewReply(421, "4.7.0", "too many connections from your address, try again later"),
	gate.Memory:      smtp.NewReply(421, "4.3.2", "the server has little memory left, try again later"),
	gate.Descriptors: smtp.NewReply(421, "4.3.2", "the server has too much open, try again later"),
}

// admit starts a session, or turns the connection away.
func (srv *Server) admit(a gate.Arrival, l *Listener, t *tally.Listener) {
	limits := srv.limited()
	ip := a.From.Addr()
	why := srv.Gate.Enter(ip, *limits)
	refusal := refusals[why]
	if why == gate.Admitted {
		s := newSession(srv, a, l, t, limits)
		srv.mu.Lock()
		if !srv.draining.Load() {
			srv.sessions[s] = struct{}{}
			t.Open.Add(1)
			t.Sessions.Add(1)
			srv.mu.Unlock()
			srv.workers.Go(s.serve)
			return
		}
		srv.mu.Unlock()
		srv.Gate.Leave(ip)
		refusal, why = replyDraining, tally.RefusedDraining+1
	}
	t.Refused.Add(int(why) - 1)
	if srv.Gate.Tell() {
		srv.Log.Warn("connections are refused", "ip", ip.String(), "listener", l.Name, "reply", refusal.Error())
	}
	a.SetWriteDeadline(time.Now().Add(time.Second)) // it fits a new connection's send buffer
	a.Write(refusal.Append(nil))
	a.Close()
}

// limited is the limits of a session that begins. Sessions with the same limits share them: there may be many.
func (srv *Server) limited() *Limits {
	now, last := srv.Limits().WithDefaults(), srv.limits.Load()
	if last == nil || *last != now {
		last = &now
		srv.limits.Store(last)
	}
	return last
}

// forget is the end of a session.
func (srv *Server) forget(s *session) {
	srv.Gate.Leave(s.peer)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, s)
	s.tally.Open.Add(-1)
	if srv.draining.Load() && len(srv.sessions) == 0 {
		close(srv.empty)
	}
}

// Sessions is the number of sessions now.
func (srv *Server) Sessions() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.sessions)
}

// afterCut is how long Shutdown waits for sessions whose connection it cut: for a commit that is under way.
const afterCut = 5 * time.Second

// Shutdown stops accepting and ends sessions: those between commands are answered 421 at once, those in the middle of a
// content may finish until ctx ends. Then they are cut, and the error says so. It may be called once.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	srv.draining.Store(true)
	close(srv.drain)
	for ln := range srv.listeners {
		ln.Close()
	}
	for s := range srv.sessions {
		s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes those that wait
	}
	if len(srv.sessions) == 0 {
		close(srv.empty)
	}
	srv.mu.Unlock()
	defer srv.cancel()
	select {
	case <-srv.empty:
		return nil
	case <-ctx.Done():
	}
	srv.cancel()
	srv.mu.Lock()
	cut := len(srv.sessions)
	for s := range srv.sessions {
		s.conn.Close()
	}
	srv.mu.Unlock()
	if cut == 0 {
		return nil
	}
	select {
	case <-srv.empty:
	case <-time.After(afterCut):
	}
	return fmt.Errorf("%d sessions did not end in time and were cut: %w", cut, ctx.Err())
}
