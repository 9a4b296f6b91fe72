package deliver

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

// key tells connections apart that must not stand in for each other.
type key struct {
	addr   netip.AddrPort
	socket string
	lmtp   bool
	helo   string
	from   string // the source; empty: none
	auth   message.Auth
	// demand is what the connection had to be (demand.id): one that was opened for less, or for another name, never serves here.
	demand string
}

const (
	maxQuits = 100             // connections that say good-bye at once; more are just closed
	quitTime = 2 * time.Second // for the whole of it
)

// pool keeps idle connections, each for at most maxAge, the most recently used of a key first, so that those that are too
// many grow old.
type pool struct {
	max, maxSame int
	maxAge       time.Duration
	quits        chan struct{}
	leaving      sync.WaitGroup

	mu    sync.Mutex
	idle  map[key][]*conn // by idleSince; an empty list goes with the next sweep
	count int
	sweep *time.Timer
	armed bool // the sweep will come
}

func newPool(max, maxSame int, maxAge time.Duration) *pool {
	return &pool{max: max, maxSame: maxSame, maxAge: maxAge, quits: make(chan struct{}, maxQuits), idle: make(map[key][]*conn)}
}

// take returns an idle connection, or nil.
func (p *pool) take(k key) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[k]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	if time.Since(c.idleSince) >= p.maxAge {
		return nil // the sweep is about to come for it
	}
	list[len(list)-1] = nil
	p.idle[k] = list[:len(list)-1]
	p.count--
	return c
}

// put takes over a connection that can be used again: to keep it, or to end it.
func (p *pool) put(c *conn) {
	if !p.add(c) {
		p.leave(c)
	}
}

func (p *pool) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[c.key]
	if p.count >= p.max || len(list) >= p.maxSame || !c.rest() {
		return false
	}
	c.idleSince = time.Now()
	p.idle[c.key] = append(list, c)
	p.count++
	if !p.armed {
		p.arm(p.maxAge)
	}
	return true
}

func (p *pool) arm(d time.Duration) {
	p.armed = true
	if p.sweep == nil {
		p.sweep = time.AfterFunc(d, p.expire)
		return
	}
	p.sweep.Reset(d)
}

// expire ends the connections that are too old.
func (p *pool) expire() {
	p.mu.Lock()
	var old []*conn
	now, next := time.Now(), p.maxAge
	for k, list := range p.idle {
		n := 0
		for ; n < len(list); n++ {
			if left := p.maxAge - now.Sub(list[n].idleSince); left > 0 {
				next = min(next, left)
				break
			}
		}
		if old = append(old, list[:n]...); n == len(list) {
			delete(p.idle, k)
		} else if n > 0 {
			p.idle[k] = slices.Delete(list, 0, n)
		}
	}
	p.count -= len(old)
	if p.armed = false; p.count > 0 {
		p.arm(next)
	}
	p.mu.Unlock()
	for _, c := range old {
		p.leave(c)
	}
}

// leave says good-bye in the background and closes the connection. Nothing waits for it.
func (p *pool) leave(c *conn) {
	select {
	case p.quits <- struct{}{}:
	default:
		c.Close()
		return
	}
	p.leaving.Go(func() {
		c.quit()
		<-p.quits
	})
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.count, p.max = nil, 0, -1
	if p.sweep != nil {
		p.sweep.Stop()
	}
	p.mu.Unlock()
	for _, list := range idle {
		for _, c := range list {
			p.leave(c)
		}
	}
	p.leaving.Wait()
}
