package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// Turns bound how many handshakes compute at once: a signature costs as much as many commands, and everybody may ask for one before
// anything is known of him. Who has no turn waits for it in order, no longer than until the deadline of its connection. It is safe for
// concurrent use.
type Turns struct {
	places  chan struct{} // holds one for each handshake that computes
	waiting atomic.Int64
	waited  atomic.Uint64
}

// NewTurns makes them, for so many at once.
func NewTurns(most int) *Turns { return &Turns{places: make(chan struct{}, most)} }

// Waiting is how many handshakes wait for a turn now; waited how many times one did.
func (t *Turns) Waiting() (now int64, waited uint64) { return t.waiting.Load(), t.waited.Load() }

// Turn is the connection below a handshake. The handshake has a turn from one read or write of the connection to the next, so a client
// that says nothing more keeps nobody from theirs. Afterwards it is a connection as any other.
type Turn struct {
	net.Conn
	counts   *Counts
	deadline time.Time
	has      bool
	over     bool
}

// Turn makes the connection below a handshake.
func (n *Counts) Turn(conn net.Conn) *Turn { return &Turn{Conn: conn, counts: n} }

// SetDeadline is for the connection, and for waiting.
func (t *Turn) SetDeadline(at time.Time) error {
	t.deadline = at
	return t.Conn.SetDeadline(at)
}

// Handshake makes it, counts it, and gives what was agreed on, with the certificate that the client showed if it is by one of the authorities
// of the Side; else nil. An error says in a word, first, why there was none. conn is TLS on the Turn, whose deadline holds.
func (t *Turn) Handshake(conn *tls.Conn, s *Side) (*message.TLS, *x509.Certificate, error) {
	defer func() {
		t.leave()
		t.over = true
	}()
	return t.counts.handshake(conn, s)
}

func (t *Turn) Read(p []byte) (int, error) {
	if t.over {
		return t.Conn.Read(p)
	}
	t.leave()
	n, err := t.Conn.Read(p)
	if err == nil {
		err = t.enter()
	}
	return n, err
}

func (t *Turn) Write(p []byte) (int, error) {
	if t.over {
		return t.Conn.Write(p)
	}
	t.leave()
	n, err := t.Conn.Write(p)
	if err == nil {
		err = t.enter()
	}
	return n, err
}

func (t *Turn) leave() {
	if t.has {
		t.has = false
		<-t.counts.turns.places
	}
}

// enter waits for a turn. The time that is left of a deadline counts, none is no bound.
func (t *Turn) enter() error {
	turns := t.counts.turns
	select {
	case turns.places <- struct{}{}:
		t.has = true
		return nil
	default:
	}
	turns.waited.Add(1)
	turns.waiting.Add(1)
	defer turns.waiting.Add(-1)
	var late <-chan time.Time
	if !t.deadline.IsZero() {
		timer := time.NewTimer(time.Until(t.deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case turns.places <- struct{}{}:
		t.has = true
		return nil
	case <-late:
		return os.ErrDeadlineExceeded
	}
}
