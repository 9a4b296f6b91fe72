// Package crashfs is a file system in memory, for tests, that can say at any moment what a disk may hold if the power goes
// now. What it says of each operation is what file systems promise, and nothing more:
//
//   - What was written to a file may come to the disk or not until the file is synced: all of it, none, or parts, later
//     writes before earlier ones, in pieces as small as an octet, since a page is copied to the disk while it changes. The
//     length of a file that grew may come without what was written; then it reads as zeros. Truncation is the same.
//   - A name (a file or folder that was made, removed, renamed or linked) may come to the disk or not until its folder is
//     synced, each by itself and in any order. To sync a file does not sync its name. A rename comes as a whole, or, as where
//     it is made of a link and a removal, with the old name left; the name that is replaced is never lost for it.
//   - A sync of data is one of the length too, because nothing could be read back without. A request to begin writing
//     (SyncTo) and the reservation of space (Preallocate) promise nothing.
//   - What is synced stays, also beside octets of the same sector that are being written.
//
// Real file systems promise more. The journals of ext4 and XFS take operations on names in their order, ext4 syncs the name of
// a new file with the file, and by default writes data before the length that covers it. Ext4 without its journal and others do
// not, and POSIX asks for none of it: a program that is right on every image here leans on nothing of that kind. Two things
// that happen are left out: a disk that loses what it said was synced, and one that damages sectors nobody wrote to.
//
// A sync is instantaneous here. That loses nothing: the power going while it is under way leaves what the power going just
// before it may leave.
//
// All that was done stands in a log without the octets, for the message of a test that fails. Watch calls a function after each
// operation, and Stop at a moment of the caller's choice; while either runs nothing else happens, so a copy of what the test
// knows and an image are of one moment. An image is an FS again: it can be opened, and crash in its turn. It shares the pages of
// its parent, which are never changed in place, so taking one costs little.
package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS implements vfs.FS. Names are separated by slashes.
type FS struct {
	mu    sync.Mutex
	root  *inode
	locks map[string]bool
	count int
	log   []Op // the latest
	watch func(Op, *Moment)
	fails func(name string) error
	story []choice // of an image
}

// Op is one operation of the log.
type Op struct {
	N        int // from 1
	Kind     Kind
	Name     string
	Old      string // of Rename, Link and Reuse
	Off, Len int64  // of Write, Truncate and Preallocate
}

// Kind says what was done.
type Kind string

// The kinds of operations that change something, or make it last.
const (
	Create      Kind = "create"
	Write       Kind = "write"
	Truncate    Kind = "truncate"
	Preallocate Kind = "preallocate"
	Sync        Kind = "sync"
	SyncData    Kind = "sync data"
	SyncTo      Kind = "begin to sync"
	SyncFolder  Kind = "sync folder"
	Mkdir       Kind = "make folder"
	Remove      Kind = "remove"
	Rename      Kind = "rename"
	Link        Kind = "link"
	Reuse       Kind = "reuse"
)

func (o Op) String() string {
	s := fmt.Sprintf("%d %s %s", o.N, o.Kind, o.Name)
	if o.Old != "" {
		s += " from " + o.Old
	}
	if o.Len > 0 || o.Off > 0 {
		s += fmt.Sprintf(" [%d, +%d)", o.Off, o.Len)
	}
	return s
}

// keep is how many operations the log holds.
const keep = 1 << 16

// inode is a file or a folder.
type inode struct {
	folder   bool
	modified time.Time

	// Of a file: what programs see, what is on the disk for certain, and what leads from the one to the other.
	now, synced content
	pending     []change

	// Of a folder, the same.
	names, syncedNames map[string]*inode
	moves              []*move
}

// change is one write, or, where data is nil, a truncation to off.
type change struct {
	off  int64
	data []byte
}

// move is one step of names that comes to the disk as a whole: a rename has two parts, others one.
type move struct {
	parts  []part
	rename bool
	kept   bool // one of its folders was synced, so it came
}

// part is what a name in a folder stands for afterwards; nil: it is gone.
type part struct {
	folder *inode
	name   string
	node   *inode
}

func newFolder() *inode {
	return &inode{folder: true, names: map[string]*inode{}, syncedNames: map[string]*inode{}}
}

// New makes an empty file system.
func New() *FS { return &FS{root: newFolder(), locks: map[string]bool{}} }

