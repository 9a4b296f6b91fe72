package deliver

import (
	"time"

	"github.com/stagepost/stagepost/core/observe"
)

// Counts are what was counted of connections since the start.
type Counts struct {
	Connections *observe.Counters  // asked for: opened and greeted, refused or not reached, taken from those that idle
	TLS         *observe.Counters  // new connections, by how they are protected, and handshakes that failed
	Connect     *observe.Histogram // how long it took to open one and to greet
}

const (
	tlsNone = iota
	tlsEncrypted
	tlsVerified
	tlsFailed
)

const (
	connOpened = iota
	connFailed
	connReused
)

// NewCounts makes empty ones.
func NewCounts() *Counts {
	return &Counts{
		Connections: observe.NewCounters("opened", "failed", "reused"),
		TLS:         observe.NewCounters("clear", "encrypted", "verified", "failed"),
		Connect:     observe.NewTimes(5*time.Millisecond, 50*time.Millisecond, 250*time.Millisecond, time.Second, 5*time.Second, 30*time.Second, 5*time.Minute),
	}
}

// opened counts a connection that was opened, or could not be.
func (c *Counts) opened(began time.Time, f *failure) {
	if f != nil {
		c.Connections.Add(connFailed)
		return
	}
	c.Connections.Add(connOpened)
	c.Connect.Took(time.Since(began))
}

// protected counts a new connection by how it is protected.
func (c *Counts) protected(by *conn) {
	switch {
	case by.verified:
		c.TLS.Add(tlsVerified)
	case by.protection != "":
		c.TLS.Add(tlsEncrypted)
	default:
		c.TLS.Add(tlsNone)
	}
}

// reused counts a message that went over a connection that was idle; one that had ended meanwhile is none.
func (c *Counts) reused(stale bool) {
	if !stale {
		c.Connections.Add(connReused)
	}
}

// Counts are what was counted since the start.
func (s *Sender) Counts() *Counts { return s.counts }

// Idle is how many connections wait for a next message.
func (s *Sender) Idle() int {
	s.idle.mu.Lock()
	defer s.idle.mu.Unlock()
	return s.idle.count
}
