package disk

import (
	"errors"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Below a watermark of free space MAIL is refused while deliveries go on. Should the disk fill up all the same, by another
// program, Pebble's file system calls onDiskFull before it fails anything: the ballast and free slots are given up, so that
// deliveries can still be recorded, and if that is not enough all writes wait until there is space.

const (
	ballastName = "ballast"
	writeRoom   = 24 << 20 // what Pebble needs for the next log and a flush
	retryFull   = 250 * time.Millisecond
)

func (s *Store) pebbleFS() vfs.FS { return guardFS{vfs.OnDiskFull(s.fs, s.onDiskFull), s} }

func (s *Store) onDiskFull() {
	s.health.waiting.Store(true)
	defer s.health.waiting.Store(false)
	s.log.Error("store: the disk is full; mail is refused and deliveries wait until there is space", "folder", s.opts.Dir)
	s.fs.Remove(s.path(ballastName))
	s.giveUpSlots()
	for !s.hasRoom() {
		select {
		case <-time.After(retryFull):
		case <-s.health.quit:
			return
		}
	}
	s.log.Info("store: there is space on the disk again", "folder", s.opts.Dir)
}

// hasRoom tells whether writing can go on. A quota does not show in what the file system says is free, so the space is taken
// for a moment.
func (s *Store) hasRoom() bool {
	if c, err := s.opts.Capacity(); err == nil && c.Free < writeRoom {
		return false
	}
	return s.reserve("room", writeRoom) == nil && s.fs.Remove(s.path("room")) == nil
}

// reserve makes a file that takes n bytes of the disk.
func (s *Store) reserve(name string, n int64) error {
	f, err := s.fs.Create(s.path(name), vfs.WriteCategoryUnspecified)
	if err == nil {
		err = f.Preallocate(0, n)
		err = errors.Join(err, f.Close())
		if err != nil {
			s.fs.Remove(s.path(name))
		}
	}
	return err
}

// keepReserves makes again what was given up when something ran out.
func (s *Store) keepReserves() {
	s.keepBallast()
	s.spare.take()
}

// keepBallast makes the ballast where there is plenty of space for it. That it is there is all that matters: it is not synced.
func (s *Store) keepBallast() {
	if s.opts.Ballast < 0 {
		return
	}
	if _, err := s.fs.Stat(s.path(ballastName)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if c, err := s.opts.Capacity(); err != nil || c.Free < s.minFree(c)+2*s.opts.Ballast {
		return
	}
	if err := s.reserve(ballastName, s.opts.Ballast); err != nil {
		s.log.Warn("store: no ballast for a full disk", "file", s.path(ballastName), "error", err)
	}
}
