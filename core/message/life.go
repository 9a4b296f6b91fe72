package message

import "sync"

// Life is how long a session lasts. It is safe for concurrent use.
type Life struct {
	mu   sync.Mutex
	over bool
	ends []func()
}

// AtEnd calls f once when the session ends, or at once if it did.
func (l *Life) AtEnd(f func()) {
	l.mu.Lock()
	over := l.over
	if !over {
		l.ends = append(l.ends, f)
	}
	l.mu.Unlock()
	if over {
		f()
	}
}

// End ends the session.
func (l *Life) End() {
	l.mu.Lock()
	ends := l.ends
	l.over, l.ends = true, nil
	l.mu.Unlock()
	for _, f := range ends {
		f()
	}
}
