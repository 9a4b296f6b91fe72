package disk

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/store"
)

// files knows which body files are open here, so that one is removed only after its last reader.
type files struct {
	reap func(store.ID)

	mu   sync.Mutex
	open map[store.ID]*openFile
}

type openFile struct {
	holders int
	dead    bool
}

// hold keeps the file of id until release.
func (f *files) hold(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[id]
	if o == nil {
		o = &openFile{}
		f.open[id] = o
	}
	o.holders++
}

func (f *files) release(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[id]
	if o.holders--; o.holders > 0 {
		return
	}
	delete(f.open, id)
	if o.dead {
		f.reap(id)
	}
}

// forget removes the file of id, now or after its last reader.
func (f *files) forget(id store.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.open[id]; o != nil {
		o.dead = true
	} else {
		f.reap(id)
	}
}

// reaper removes body files off the way of mail: removing a large file can take the file system as long as writing it. It
// takes 20 a second, and more when more wait, so that the backlog never holds more than what a second or so brought.
//
// Its goroutine also does what the store wants done every minute.
type reaper struct {
	remove func(store.ID)
	minute func()
	wake   chan struct{}
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	waiting []store.ID
}

const reapEvery = 50 * time.Millisecond

func newReaper(remove func(store.ID), minute func()) *reaper {
	r := &reaper{remove: remove, minute: minute, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *reaper) add(id store.ID) {
	r.mu.Lock()
	r.waiting = append(r.waiting, id)
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
	for _, id := range batch {
		r.remove(id)
	}
	return more
}

// stop leaves what still waits to the next start, which finds it without a record.
func (r *reaper) stop() {
	close(r.quit)
	<-r.done
}

func (s *Store) removeFile(id store.ID) {
	if err := s.fs.Remove(s.bodyPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("store: a body file cannot be removed; the next start tries again", "file", s.bodyPath(id), "error", err)
	}
}
