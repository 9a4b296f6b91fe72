package disk

import (
	"errors"
	"io/fs"
	"sync"
	"time"
)

// files knows which body files and slots are in use here, so that one is removed, or used for another content, only after its
// last reader.
type files struct {
	reap func(bodyName, *slot)
	park func(*slot)

	mu   sync.Mutex
	open map[bodyName]*openFile
}

type openFile struct {
	holders int
	dead    bool
	slot    *slot // left by the one who wrote to it
}

// hold keeps what has that name until release. It says nothing about what is in it: who read the name from a record looks for
// the record once more.
func (f *files) hold(name bodyName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[name]
	if o == nil {
		o = &openFile{}
		f.open[name] = o
	}
	o.holders++
}

// release ends a hold; sl is the slot of the holder who wrote to it, nil of others.
func (f *files) release(name bodyName, sl *slot) {
	f.mu.Lock()
	o := f.open[name]
	if sl != nil {
		o.slot = sl
	}
	if o.holders--; o.holders > 0 {
		f.mu.Unlock()
		return
	}
	delete(f.open, name)
	f.mu.Unlock()
	switch {
	case o.dead:
		f.reap(name, o.slot)
	case o.slot != nil:
		f.park(o.slot)
	}
}

// forget gives up what has that name, now or after its last holder.
func (f *files) forget(name bodyName) {
	f.mu.Lock()
	o := f.open[name]
	if o != nil {
		o.dead = true
	}
	f.mu.Unlock()
	if o == nil {
		f.reap(name, nil)
	}
}

// reaper removes files off the way of mail: removing a large file can take the file system as long as writing it. It takes 20 a
// second, and more when more wait, so that the backlog never holds more than what a second or so brought.
//
// Its goroutine also does what the store wants done every minute.
type reaper struct {
	remove func(bodyName)
	minute func()
	wake   chan struct{}
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	waiting []bodyName
}

const reapEvery = 50 * time.Millisecond

func newReaper(remove func(bodyName), minute func()) *reaper {
	r := &reaper{remove: remove, minute: minute, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *reaper) add(name bodyName) {
	r.mu.Lock()
	r.waiting = append(r.waiting, name)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reaper) run() {
	defer close(r.done)
	minutes := time.NewTicker(time.Minute)
	defer minutes.Stop()
	for {
		select {
		case <-minutes.C:
			r.minute()
		case <-r.wake:
		case <-r.quit:
			return
		}
		for r.some() {
			select {
			case <-time.After(reapEvery):
			case <-r.quit:
				return
			}
		}
	}
}

// some removes a part of what waits and tells whether more does.
func (r *reaper) some() bool {
	r.mu.Lock()
	n := min(1+len(r.waiting)/20, len(r.waiting))
	batch := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	more := len(r.waiting) > 0
	if !more {
		r.waiting = nil
	}
	r.mu.Unlock()
	for _, name := range batch {
		r.remove(name)
	}
	return more
}

// stop leaves what still waits to the next start, which finds it without a record.
func (r *reaper) stop() {
	close(r.quit)
	<-r.done
}

func (s *Store) removeFile(name bodyName) {
	if s.wiping.Load() {
		s.wipeFile(name)
	}
	path := s.bodyPath(name)
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("store: a body file cannot be removed; the next start tries again", "file", path, "error", err)
	}
}
