package gate

import (
	"cmp"
	"time"
)

// Limits bound sessions; a zero field is its default. A session keeps those of its begin.
type Limits struct {
	Sessions      int           // at once; default 10,000
	SessionsPerIP int           // at once, of an IPv4 address, or a /64 of IPv6, which hosts commonly have to themselves; default 100
	Command       time.Duration // for a whole command to arrive; default 5 minutes (RFC 5321 section 4.5.3.2.7)
	Data          time.Duration // for the next piece of content; default 3 minutes, and all of it at 500 octets a second
	Write         time.Duration // for the client to take our replies; default 1 minute
	Junk          int           // commands unknown, malformed or out of order, between two messages; default 20
	Idle          int           // commands that lead nowhere (NOOP, RSET, VRFY ...), between two messages; default 100
	Refused       int           // commands refused for any reason, recipients too, between two messages; default 1,000
	Session       time.Duration // for all of it; default 2 hours
	ErrorDelay    time.Duration // by which replies to refused commands are late, the more so the more there were; below 0: none; default 200 ms
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Sessions:      cmp.Or(l.Sessions, 10_000),
		SessionsPerIP: cmp.Or(l.SessionsPerIP, 100),
		Command:       cmp.Or(l.Command, 5*time.Minute),
		Data:          cmp.Or(l.Data, 3*time.Minute),
		Write:         cmp.Or(l.Write, time.Minute),
		Junk:          cmp.Or(l.Junk, 20),
		Idle:          cmp.Or(l.Idle, 100),
		Refused:       cmp.Or(l.Refused, 1000),
		Session:       cmp.Or(l.Session, 2*time.Hour),
		ErrorDelay:    cmp.Or(l.ErrorDelay, 200*time.Millisecond),
	}
}

// hurried is what clients have for a command or a piece of content under stress.
const hurried = 10 * time.Second

// Patience is how long a client may take: d, or less under stress.
func (g *Gate) Patience(d time.Duration) time.Duration {
	if d > hurried && g.Stressed() {
		return hurried
	}
	return d
}
