package service

import (
	"slices"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
)

// Bounds of kept connections.
const (
	maxKept        = 1000 // over all sessions
	maxSessionKept = 4
	keepIdle       = time.Minute
)

// kept are the connections that wait for the next call of their session.
type kept struct {
	mu       sync.Mutex
	sessions map[*message.Life][]*Conn
	count    int
	sweeping bool
}

// take gives a connection that waits, or nil.
func (k *kept) take(s *message.Life, key connKey) *Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.sessions[s]
	for i, n := range list {
		if n.key == key {
			k.sessions[s] = append(list[:i:i], list[i+1:]...)
			k.count--
			return n
		}
	}
	return nil
}

// put keeps a connection for the session, or ends it where there are too many.
func (k *kept) put(s *message.Life, n *Conn) {
	first, ok := k.add(s, n)
	if !ok {
		n.end()
	} else if first {
		s.AtEnd(func() { k.drop(s) })
	}
}

func (k *kept) add(s *message.Life, n *Conn) (first, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count >= maxKept || len(k.sessions[s]) >= maxSessionKept {
		return false, false
	}
	if k.sessions == nil {
		k.sessions = map[*message.Life][]*Conn{}
	}
	list, known := k.sessions[s]
	n.idle = time.Now()
	k.sessions[s] = append(list, n)
	k.count++
	if !k.sweeping {
		k.sweeping = true
		time.AfterFunc(keepIdle, k.sweep)
	}
	return !known, true
}

// drop ends what waits for a session.
func (k *kept) drop(s *message.Life) {
	k.mu.Lock()
	list := k.sessions[s]
	delete(k.sessions, s)
	k.count -= len(list)
	k.mu.Unlock()
	for _, n := range list {
		n.end()
	}
}

// end ends what waits for calls with these needs.
func (k *kept) end(needs *capability.Needs) {
	k.mu.Lock()
	var old []*Conn
	for s, list := range k.sessions {
		k.sessions[s] = slices.DeleteFunc(list, func(n *Conn) bool {
			if n.key.needs == needs {
				old = append(old, n)
			}
			return n.key.needs == needs
		})
	}
	k.count -= len(old)
	k.mu.Unlock()
	for _, n := range old {
		n.end()
	}
}

// sweep ends what waited for too long, and comes again while something waits. The entries of sessions that have not ended stay:
// who is told of the end was told once.
func (k *kept) sweep() {
	k.mu.Lock()
	var old []*Conn
	for s, list := range k.sessions {
		var young []*Conn
		for _, n := range list {
			if time.Since(n.idle) >= keepIdle {
				old = append(old, n)
			} else {
				young = append(young, n)
			}
		}
		k.sessions[s] = young
	}
	k.count -= len(old)
	if k.sweeping = k.count > 0; k.sweeping {
		time.AfterFunc(keepIdle/4, k.sweep)
	}
	k.mu.Unlock()
	for _, n := range old {
		n.end()
	}
}