// Watch has f called after each operation that changes something or makes it last, while nothing else can happen. f must not
// use the file system itself.
func (y *FS) Watch(f func(Op, *Moment)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.watch = f
}

// Stop calls f while nothing else can happen.
func (y *FS) Stop(f func(*Moment)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	f(&Moment{y})
}

// FailSyncs lets a sync of a file fail where f gives an error, as the kernel does it: what was to be synced never comes to the disk, though
// programs read it as long as the power is there, and the next sync knows nothing of it. With SyncTo f is not asked.
func (y *FS) FailSyncs(f func(name string) error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.fails = f
}

// did logs an operation. y.mu is held.
func (y *FS) did(kind Kind, name, old string, off, n int64) {
	y.count++
	op := Op{N: y.count, Kind: kind, Name: name, Old: old, Off: off, Len: n}
	if len(y.log) == 2*keep {
		y.log = append(y.log[:0], y.log[keep:]...)
	}
	y.log = append(y.log, op)
	if y.watch != nil {
		y.watch(op, &Moment{y})
	}
}

// do carries out a step of names: at once for programs, some time for the disk.
func (y *FS) do(m *move) {
	for i, p := range m.parts {
		if p.node == nil {
			delete(p.folder.names, p.name)
		} else {
			p.folder.names[p.name] = p.node
		}
		if i == 0 || m.parts[0].folder != p.folder {
			p.folder.moves = append(p.folder.moves, m)
		}
	}
}

