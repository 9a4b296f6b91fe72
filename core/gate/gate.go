// Package gate decides which connections become sessions.
//
// There are bounds of two kinds. Those that are counted: sessions in all, and from one client. And watermarks of what the
// process has: when memory or open files come near their limit, new connections are refused while what was begun goes on,
// because a server that fails in the middle of a commit or of a delivery is worth less than one that says "later". Readings of
// the process are taken when somebody asks, at most once a second; what was let in since counts on top.
//
// Before anything is full there is stress: a server whose sessions are nearly used up has less patience with clients that are
// slow, so that those that are not find a place (as with Postfix' stress mode).
package gate

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Reason is why a connection is turned away.
type Reason uint8

const (
	Admitted    Reason = iota
	Full               // too many sessions
	PerClient          // too many of this client
	Memory             // the process has little left
	Descriptors        // the process may open few more files
	Header             // a proxy sent no PROXY header, or a wrong one
)

// Reading is what the process uses and may use. A limit of 0 is none.
type Reading struct {
	Memory, MemoryLimit int64 // bytes
	Files, FileLimit    int64 // open file descriptors
}

// Where the watermarks are.
const (
	memoryShare  = 0.85 // of the limit, by what is alive; the rest is for garbage
	leastReserve = 16   // file descriptors that sessions do not get; a quarter of the limit,
	mostReserve  = 1024 // between these
	stressShare  = 0.8  // of Limits.Sessions
	fresh        = time.Second
)

// Reached is the watermark that was reached; Admitted: none.
func (r Reading) Reached() Reason {
	reserve := max(leastReserve, min(mostReserve, r.FileLimit/4))
	switch {
	case r.MemoryLimit > 0 && float64(r.Memory) >= memoryShare*float64(r.MemoryLimit):
		return Memory
	case r.FileLimit > 0 && r.Files >= r.FileLimit-reserve:
		return Descriptors
	}
	return Admitted
}

// Options may all be left out.
type Options struct {
	Read func() Reading   // default: of this process
	Now  func() time.Time // default: time.Now
}

// Gate counts sessions. It is safe for concurrent use.
type Gate struct {
	Options
	open  atomic.Int64
	most  atomic.Int64 // Limits.Sessions as last seen
	since atomic.Int64 // let in since the reading

	mu      sync.Mutex
	clients map[netip.Addr]int
	told    time.Time

	asking sync.Mutex // held while a reading is taken; others use the last one
	last   atomic.Pointer[reading]
}

type reading struct {
	Reading
	at time.Time
}

// New makes a Gate that is open.
func New(o Options) *Gate {
	if o.Read == nil {
		o.Read = newProcess().read
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Gate{Options: o, clients: make(map[netip.Addr]int)}
}

// Enter lets a client in, which then has to Leave, or says why not. It waits for nothing. An address that is not valid counts
// in all only.
func (g *Gate) Enter(ip netip.Addr, l Limits) Reason {
	reached := g.Reading().Reached()
	client := clientOf(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most.Store(int64(l.Sessions))
	switch {
	case g.open.Load() >= int64(l.Sessions):
		return Full
	case client.IsValid() && g.clients[client] >= l.SessionsPerIP:
		return PerClient
	case reached != Admitted:
		return reached
	}
	if client.IsValid() {
		g.clients[client]++
	}
	g.open.Add(1)
	g.since.Add(1)
	return Admitted
}

// Leave is the end of what Enter let in.
func (g *Gate) Leave(ip netip.Addr) {
	client := clientOf(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open.Add(-1)
	if n := g.clients[client]; n > 1 {
		g.clients[client] = n - 1
	} else {
		delete(g.clients, client)
	}
}

// clientOf is what counts as one client.
func clientOf(ip netip.Addr) netip.Addr {
	if !ip.Is6() || ip.Is4In6() {
		return ip.Unmap()
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.Addr()
}

// Open is how many were let in and did not leave.
func (g *Gate) Open() int { return int(g.open.Load()) }

// Stressed tells whether clients should be given less time: four fifths of the sessions are in use, or a watermark is reached.
func (g *Gate) Stressed() bool {
	most := g.most.Load()
	return most > 0 && float64(g.open.Load()) >= stressShare*float64(most) || g.Reading().Reached() != Admitted
}

// Reading is what the process uses, at most a second old.
func (g *Gate) Reading() Reading {
	r, now := g.last.Load(), g.Now()
	if (r == nil || now.Sub(r.at) >= fresh || now.Before(r.at)) && g.asking.TryLock() {
		g.since.Store(0)
		r = &reading{g.Read(), now}
		g.last.Store(r)
		g.asking.Unlock()
	}
	if r == nil { // the first is just being taken
		return Reading{}
	}
	out := r.Reading
	out.Files += g.since.Load()
	return out
}

// Tell tells whether a refusal may be logged: one a second is enough.
func (g *Gate) Tell() bool {
	now := g.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.told) < time.Second {
		return false
	}
	g.told = now
	return true
}
