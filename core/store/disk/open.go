package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// storeFormat is the format of our records; a higher one is refused. pebbleFormat is that of Pebble's files, raised by us
// alone: with older ones a flipped bit in the log silently ends its replay.
const (
	storeFormat  = 1
	pebbleFormat = pebble.FormatMajorVersion(24)
)

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
	s.files = files{reap: s.reaper.add, open: map[store.ID]*openFile{}}
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
	s.bodySync.sync = func() error { return syncDir(s.fs, s.path(bodyFolder)) }
	s.budget = store.NewBudget(s.opts.BodyBudget, s.opts.Patience)
	if err := s.openPebble(); err != nil {
		return err
	}
	if err := s.checkVersion(); err != nil {
		return err
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
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	o := &pebble.Options{
		FS:                          s.pebbleFS(),
		Cache:                       cache,
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                s.opts.memTable,
		MemTableStopWritesThreshold: 4,
		LoggerAndTracer:             pebbleLogger{s},
		EventListener:               s.listener(),
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most reads are of s keys that are not there
	}
	db, err := opened(dir, o)
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

// checkVersion reads the record of the format, or writes it to a new store.
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
	return nil
}

// sortFolder counts the messages and looks through the folders: body files that no record names go, what is not ours stays
// and is reported. New ids come behind all that is there. Body files older than the store are of one before it, which was lost
// or moved away: they may be all that is left of its mail.
func (s *Store) sortFolder() error {
	newest, err := s.countMessages()
	if err != nil {
		return err
	}
	names, err := s.fs.List(s.path(bodyFolder))
	if err != nil {
		return err
	}
	var strange []string
	for _, name := range names {
		id, err := message.ParseID(name)
		if err != nil {
			strange = append(strange, s.path(bodyFolder, name))
			continue
		}
		if info, err := s.fs.Stat(s.path(bodyFolder, name)); err != nil || !info.Mode().IsRegular() {
			strange = append(strange, s.path(bodyFolder, name))
			continue
		}
		if bytes.Compare(id[:], newest[:]) > 0 {
			newest = id
		}
		owner, own := s.ownerOf(id)
		used, err := s.usesFile(id, owner)
		if err != nil {
			return err
		}
		switch {
		case used:
		case id.Time().Before(s.created.Truncate(time.Millisecond)) || !own:
			strange = append(strange, s.path(bodyFolder, name))
		default:
			s.reaper.add(id)
		}
	}
	if names, err = s.fs.List(s.opts.Dir); err != nil {
		return err
	}
	ours := append([]string{storeFolder, bodyFolder, lockName, ballastName}, s.opts.Known...)
	for _, name := range names {
		if !slices.Contains(ours, name) {
			strange = append(strange, s.path(name))
		}
	}
	s.report(strange)
	s.ids = message.NewIDs(s.now, 0, newest)
	return nil
}

// usesFile tells whether a message has its content in that file: the one that it is called by, or the one that its header names. Where a
// record cannot be read, it may.
func (s *Store) usesFile(name, owner store.ID) (bool, error) {
	for _, id := range []store.ID{name, owner} {
		p, exists, err := s.place(id)
		if err != nil {
			return false, err
		}
		if exists && (p.damaged || p.inFile && p.name(id) == name) {
			return true, nil
		}
	}
	return false, nil
}

func (s *Store) countMessages() (newest store.ID, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyMessage}, UpperBound: []byte{keyMessage + 1}})
	if err != nil {
		return newest, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		if id, ok := idOf(it.Key()); ok {
			newest = id
			s.depth.Add(1)
		}
	}
	return newest, it.Error()
}

// report tells of files that are not ours, which are never touched.
func (s *Store) report(strange []string) {
	const most = 20
	slices.Sort(strange)
	for i, name := range strange {
		if i == most {
			s.log.Warn("store: further files in the data folder do not belong there and are left alone", "count", len(strange)-most)
			return
		}
		s.log.Warn("store: a file in the data folder does not belong there and is left alone", "file", name)
	}
}
