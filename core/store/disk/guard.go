package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between Pebble and the file system while the store runs. What cannot be written to the log ends the process
// here: left alone, Pebble panics over a log that it cannot begin or end, with its mutexes in a state in which no recover
// helps. Errors of other files are Pebble's own to try again, which it does without a pause: here it gets one.
type guardFS struct {
	vfs.FS
	s *Store
}

// pauseBroken is the pause.
const pauseBroken = time.Second

func (g guardFS) Unwrap() vfs.FS { return g.FS }

// check passes an error on, unless it ends the process. What cannot be written, or listed, while the store opens does so, too,
// whichever file it is: Pebble gives up then, closes what its own goroutines still use, and panics in them, or tries for ever.
func (g guardFS) check(what, name string, log bool, err error) error {
	opening := g.s.opening.Load() && !errors.Is(err, fs.ErrPermission)
	if err == nil || !opening && !g.s.running.Load() {
		return err
	}
	if log || opening {
		if inner := (*os.PathError)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		g.s.fatal(fmt.Sprintf("%s %s: %v", what, name, err))
	}
	select {
	case <-time.After(g.s.opts.pause):
	case <-g.s.health.quit:
	}
	return err
}

func (g guardFS) file(name string, f vfs.File, err error) (vfs.File, error) {
	log := filepath.Ext(name) == ".log"
	if err = g.check("creating", name, log, err); err != nil {
		return nil, err
	}
	return guardFile{f, g, name, log}, nil
}

// A marker is a file by whose name Pebble says which manifest counts. Without one a store counts as new: so the name of the manifest
// comes to the disk before the marker, and the marker before the last one goes. Pebble leaves that to file systems that keep
// names in order.
func (g guardFS) before(name string) error {
	folder, base := filepath.Split(name)
	if !strings.HasPrefix(base, "marker.") {
		return nil
	}
	return g.check("syncing", folder, true, syncDir(g.FS, folder))
}

func (g guardFS) Remove(name string) error {
	if err := g.before(name); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

func (g guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.before(name); err != nil {
		return nil, err
	}
	f, err := g.open(func() (vfs.File, error) { return g.FS.Create(name, c) })
	return g.file(name, f, err)
}

func (g guardFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.open(func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
	return g.file(newname, f, err)
}

func (g guardFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.open(func() (vfs.File, error) { return g.FS.Open(name, opts...) })
}

func (g guardFS) List(dir string) ([]string, error) {
	names, err := g.FS.List(dir)
	return names, g.check("listing", dir, false, err)
}

func (g guardFS) Rename(oldname, newname string) error {
	return g.check("renaming", newname, false, g.FS.Rename(oldname, newname))
}

// OpenDir opens a folder to sync it. The name of a new log becomes durable by that, so it counts as log.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.open(func() (vfs.File, error) { return g.FS.OpenDir(name) })
	if err = g.check("opening", name, false, err); err != nil {
		return nil, err
	}
	return guardFile{f, g, name, true}, nil
}

type guardFile struct {
	vfs.File
	g    guardFS
	name string
	log  bool
}

func (f guardFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.g.check("writing", f.name, f.log, err)
}

func (f guardFile) Sync() error { return f.g.check("syncing", f.name, f.log, f.File.Sync()) }

func (f guardFile) SyncData() error { return f.g.check("syncing", f.name, f.log, f.File.SyncData()) }

func (f guardFile) SyncTo(n int64) (bool, error) {
	whole, err := f.File.SyncTo(n)
	return whole, f.g.check("syncing", f.name, f.log, err)
}
