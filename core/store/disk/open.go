package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// storeFormat is the format of our records; a higher one is refused. Since 2 they name slots, which a program of 1 would take for
// contents in Pebble. pebbleFormat is that of Pebble's files, raised by us alone: with older ones a flipped bit in the log silently
// ends its replay.
const (
	storeFormat  = 2
	pebbleFormat = pebble.FormatMajorVersion(24)
)

// pebbleMemory is for blocks and memtables together: Pebble takes the memtables, also those that wait to be written, out of the
// size of its cache, and with nothing left of that it reads each block from the disk each time.
const pebbleMemory = 12 << 20 // bytes

const (
	storeFolder = "store"
	bodyFolder  = "body"
)

// Open opens the data folder, which it makes if need be. Its errors say which folder and why; ErrInUse, ErrNewer and
// ErrCorrupt can be told apart.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{opts: o, log: o.Log, now: o.Now}
	if err := s.open(); err != nil {
		if s.db != nil {
			s.db.Close()
		}
		s.lock.release()
		return nil, fmt.Errorf("data folder %s %w", o.Dir, err)
	}
	s.reaper = newReaper(s.removeFile, s.keepReserves)
	s.files = files{reap: s.reap, park: s.slots.park, open: map[bodyName]*openFile{}}
	if err := s.sortFolder(); err != nil {
		s.Close()
		return nil, fmt.Errorf("data folder %s cannot be read: %w", o.Dir, err)
	}
	s.keepReserves()
	s.running.Store(true)
	return s, nil
}

func (s *Store) open() error {
	inner := s.opts.FS
	if inner == nil {
		inner = vfs.Default
	}
	s.fs = quotaFS{inner}
	if s.opts.Capacity == nil {
		s.opts.Capacity = func() (Capacity, error) { return capacityOf(s.opts.Dir) }
	}
	s.health.now, s.health.quit, s.health.took = s.now, make(chan struct{}), NewWrites()
	if err := s.makeFolders(); err != nil {
		return fmt.Errorf("cannot be used: %w", err)
	}
	if s.opts.FS == nil {
		lock, err := lockFolder(s.opts.Dir)
		if errors.Is(err, ErrInUse) {
			return err
		}
		if err != nil {
			return fmt.Errorf("cannot be used: %w", err)
		}
		s.lock = lock
	}
	s.slots.most, s.slots.parked = s.opts.freeSlots, map[slotID]*slot{}
	s.wiper.wipe, s.wiper.shut = s.wipeSlot, s.slots.close
	s.wiping.Store(s.opts.Wipe)
	s.budget = store.NewBudget(s.opts.BodyBudget, s.opts.Patience)
	if err := s.openPebble(); err != nil {
		return err
	}
	if err := s.checkVersion(); err != nil {
		return err
	}
	if err := s.makeSlotFolders(); err != nil {
		return fmt.Errorf("cannot be used: %w", err)
	}
	if err := s.loadSweep(); err != nil {
		return corrupt(err)
	}
	return nil
}

// makeFolders makes what is missing, for nobody but us, and makes the names durable.
func (s *Store) makeFolders() error {
	for _, dir := range []string{s.path(storeFolder), s.path(bodyFolder)} {
		if err := s.makeFolder(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeSlotFolders makes the folders of slots. Names in them that a process before this one made may not be durable yet: from here
// on they are.
func (s *Store) makeSlotFolders() error {
	s.bodySync[0].sync = func() error { return syncDir(s.fs, s.path(bodyFolder)) }
	for c, name := range slotFolders {
		dir := s.path(bodyFolder, name)
		if err := s.makeFolder(dir); err != nil {
			return err
		}
		s.bodySync[c+1].sync = func() error { return syncDir(s.fs, dir) }
		if err := s.bodySync[c+1].sync(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) makeFolder(dir string) error {
	if _, err := s.fs.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := s.makeFolder(parent); err != nil {
			return err
		}
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(s.fs, parent)
}

func (s *Store) openPebble() error {
	dir := s.path(storeFolder)
	if format, newer := s.newerPebble(dir); newer {
		return fmt.Errorf("%w, with files of format %d; this one reads up to %d", ErrNewer, format, pebbleFormat)
	}
	cache := pebble.NewCache(pebbleMemory)
	defer cache.Unref()
	o := &pebble.Options{
		FS:                          s.pebbleFS(),
		Cache:                       cache,
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                s.opts.memTable,
		MemTableStopWritesThreshold: 4,
		LoggerAndTracer:             pebbleLogger{s},
		EventListener:               s.listener(),
		WALMinSyncInterval:          s.ride.pause,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most reads are of s keys that are not there
	}
	s.opening.Store(true)
	db, err := opened(dir, o)
	s.opening.Store(false)
	switch {
	case err == nil:
		s.db = db
		return nil
	case pebble.IsCorruptionError(err):
		return corrupt(err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot be used: %w", err)
	}
	return fmt.Errorf("cannot be opened: %w", err)
}

// opened makes the panics of Pebble over a disk that fails while it opens, after which it has cleaned up, into errors.
func opened(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			db, err = nil, cause
		}
	}()
	return pebble.Open(dir, o)
}

// newerPebble finds a format beyond ours in the name of Pebble's marker file, marker.format-version.NUMBER.VERSION.
func (s *Store) newerPebble(dir string) (format uint64, newer bool) {
	names, err := s.fs.List(dir)
	if err != nil {
		return 0, false
	}
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker.format-version.")
		_, version, found := strings.Cut(rest, ".")
		if n, err := strconv.ParseUint(version, 10, 32); ok && found && err == nil && n > uint64(pebbleFormat) {
			return n, true
		}
	}
	return 0, false
}

func corrupt(err error) error {
	return fmt.Errorf("%w: %w; restore it from a backup, or move it away to start with an empty one", ErrCorrupt, err)
}

// checkVersion reads the record of the format, or writes it to a new store. In one of an older format nothing else has to be changed:
// its contents are read where they are, until they are settled.
func (s *Store) checkVersion() error {
	v, closer, err := s.db.Get([]byte{keyVersion})
	if errors.Is(err, pebble.ErrNotFound) {
		s.created = s.now()
		return s.db.Set([]byte{keyVersion}, version{storeFormat, s.created}.append(nil), pebble.Sync)
	}
	if err != nil {
		return corrupt(err)
	}
	defer closer.Close()
	have, err := readVersion(v)
	switch {
	case err != nil:
		return corrupt(err)
	case have.format > storeFormat:
		return fmt.Errorf("%w, format %d; this one reads up to %d", ErrNewer, have.format, storeFormat)
	}
	s.created = have.created
	if have.format < storeFormat {
		have.format = storeFormat
		return s.db.Set([]byte{keyVersion}, have.append(nil), pebble.Sync)
	}
	return nil
}
