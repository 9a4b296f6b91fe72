package main

import (
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultFS is the system's file system with faults: fails is asked at each call, by many goroutines. A sync that fails loses what it was to
// make durable, as the kernel's does: the pages count as clean afterwards.
type faultFS struct {
	vfs.FS
	fails func(op, name string) error
	short bool // a write that fails has done half
}

func (f *faultFS) Unwrap() vfs.FS { return f.FS }

func (f *faultFS) fault(op, name string) error {
	if err := f.fails(op, name); err != nil {
		return &os.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (f *faultFS) file(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := f.fault(op, name); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, name: name}, nil
}

func (f *faultFS) writable(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	file, err := f.file(op, name, open)
	if err != nil {
		return nil, err
	}
	if file.(*faultFile).raw, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.writable("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.writable("create", name, func() (vfs.File, error) { return f.FS.ReuseForWrite(old, name, c) })
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.writable("create", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *faultFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open", name, func() (vfs.File, error) { return f.FS.Open(name, o...) })
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	return f.file("opendir", name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *faultFS) do(op, name string, act func() error) error {
	if err := f.fault(op, name); err != nil {
		return err
	}
	return act()
}

func (f *faultFS) Link(old, name string) error {
	return f.do("link", name, func() error { return f.FS.Link(old, name) })
}

func (f *faultFS) Rename(old, name string) error {
	return f.do("rename", name, func() error { return f.FS.Rename(old, name) })
}

func (f *faultFS) Remove(name string) error {
	return f.do("remove", name, func() error { return f.FS.Remove(name) })
}

func (f *faultFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.do("mkdir", dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f *faultFS) List(dir string) (names []string, err error) {
	err = f.do("list", dir, func() (err error) { names, err = f.FS.List(dir); return err })
	return names, err
}

func (f *faultFS) Stat(name string) (info vfs.FileInfo, err error) {
	err = f.do("stat", name, func() (err error) { info, err = f.FS.Stat(name); return err })
	return info, err
}

// faultFile is one open file of it.
type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
	raw  *os.File // the same one; nil where nothing is written

	mu   sync.Mutex
	at   int64
	lost []patch // what a sync would make durable
}

// patch is what lay where something was written.
type patch struct {
	at, size int64 // size is of the file before
	old      []byte
}

// written keeps what is overwritten. f.mu is held.
func (f *faultFile) written(at int64, n int) {
	info, err := f.raw.Stat()
	if err != nil {
		panic(err)
	}
	old := make([]byte, n)
	m, err := f.raw.ReadAt(old, at)
	if err != nil && err != io.EOF {
		panic(err)
	}
	f.lost = append(f.lost, patch{at, info.Size(), old[:m]})
}

func (f *faultFile) write(p []byte, at int64, write func([]byte) (int, error)) (n int, err error) {
	if err = f.fs.fault("write", f.name); err != nil {
		if !f.fs.short {
			return 0, err
		}
		p = p[:len(p)/2]
	}
	f.written(at, len(p))
	n, e := write(p)
	if err == nil {
		err = e
	}
	return n, err
}

func (f *faultFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.write(p, f.at, f.File.Write)
	f.at += int64(n)
	return n, err
}

func (f *faultFile) WriteAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.write(p, at, func(p []byte) (int, error) { return f.File.WriteAt(p, at) })
}

func (f *faultFile) Read(p []byte) (int, error) {
	if err := f.fs.fault("read", f.name); err != nil {
		return 0, err
	}
	n, err := f.File.Read(p)
	f.mu.Lock()
	f.at += int64(n)
	f.mu.Unlock()
	return n, err
}

func (f *faultFile) ReadAt(p []byte, at int64) (int, error) {
	if err := f.fs.fault("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}

func (f *faultFile) sync(whole func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fs.fault("sync", f.name); err != nil {
		for i := len(f.lost) - 1; i >= 0; i-- {
			p := f.lost[i]
			if _, e := f.raw.WriteAt(p.old, p.at); e != nil {
				panic(e)
			}
			if e := f.raw.Truncate(p.size); e != nil {
				panic(e)
			}
		}
		f.lost = nil
		return err
	}
	if err := whole(); err != nil {
		return err
	}
	f.lost = nil
	return nil
}

func (f *faultFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *faultFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *faultFile) SyncTo(int64) (bool, error) { return true, f.SyncData() }

func (f *faultFile) Preallocate(at, n int64) error {
	return f.fs.do("allocate", f.name, func() error { return f.File.Preallocate(at, n) })
}

func (f *faultFile) Close() error {
	if f.raw != nil {
		f.raw.Close()
	}
	return f.File.Close()
}

// Fd lets Pebble ask the kernel for more than vfs.File has; what goes that way has no faults.
func (f *faultFile) Fd() uintptr { return vfs.InvalidFd }
