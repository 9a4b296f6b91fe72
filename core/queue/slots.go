package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

// slots are the attempts that may run at once, to all sites together. Where none is free sites wait in a ring and get one by
// turns, each for one attempt: so a site with much mail takes no more of them than one with little. Sites that did not answer yet
// get a part only, and most of that for their first attempt: so thousands that are dead, and hold their attempts until a
// timeout, leave room for those that are not, whether these are known to be well or not.
type slots struct {
	most     int32 // attempts, but in tests
	running  atomic.Int32
	unproven atomic.Int32 // of running, to sites that did not answer yet
	waiting  atomic.Int32 // sites in the rings

	mu    sync.Mutex
	rings [classes]siteRing
	turn  int
}

// class tells attempts apart by what is known of their site.
type class int

const (
	further class = iota // one more to a site that did not answer yet
	first                // the only one to such a site
	proven               // to one that did
	classes
)

// room tells whether there is a slot for one more attempt of a class.
func (o *slots) room(c class, running, unproven int32) bool {
	return running < o.most && unproven < [...]int32{further: o.most / 20, first: o.most * 3 / 4, proven: o.most + 1}[c]
}

// siteRing is sites in the order in which they came.
type siteRing struct {
	list []*site
	head int
}

// take takes a slot if one is free.
func (o *slots) take(c class) bool {
	running, unproven := o.running.Add(1)-1, o.unproven.Load()
	if c != proven {
		unproven = o.unproven.Add(1) - 1
	}
	if o.room(c, running, unproven) {
		return true
	}
	o.give(c)
	return false
}

func (o *slots) give(c class) {
	if c != proven {
		o.unproven.Add(-1)
	}
	o.running.Add(-1)
}

// wait puts a site into a ring. It tells whether a slot may have become free meanwhile.
func (o *slots) wait(s *site, c class) bool {
	o.mu.Lock()
	o.rings[c].list = append(o.rings[c].list, s)
	o.mu.Unlock()
	o.waiting.Add(1)
	return o.room(c, o.running.Load(), o.unproven.Load())
}

// next takes the site whose turn it is, if there is a slot for it; nil if not.
func (o *slots) next() (*site, class) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range o.rings {
		o.turn = (o.turn + 1) % len(o.rings)
		r := &o.rings[o.turn]
		if r.head == len(r.list) || !o.room(class(o.turn), o.running.Load(), o.unproven.Load()) {
			continue
		}
		s := r.list[r.head]
		r.list[r.head] = nil
		if r.head++; r.head*2 >= len(r.list) {
			n := copy(r.list, r.list[r.head:])
			clear(r.list[n:])
			r.list, r.head = r.list[:n], 0
		}
		o.waiting.Add(-1)
		return s, class(o.turn)
	}
	return nil, 0
}

// serve gives free slots to the sites that wait for one. No lock is held.
func (q *Queue) serve() {
	for q.slots.waiting.Load() > 0 && q.stopping.Err() == nil {
		s, c := q.slots.next()
		if s == nil {
			return
		}
		s.mu.Lock()
		s.ringed[c] = false
		s.start(time.Now())
		s.mu.Unlock()
	}
}
