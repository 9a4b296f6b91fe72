package deliver

import (
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

const (
	maxTickets = 2000 // of servers, to resume TLS sessions with
	maxPlain   = 2000 // addresses where TLS is known to fail
	// plainTime is how long an address is spoken to in clear at once after TLS failed there, where that is allowed.
	plainTime = 10 * time.Minute
)

// tickets keeps what TLS sessions can be resumed with, each for connections of one key alone: a session that was begun under one
// demand never goes on under another.
type tickets struct{ cache tls.ClientSessionCache }

func newTickets() tickets { return tickets{tls.NewLRUClientSessionCache(maxTickets)} }

func (t tickets) under(k key) tls.ClientSessionCache {
	return ticketsOf{t.cache, fmt.Sprintf("%v %v %q %q %q ", k.addr, k.lmtp, k.helo, k.from, k.demand)}
}

type ticketsOf struct {
	tls.ClientSessionCache
	prefix string
}

func (t ticketsOf) Get(name string) (*tls.ClientSessionState, bool) {
	return t.ClientSessionCache.Get(t.prefix + name)
}

func (t ticketsOf) Put(name string, s *tls.ClientSessionState) {
	t.ClientSessionCache.Put(t.prefix+name, s)
}

// plainly remembers at which addresses TLS failed and a connection in clear did not, so that not every message pays for both.
type plainly struct {
	now func() time.Time

	mu    sync.Mutex
	addrs map[string]spokenTo
}

type spokenTo struct {
	until time.Time
	why   string
}

// why tells why TLS is left out at an address; "": it is not.
func (p *plainly) why(addr string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.addrs[addr]
	if p.now().Before(f.until) {
		return f.why
	}
	return ""
}

func (p *plainly) add(addr, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addrs == nil {
		p.addrs = map[string]spokenTo{}
	}
	now := p.now()
	if _, ok := p.addrs[addr]; !ok && len(p.addrs) >= maxPlain {
		for a, f := range p.addrs {
			if !now.Before(f.until) {
				delete(p.addrs, a)
			}
		}
		if len(p.addrs) >= maxPlain { // one pays again
			for a := range p.addrs {
				delete(p.addrs, a)
				break
			}
		}
	}
	p.addrs[addr] = spokenTo{now.Add(plainTime), why}
}