// fail is an error as the operating system gives it.
func fail(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// walk finds the folder of a name, and what the name stands for; nil: nothing yet.
func (y *FS) walk(op, name string) (folder *inode, base string, node *inode, err error) {
	clean := strings.Trim(path.Clean("/"+name), "/")
	folder = y.root
	if clean == "" {
		return nil, "", y.root, nil
	}
	elems := strings.Split(clean, "/")
	for _, e := range elems[:len(elems)-1] {
		next := folder.names[e]
		switch {
		case next == nil:
			return nil, "", nil, fail(op, name, fs.ErrNotExist)
		case !next.folder:
			return nil, "", nil, fail(op, name, syscall.ENOTDIR)
		}
		folder = next
	}
	base = elems[len(elems)-1]
	return folder, base, folder.names[base], nil
}

// Create implements vfs.FS: what has the name is removed first.
func (y *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.create(name)
}

func (y *FS) create(name string) (vfs.File, error) {
	folder, base, node, err := y.walk("create", name)
	switch {
	case err != nil:
		return nil, err
	case folder == nil || node != nil && node.folder:
		return nil, fail("create", name, syscall.EISDIR)
	case node != nil:
		y.do(&move{parts: []part{{folder, base, nil}}})
		y.did(Remove, name, "", 0, 0)
	}
	node = &inode{modified: time.Now()}
	y.do(&move{parts: []part{{folder, base, node}}})
	y.did(Create, name, "", 0, 0)
	return &file{fs: y, name: name, node: node, writes: true}, nil
}

func (y *FS) open(op, name string, writes, create bool, opts []vfs.OpenOption) (vfs.File, error) {
	y.mu.Lock()
	_, _, node, err := y.walk(op, name)
	var f vfs.File
	switch {
	case err != nil:
	case node != nil && (!node.folder || !writes):
		f = &file{fs: y, name: name, node: node, writes: writes}
	case node != nil:
		err = fail(op, name, syscall.EISDIR)
	case create:
		f, err = y.create(name)
	default:
		err = fail(op, name, fs.ErrNotExist)
	}
	y.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// Open implements vfs.FS.
func (y *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return y.open("open", name, false, false, opts)
}

// OpenReadWrite implements vfs.FS.
func (y *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return y.open("open", name, true, true, opts)
}

// OpenDir implements vfs.FS.
func (y *FS) OpenDir(name string) (vfs.File, error) {
	return y.open("open", name, false, false, nil)
}

// Link implements vfs.FS.
func (y *FS) Link(oldname, newname string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	_, _, node, err := y.walk("link", oldname)
	if err == nil && node == nil {
		err = fail("link", oldname, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	folder, base, there, err := y.walk("link", newname)
	if err == nil && (folder == nil || there != nil) {
		err = fail("link", newname, fs.ErrExist)
	}
	if err != nil {
		return err
	}
	y.do(&move{parts: []part{{folder, base, node}}})
	y.did(Link, newname, oldname, 0, 0)
	return nil
}

// Remove implements vfs.FS.
func (y *FS) Remove(name string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	folder, base, node, err := y.walk("remove", name)
	switch {
	case err != nil:
		return err
	case folder == nil:
		return fail("remove", name, syscall.EBUSY)
	case node == nil:
		return fail("remove", name, fs.ErrNotExist)
	case len(node.names) > 0:
		return fail("remove", name, syscall.ENOTEMPTY)
	}
	y.do(&move{parts: []part{{folder, base, nil}}})
	y.did(Remove, name, "", 0, 0)
	return nil
}

// RemoveAll implements vfs.FS.
func (y *FS) RemoveAll(name string) error {
	names, err := y.List(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, n := range names {
		if err := y.RemoveAll(path.Join(name, n)); err != nil {
			return err
		}
	}
	if err := y.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename implements vfs.FS.
func (y *FS) Rename(oldname, newname string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	_, err := y.rename(Rename, oldname, newname)
	return err
}

func (y *FS) rename(kind Kind, oldname, newname string) (*inode, error) {
	from, base, node, err := y.walk("rename", oldname)
	if err == nil && node == nil {
		err = fail("rename", oldname, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	to, newBase, there, err := y.walk("rename", newname)
	switch {
	case err != nil:
		return nil, err
	case from == nil || to == nil || there != nil && there.folder:
		return nil, fail("rename", newname, syscall.EISDIR)
	case there == node:
		return node, nil
	}
	y.do(&move{rename: true, parts: []part{{to, newBase, node}, {from, base, nil}}})
	y.did(kind, newname, oldname, 0, 0)
	return node, nil
}

// ReuseForWrite implements vfs.FS.
func (y *FS) ReuseForWrite(oldname, newname string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	node, err := y.rename(Reuse, oldname, newname)
	if err != nil {
		return nil, err
	}
	return &file{fs: y, name: newname, node: node, writes: true}, nil
}

// MkdirAll implements vfs.FS.
func (y *FS) MkdirAll(dir string, _ os.FileMode) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	name := ""
	for _, e := range strings.Split(strings.Trim(path.Clean("/"+dir), "/"), "/") {
		name += "/" + e
		folder, base, node, err := y.walk("mkdir", name)
		switch {
		case err != nil:
			return err
		case node == nil:
			y.do(&move{parts: []part{{folder, base, newFolder()}}})
			y.did(Mkdir, name, "", 0, 0)
		case !node.folder:
			return fail("mkdir", dir, syscall.ENOTDIR)
		}
	}
	return nil
}

// Lock implements vfs.FS. An image has no locks: who held them is gone.
func (y *FS) Lock(name string) (io.Closer, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.locks[name] {
		return nil, fail("lock", name, syscall.EAGAIN)
	}
	f, err := y.create(name)
	if err != nil {
		return nil, err
	}
	y.locks[name] = true
	return &lock{y, name, f}, nil
}

type lock struct {
	fs   *FS
	name string
	file vfs.File
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	delete(l.fs.locks, l.name)
	l.fs.mu.Unlock()
	return l.file.Close()
}

// List implements vfs.FS. The names are in order.
func (y *FS) List(dir string) ([]string, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	_, _, node, err := y.walk("open", dir)
	switch {
	case err != nil:
		return nil, err
	case node == nil:
		return nil, fail("open", dir, fs.ErrNotExist)
	case !node.folder:
		return nil, fail("list", dir, syscall.ENOTDIR)
	}
	names := make([]string, 0, len(node.names))
	for n := range node.names {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements vfs.FS.
func (y *FS) Stat(name string) (vfs.FileInfo, error) {
	f, err := y.Open(name)
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

// PathBase implements vfs.FS.
func (*FS) PathBase(name string) string { return path.Base(name) }

// PathJoin implements vfs.FS.
func (*FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements vfs.FS.
func (*FS) PathDir(name string) string { return path.Dir(name) }

// GetDiskUsage implements vfs.FS.
func (*FS) GetDiskUsage(string) (vfs.DiskUsage, error) { return vfs.DiskUsage{}, vfs.ErrUnsupported }

// Unwrap implements vfs.FS.
func (*FS) Unwrap() vfs.FS { return nil }
