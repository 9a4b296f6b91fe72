// Package tally counts what goes on while mail is received: sessions by listener, messages by role. A session holds the
// Listener it counts for and a transaction the Role, so nothing is looked up to count; the Board has them all, for those who
// read. Everything here is safe for concurrent use.
package tally

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/smtp"
)

// Listener is what was counted on the listeners of one name and role.
type Listener struct {
	Name     string
	Role     message.Role
	Open     atomic.Int64  // sessions now
	Sessions atomic.Uint64 // begun
	Bytes    atomic.Uint64 // from clients
	Refused  *observe.Counters
	Cut      *observe.Counters
	Commands *observe.Counters
	Replies  *observe.Counters
	Delayed  atomic.Uint64       // replies that were late on purpose
	Logins   []*observe.Counters // by mechanism, of results: see NewBoard
	TLS      *certs.Counts

	serving int // sockets that are accepted from; guarded by the Board
}

// What Refused counts: connections that got no session, where the first are those of gate.Reason, and sessions that a plugin
// refused at their connect.
const (
	RefusedDraining = iota + 5
	RefusedByPlugin
)

// What Cut counts: sessions that the server ended.
const (
	CutDraining = iota
	CutTimeout
	CutRate     // content came too slowly
	CutLong     // the session had lasted long enough
	CutErrors   // too many refused commands
	CutIdle     // too many commands that lead nowhere
	CutEarly    // spoke before the greeting
	CutProtocol // commands out of step
)

// commands are the verbs, in the order of how often they come.
var commands = [...]string{"RCPT", "MAIL", "DATA", "BDAT", "EHLO", "QUIT", "RSET", "NOOP", "HELO", "LHLO", "VRFY", "EXPN", "HELP", "STARTTLS", "AUTH", "XCLIENT"}

// Command counts a verb, in upper case.
func (l *Listener) Command(verb string) {
	i := 0
	for i < len(commands) && commands[i] != verb {
		i++
	}
	l.Commands.Add(i)
}

// Reply counts a reply by the first digit of its code.
func (l *Listener) Reply(r smtp.Reply) { l.Replies.Add(r.Code/100 - 2) }

// Board has the Listeners that are served or have sessions.
type Board struct {
	Answered *observe.Histogram // how long the replies to final dots took, on all listeners
	Turns    *certs.Turns       // of TLS handshakes on all listeners

	mechanisms, results []string
	mu                  sync.Mutex
	listeners           []*Listener
}

// NewBoard makes an empty one. The Logins of each Listener are counters of these results, one for each mechanism.
func NewBoard(mechanisms, results []string) *Board {
	return &Board{mechanisms: mechanisms, results: results, Turns: certs.NewTurns(runtime.GOMAXPROCS(0)), Answered: observe.NewTimes(time.Millisecond, 5*time.Millisecond, 20*time.Millisecond,
		100*time.Millisecond, 500*time.Millisecond, 2*time.Second, 10*time.Second, time.Minute)}
}

// New makes a Listener that is not on the board.
func (b *Board) New(name string, role message.Role) *Listener {
	l := &Listener{
		Name:     name,
		Role:     role,
		Refused:  observe.NewCounters("full", "per_ip", "memory", "descriptors", "header", "draining", "plugin"),
		Cut:      observe.NewCounters("draining", "timeout", "rate", "session_time", "errors", "idle", "early", "protocol"),
		Commands: observe.NewCounters(append(slices.Clone(commands[:]), "unknown")...),
		Replies:  observe.NewCounters("2xx", "3xx", "4xx", "5xx"),
		TLS:      certs.NewCounts(b.Turns),
	}
	for range b.mechanisms {
		l.Logins = append(l.Logins, observe.NewCounters(b.results...))
	}
	return l
}

// Serve finds the Listener of one that is to be served, until it is Closed. Those that are gone go with their last session.
func (b *Board) Serve(name string, role message.Role) *Listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	same := func(l *Listener) bool { return l.Name == name && l.Role == role }
	b.listeners = slices.DeleteFunc(b.listeners, func(l *Listener) bool { return l.serving == 0 && l.Open.Load() == 0 && !same(l) })
	i := slices.IndexFunc(b.listeners, same)
	if i < 0 {
		i, b.listeners = len(b.listeners), append(b.listeners, b.New(name, role))
	}
	b.listeners[i].serving++
	return b.listeners[i]
}

// Closed says that one socket less is accepted from.
func (b *Board) Closed(l *Listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.serving--
}

// Listeners lists them.
func (b *Board) Listeners() []*Listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.listeners)
}
