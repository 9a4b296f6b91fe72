package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// content is what a file holds. Pages are never changed in place, so contents share them; nil is a page of zeros.
type content struct {
	pages [][]byte
	size  int64
}

const pageSize = 4096

// write gives the content with data in it. It may take over the table of pages of c, whose holder gives c up.
func (c content) write(data []byte, off int64) content {
	end := off + int64(len(data))
	c = c.grow(end)
	for len(data) > 0 {
		i, at := off/pageSize, off%pageSize
		page := make([]byte, pageSize)
		copy(page, c.pages[i])
		n := copy(page[at:], data)
		c.pages[i] = page
		data, off = data[n:], off+int64(n)
	}
	return c
}

// grow makes the content at least so long, with zeros.
func (c content) grow(size int64) content {
	if size <= c.size {
		return c
	}
	for int64(len(c.pages))*pageSize < size {
		c.pages = append(c.pages, nil)
	}
	c.size = size
	return c
}

// cut makes the content exactly so long.
func (c content) cut(size int64) content {
	if size >= c.size {
		return c.grow(size)
	}
	c.pages, c.size = c.pages[:(size+pageSize-1)/pageSize], size
	if at := size % pageSize; at > 0 {
		page := make([]byte, pageSize)
		copy(page[:at], c.pages[len(c.pages)-1])
		c.pages[len(c.pages)-1] = page
	}
	return c
}

// clone has a table of pages of its own.
func (c content) clone() content {
	return content{append([][]byte(nil), c.pages...), c.size}
}

func (c content) readAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	for n < len(p) && off < c.size {
		i, at := off/pageSize, off%pageSize
		want := p[n:]
		if rest := min(pageSize-at, c.size-off); int64(len(want)) > rest {
			want = want[:rest]
		}
		if page := c.pages[i]; page == nil {
			clear(want)
		} else {
			copy(want, page[at:])
		}
		n, off = n+len(want), off+int64(len(want))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// settle makes what is pending in a file, or the names in a folder, last.
func (n *inode) settle() {
	if !n.folder {
		for _, c := range n.pending {
			if c.data == nil {
				n.synced = n.synced.cut(c.off)
			} else {
				n.synced = n.synced.write(c.data, c.off)
			}
		}
		n.pending = nil
		return
	}
	for _, m := range n.moves {
		for _, p := range m.parts {
			switch {
			case p.folder != n:
			case p.node == nil:
				delete(n.syncedNames, p.name)
			default:
				n.syncedNames[p.name] = p.node
			}
		}
		m.kept = true
	}
	n.moves = nil
}

// file implements vfs.File for one opener.
type file struct {
	fs     *FS
	name   string
	node   *inode
	pos    int64
	writes bool
	closed bool
}

// begin checks that the file may be used so. fs.mu is held.
func (f *file) begin(op string, writes bool) error {
	switch {
	case f.closed:
		return fail(op, f.name, fs.ErrClosed)
	case writes && !f.writes:
		return fail(op, f.name, syscall.EBADF)
	}
	return nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("read", false); err != nil {
		return 0, err
	}
	n, err := f.node.now.readAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("read", false); err != nil {
		return 0, err
	}
	return f.node.now.readAt(p, off)
}

func (f *file) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := f.write(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.write(p, off)
}

func (f *file) write(p []byte, off int64) (int, error) {
	if err := f.begin("write", true); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	data := append(make([]byte, 0, len(p)), p...)
	f.node.now = f.node.now.write(data, off)
	f.node.pending = append(f.node.pending, change{off, data})
	f.node.modified = time.Now()
	f.fs.did(Write, f.name, "", off, int64(len(p)))
	return len(p), nil
}

// Truncate makes the file so long. vfs.File has no such method; programs that need one look for it.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("truncate", true); err != nil {
		return err
	}
	f.node.now = f.node.now.cut(size)
	f.node.pending = append(f.node.pending, change{off: size})
	f.fs.did(Truncate, f.name, "", size, 0)
	return nil
}

func (f *file) Preallocate(off, n int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("preallocate", true); err != nil {
		return err
	}
	f.fs.did(Preallocate, f.name, "", off, n)
	return nil
}

func (f *file) sync(kind Kind) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("sync", false); err != nil {
		return err
	}
	if f.node.folder {
		kind = SyncFolder
	} else if f.fs.fails != nil {
		if err := f.fs.fails(f.name); err != nil {
			f.node.pending = nil
			return fail("sync", f.name, err)
		}
	}
	f.node.settle()
	f.fs.did(kind, f.name, "", 0, 0)
	return nil
}

func (f *file) Sync() error     { return f.sync(Sync) }
func (f *file) SyncData() error { return f.sync(SyncData) }

func (f *file) SyncTo(n int64) (bool, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("sync", false); err != nil {
		return false, err
	}
	f.fs.did(SyncTo, f.name, "", 0, n)
	return false, nil
}

func (f *file) Prefetch(int64, int64) error { return nil }
func (f *file) Fd() uintptr                 { return vfs.InvalidFd }

func (f *file) Stat() (vfs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin("stat", false); err != nil {
		return nil, err
	}
	return info{path.Base(f.name), f.node.now.size, f.node.folder, f.node.modified}, nil
}

// info implements vfs.FileInfo.
type info struct {
	name     string
	size     int64
	folder   bool
	modified time.Time
}

func (i info) Name() string           { return i.name }
func (i info) Size() int64            { return i.size }
func (i info) ModTime() time.Time     { return i.modified }
func (i info) IsDir() bool            { return i.folder }
func (i info) Sys() any               { return nil }
func (i info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i info) Mode() fs.FileMode {
	if i.folder {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
