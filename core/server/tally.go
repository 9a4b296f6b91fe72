package server

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/login"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/smtp"
)

// Tally is what was counted on the listeners of one name and role. Their sessions hold it, so nothing is looked up to count.
type Tally struct {
	Listener string // its name
	Role     message.Role
	Open     atomic.Int64  // sessions now
	Sessions atomic.Uint64 // begun
	Bytes    atomic.Uint64 // from clients
	Refused  *observe.Counters
	Cut      *observe.Counters
	Commands *observe.Counters
	Replies  *observe.Counters
	Delayed  atomic.Uint64       // replies that were late on purpose
	Logins   []*observe.Counters // by sasl.Mechanisms, of login.Results
	TLS      *certs.Counts

	serving int // sockets that are accepted from; guarded by Server.mu
}

// What Refused counts: connections that got no session, where the first are those of gate.Reason, and sessions that a plugin
// refused at their connect.
const (
	refusedDraining = iota + 5
	refusedByPlugin
)

// What Cut counts: sessions that the core ended.
const (
	cutDraining = iota
	cutTimeout
	cutRate     // content came too slowly
	cutLong     // Limits.Session
	cutErrors   // Limits.Junk and Limits.Refused
	cutIdle     // Limits.Idle
	cutEarly    // spoke before the greeting
	cutProtocol // commands out of step
)

// NewTally makes an empty one.
func NewTally(listener string, role message.Role) *Tally {
	t := &Tally{
		Listener: listener,
		Role:     role,
		Refused:  observe.NewCounters("full", "per_ip", "memory", "descriptors", "header", "draining", "plugin"),
		Cut:      observe.NewCounters("draining", "timeout", "rate", "session_time", "errors", "idle", "early", "protocol"),
		Commands: observe.NewCounters(append(slices.Clone(commands[:]), "unknown")...),
		Replies:  observe.NewCounters("2xx", "3xx", "4xx", "5xx"),
		TLS:      certs.NewCounts(),
	}
	for range sasl.Mechanisms() {
		t.Logins = append(t.Logins, observe.NewCounters(login.Results()...))
	}
	return t
}

// commands are the verbs, in the order of how often they come.
var commands = [...]string{"RCPT", "MAIL", "DATA", "BDAT", "EHLO", "QUIT", "RSET", "NOOP", "HELO", "LHLO", "VRFY", "EXPN", "HELP", "STARTTLS", "AUTH"}

func (t *Tally) command(verb string) {
	i := 0
	for i < len(commands) && commands[i] != verb {
		i++
	}
	t.Commands.Add(i)
}

func (t *Tally) reply(r smtp.Reply) { t.Replies.Add(r.Code/100 - 2) }

// tally finds the Tally of a listener that is to be served. Those of listeners that are gone go with their last session.
func (srv *Server) tally(l *Listener) *Tally {
	same := func(t *Tally) bool { return t.Listener == l.Name && t.Role == l.Role }
	srv.tallies = slices.DeleteFunc(srv.tallies, func(t *Tally) bool { return t.serving == 0 && t.Open.Load() == 0 && !same(t) })
	i := slices.IndexFunc(srv.tallies, same)
	if i < 0 {
		i, srv.tallies = len(srv.tallies), append(srv.tallies, NewTally(l.Name, l.Role))
	}
	srv.tallies[i].serving++
	return srv.tallies[i]
}

// Tallies are those of the listeners that are served or have sessions.
func (srv *Server) Tallies() []*Tally {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return slices.Clone(srv.tallies)
}

// Answered is how long the replies to final dots took, of all listeners.
func (srv *Server) Answered() *observe.Histogram { return srv.answered }

func newAnswered() *observe.Histogram {
	return observe.NewTimes(time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond, 500*time.Millisecond, 2*time.Second, 10*time.Second, time.Minute)
}
