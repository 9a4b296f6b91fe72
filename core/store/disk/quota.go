package disk

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// quotaFS makes a spent quota look like a full disk, which is all that Pebble knows to wait for.
type quotaFS struct{ vfs.FS }

func full(err error) error {
	if err != nil && errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %v", syscall.ENOSPC, err) // not %w: Pebble looks at the innermost error
	}
	return err
}

func fullFile(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, full(err)
	}
	return quotaFile{f}, nil
}

func (q quotaFS) Unwrap() vfs.FS { return q.FS }

func (q quotaFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fullFile(q.FS.Create(name, c))
}

func (q quotaFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fullFile(q.FS.OpenReadWrite(name, c, opts...))
}

func (q quotaFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fullFile(q.FS.ReuseForWrite(oldname, newname, c))
}

func (q quotaFS) OpenDir(name string) (vfs.File, error)       { return fullFile(q.FS.OpenDir(name)) }
func (q quotaFS) Link(oldname, newname string) error          { return full(q.FS.Link(oldname, newname)) }
func (q quotaFS) Rename(oldname, newname string) error        { return full(q.FS.Rename(oldname, newname)) }
func (q quotaFS) MkdirAll(dir string, perm os.FileMode) error { return full(q.FS.MkdirAll(dir, perm)) }

type quotaFile struct{ vfs.File }

func (f quotaFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, full(err)
}

func (f quotaFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, full(err)
}

func (f quotaFile) Preallocate(off, n int64) error { return full(f.File.Preallocate(off, n)) }
func (f quotaFile) Sync() error                    { return full(f.File.Sync()) }
func (f quotaFile) SyncData() error                { return full(f.File.SyncData()) }

func (f quotaFile) SyncTo(n int64) (bool, error) {
	whole, err := f.File.SyncTo(n)
	return whole, full(err)
}
