package disk

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spare is open files that are given up when the process may not open any more, as when sessions have taken all there are: a
// log must be followed by the next one, and a mark must be written, or nothing of that would ever end.
type spare struct {
	told  atomic.Bool
	mu    sync.Mutex
	files []*os.File
}

const (
	spareFiles = 16
	noFileWait = 50 * time.Millisecond // when there are no more of them
	noFileFor  = 10 * time.Second
)

// take opens what is missing, as far as that is possible.
func (p *spare) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.files) < spareFiles {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		p.files = append(p.files, f)
	}
}

// give closes one; false if none is left.
func (p *spare) give() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.files)
	if n == 0 {
		return false
	}
	p.files[n-1].Close()
	p.files = p.files[:n-1]
	return true
}

func (p *spare) close() {
	for p.give() {
	}
}

func noFilesLeft(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// open opens a file for Pebble. Where no file can be opened any more it takes the place of a slot that nobody uses, or of a spare one.
func (g guardFS) open(open func() (vfs.File, error)) (vfs.File, error) {
	f, err := open()
	for end := time.Now().Add(noFileFor); noFilesLeft(err); f, err = open() {
		if !g.s.spare.told.Swap(true) {
			g.s.log.Error("store: the process may not open any more files; allow it more, or fewer sessions", "error", err)
		}
		if g.s.slots.relax() || g.s.spare.give() {
			continue
		}
		if time.Now().After(end) {
			break
		}
		time.Sleep(noFileWait)
	}
	return f, err
}
