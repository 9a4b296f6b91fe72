package disk

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// wipers is how many slots are overwritten at once: a disk whose syncs take long has other contents synced meanwhile.
const wipers = 4

// wiper overwrites slots with zeros before they are free again. It is on nobody's way: until it is done other slots are used.
type wiper struct {
	wipe, shut func(*slot)

	mu      sync.Mutex
	waiting []*slot
	running int
	stopped bool
	group   sync.WaitGroup
}

func (w *wiper) add(sl *slot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		w.shut(sl)
		return
	}
	w.waiting = append(w.waiting, sl)
	if w.running < wipers {
		w.running++
		w.group.Go(w.run)
	}
}

func (w *wiper) run() {
	for sl := w.next(); sl != nil; sl = w.next() {
		w.wipe(sl)
	}
}

func (w *wiper) next() *slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.running--
		return nil
	}
	sl := w.waiting[0]
	w.waiting = w.waiting[1:]
	return sl
}

// stop leaves what still waits to the next start.
func (w *wiper) stop() {
	w.mu.Lock()
	w.stopped = true
	for _, sl := range w.waiting {
		w.shut(sl)
	}
	w.waiting = nil
	w.mu.Unlock()
	w.group.Wait()
}

// Wipe sets whether contents are overwritten when nobody needs them any more.
func (s *Store) Wipe(on bool) {
	if s.wiping.Swap(on) || !on {
		return
	}
	for _, sl := range s.slots.drain() {
		s.wiper.add(sl)
	}
}

// wipeSlot makes a slot free that holds nothing of a message.
func (s *Store) wipeSlot(sl *slot) {
	err := s.openSlot(sl)
	if err == nil {
		err = s.overwrite(sl.file)
	}
	if err != nil {
		s.log.Error("store: a slot cannot be wiped, it is removed", "file", s.bodyPath(sl.name()), "error", err)
		s.slots.close(sl)
		s.reaper.add(sl.name())
		return
	}
	s.free(sl)
}

// wipeFile overwrites a file that is about to be removed.
func (s *Store) wipeFile(name bodyName) {
	path := s.bodyPath(name)
	if _, err := s.fs.Stat(path); errors.Is(err, fs.ErrNotExist) { // opening would make it
		return
	}
	f, err := s.fs.OpenReadWrite(path, writeBody)
	if err == nil {
		err = errors.Join(s.overwrite(f), f.Close())
	}
	if err != nil {
		s.log.Error("store: a file cannot be wiped before it is removed", "file", path, "error", err)
	}
}

// overwrite makes all of a file zeros, and syncs it; what is that already is left.
func (s *Store) overwrite(f vfs.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	piece := s.piece()
	defer s.pieces.Put(piece)
	wiped := true
	for at, size := int64(0), info.Size(); at < size; at += pieceSize {
		p := piece[:min(pieceSize, size-at)]
		if wiped {
			if n, err := f.ReadAt(p, at); n < len(p) {
				return cmp.Or(err, io.ErrUnexpectedEOF)
			}
			if wiped = len(bytes.Trim(p, "\x00")) == 0; wiped {
				continue
			}
			clear(piece[:])
		}
		if _, err := f.WriteAt(p, at); err != nil {
			return err
		}
	}
	if wiped {
		return nil
	}
	return f.SyncData()
}

// pieceSize is how much is read or written at once where a whole file is.
const pieceSize = 64 << 10

func (s *Store) piece() *[pieceSize]byte {
	if p, ok := s.pieces.Get().(*[pieceSize]byte); ok {
		return p
	}
	return new([pieceSize]byte)
}
