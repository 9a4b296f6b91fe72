package disk

import (
	"cmp"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// faultFS fails the operations that fail names an error for.
type faultFS struct {
	vfs.FS
	fail  func(op, name string) error
	short bool // a write that fails has done half
}

func (f *faultFS) Unwrap() vfs.FS { return f.FS }

func (f *faultFS) file(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := f.fail(op, name); err != nil {
		return nil, &os.PathError{Op: op, Path: name, Err: err}
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, name: name}, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file("create", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *faultFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file("create", name, func() (vfs.File, error) { return f.FS.ReuseForWrite(old, name, c) })
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	return f.file("opendir", name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *faultFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open", name, func() (vfs.File, error) { return f.FS.Open(name, o...) })
}

func (f *faultFS) List(dir string) ([]string, error) {
	if err := f.fail("list", dir); err != nil {
		return nil, &os.PathError{Op: "list", Path: dir, Err: err}
	}
	return f.FS.List(dir)
}

func (f *faultFS) Rename(old, name string) error {
	if err := f.fail("rename", name); err != nil {
		return &os.PathError{Op: "rename", Path: name, Err: err}
	}
	return f.FS.Rename(old, name)
}

func (f *faultFS) Remove(name string) error {
	if err := f.fail("remove", name); err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	return f.FS.Remove(name)
}

type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
}

func (f *faultFile) do(op string) error {
	if err := f.fs.fail(op, f.name); err != nil {
		return &os.PathError{Op: op, Path: f.name, Err: err}
	}
	return nil
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.do("write"); err != nil {
		if f.fs.short {
			n, _ := f.File.Write(p[:len(p)/2])
			return n, err
		}
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.do("write"); err != nil {
		if f.fs.short {
			n, _ := f.File.WriteAt(p[:len(p)/2], off)
			return n, err
		}
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) Preallocate(off, n int64) error {
	if err := f.do("allocate"); err != nil {
		return err
	}
	return f.File.Preallocate(off, n)
}

func (f *faultFile) Read(p []byte) (int, error) {
	if err := f.do("read"); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.do("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.do("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.do("sync"); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *faultFile) SyncTo(n int64) (bool, error) {
	if err := f.do("sync"); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}

// faulty makes options with a file system whose faults can be changed while it runs.
func faulty(t *testing.T) (Options, func(func(op, name string) error)) {
	var fail atomic.Pointer[func(op, name string) error]
	set := func(f func(op, name string) error) { fail.Store(&f) }
	set(func(string, string) error { return nil })
	o := options(t, "/data")
	o.FS = &faultFS{FS: vfs.NewMem(), fail: func(op, name string) error { return (*fail.Load())(op, name) }}
	return o, set
}

// bodies lists the slots and body files.
func bodies(t *testing.T, s *Store) (all []string) {
	t.Helper()
	for _, folder := range append([]string{"."}, slotFolders[:]...) {
		names, err := s.fs.List(s.path(bodyFolder, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !slices.Contains(slotFolders[:], name) {
				all = append(all, path.Join(folder, name))
			}
		}
	}
	slices.Sort(all)
	return all
}

func inBody(name string) bool { return strings.HasPrefix(name, "/data/body") }
func isLog(name string) bool  { return filepath.Ext(name) == ".log" }

func TestBodyFileFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		op   string
		want error
	}{
		{"full at create", syscall.ENOSPC, "create", store.ErrFull},
		{"full at write", syscall.ENOSPC, "write", store.ErrFull},
		{"quota at write", syscall.EDQUOT, "write", store.ErrFull},
		{"full at sync", syscall.ENOSPC, "sync", store.ErrFull},
		{"quota at sync", syscall.EDQUOT, "sync", store.ErrFull},
		{"I/O error at sync", syscall.EIO, "sync", store.ErrBusy},
		{"no descriptors", syscall.EMFILE, "create", store.ErrBusy},
		{"folder cannot be synced", syscall.EIO, "opendir", store.ErrBusy},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, fail := faulty(t)
			s := mustOpen(t, o)
			fail(func(op, name string) error {
				if op == c.op && inBody(name) {
					return c.err
				}
				return nil
			})
			var last *message.Envelope
			for _, size := range []int{100_000, 300_000, 10 << 20} { // in slots written at once and bit by bit, and in a file
				env, err := commit(s, make([]byte, size))
				if !errors.Is(err, c.want) {
					t.Errorf("error is %v, want %v", err, c.want)
				}
				last = cmp.Or(env, last)
			}
			env := last
			if small, err := commit(s, make([]byte, 1000)); err != nil {
				t.Errorf("small content needs no file, but %v", err)
			} else {
				mustSettle(t, s, small)
			}
			fail(func(string, string) error { return nil })
			eventually(t, "nothing is kept", func() bool { return len(bodies(t, s)) == 0 })
			if env != nil {
				if _, _, err := s.Load(ctx, env.ID); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("the message is there: %v", err)
				}
			}
			if s.budget.Free() != s.opts.BodyBudget || s.Health().Depth != 0 {
				t.Errorf("%d of the budget are free, depth is %d", s.budget.Free(), s.Health().Depth)
			}
			mustSettle(t, s, mustCommit(t, s, make([]byte, 100_000)))
		})
	}
}

// TestContentThatCannotBeCompleted checks that a failure after the last Write is seen by whoever reads, and by Commit.
func TestContentThatCannotBeCompleted(t *testing.T) {
	o, fail := faulty(t)
	s := mustOpen(t, o)
	b, err := s.Body(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	if _, err := b.Write(make([]byte, 300_000)); err != nil {
		t.Fatal(err)
	}
	fail(func(op, name string) error {
		if op == "write" && inBody(name) {
			return syscall.ENOSPC
		}
		return nil
	})
	if n, err := b.Content().ReadAt(make([]byte, 10), 0); n != 0 || !errors.Is(err, store.ErrFull) {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if b.Content().Bytes() != nil {
		t.Error("an incomplete content has bytes")
	}
}

// TestDiskFull fills the disk under a running store: commits wait, Health keeps new mail out, and all goes on by itself when
// there is space.
func TestDiskFull(t *testing.T) {
	for _, errno := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		t.Run(errno.Error(), func(t *testing.T) {
			o, fail := faulty(t)
			var free atomic.Int64
			free.Store(1 << 40)
			o.Capacity = func() (Capacity, error) { return Capacity{Free: free.Load(), Total: 1 << 40}, nil }
			o.Ballast = 1 << 20
			s := mustOpen(t, o)
			ballast := func() bool {
				_, err := o.FS.Stat("/data/ballast")
				return err == nil
			}
			if !ballast() {
				t.Fatal("there is no ballast")
			}
			open, err := s.Body(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer open.Abort()

			var refused atomic.Int32
			free.Store(0)
			fail(func(op, name string) error {
				if op == "write" && strings.HasPrefix(name, "/data/store") {
					refused.Add(1)
					return errno
				}
				return nil
			})
			done := make(chan error, 1)
			go func() {
				_, err := commit(s, []byte("x"))
				done <- err
			}()
			eventually(t, "the store stalls", func() bool { return s.Health().Stalled && !ballast() })
			select {
			case err := <-done:
				t.Fatalf("Commit returned %v on a full disk", err)
			default:
			}
			env := envelope(open.ID())
			if err := s.Commit(ctx, env, open); !errors.Is(err, store.ErrFull) {
				t.Errorf("a commit into the stall: %v, want ErrFull", err)
			}
			fail(func(string, string) error { return nil })
			free.Store(1 << 40)
			if err := <-done; err != nil {
				t.Errorf("with space again: %v", err)
			}
			if refused.Load() > 3 {
				t.Errorf("%d writes were tried on the full disk", refused.Load())
			}
			eventually(t, "the stall ends", func() bool { return !s.Health().Stalled })
			if err := s.Commit(ctx, env, open); err != nil {
				t.Errorf("the commit refused before: %v", err)
			}
			s.keepBallast()
			if !ballast() {
				t.Error("the ballast is not made again")
			}
		})
	}
}

// TestDiskFullAtLogCreation meets the full disk where Pebble, left alone, panics with its mutexes locked.
func TestDiskFullAtLogCreation(t *testing.T) {
	o, fail := faulty(t)
	var free atomic.Int64
	o.Capacity = func() (Capacity, error) { return Capacity{Free: free.Load(), Total: 1 << 40}, nil }
	s := mustOpen(t, o)
	fail(func(op, name string) error {
		if op == "create" && isLog(name) {
			return syscall.ENOSPC
		}
		return nil
	})
	done := make(chan error, 1)
	go func() {
		content := make([]byte, maxInline)
		for range 600 { // more than a memtable, so a new log is due
			if _, err := commit(s, content); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	eventually(t, "the store stalls", func() bool { return s.health.waiting.Load() })
	fail(func(string, string) error { return nil })
	free.Store(1 << 40)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if d := s.Health().Depth; d != 600 {
		t.Errorf("depth is %d", d)
	}
}

func TestHealth(t *testing.T) {
	now := base
	c, capacityErr, asked := Capacity{Free: 2 << 30, Total: 100 << 30, FreeFiles: 6, TotalFiles: 100}, error(nil), 0
	o := options(t, "/data")
	o.FS = vfs.NewMem()
	o.Now = func() time.Time { return now }
	o.Capacity = func() (Capacity, error) { asked++; return c, capacityErr }
	s := mustOpen(t, o)
	check := func(what string, full bool, free int64) {
		t.Helper()
		now = now.Add(time.Second)
		if h := s.Health(); h.Full != full || h.Free != free || h.Stalled {
			t.Errorf("%s: %+v", what, h)
		}
	}
	check("2 GiB of 100", false, 2<<30)
	before := asked
	for range 10 {
		s.Health()
	}
	if asked != before {
		t.Error("the file system is asked more than once a second")
	}
	c.Free = 1<<30 - 1
	check("less than 1 GiB", true, 1<<30-1)
	c.Free, c.Total = 19<<30, 1000<<30
	check("less than 2 %", true, 19<<30)
	c.Free = 20 << 30
	check("2 %", false, 20<<30)
	c.FreeFiles = 4
	check("less than 5 % of inodes", true, 20<<30)
	c.FreeFiles, c.TotalFiles = 0, 0
	check("no bound of inodes", false, 20<<30)
	capacityErr = errors.New("no answer")
	check("unknown", false, -1)

	start := s.health.begin()
	now = now.Add(slowCommit + time.Millisecond)
	if !s.Health().Stalled {
		t.Error("a commit takes more than 2 s, and nothing is said of it")
	}
	s.health.end(start)
	if h := s.Health(); h.Stalled || h.Sync != slowCommit+time.Millisecond {
		t.Errorf("afterwards: %+v", h)
	}
	s.health.stalls.Add(1)
	if !s.Health().Stalled {
		t.Error("a write stall of Pebble is not told")
	}
	s.health.stalls.Add(-1)
}

func TestCapacityOfThisSystem(t *testing.T) {
	c, err := capacityOf(t.TempDir())
	if err != nil || c.Free <= 0 || c.Total < c.Free {
		t.Errorf("capacity is %+v, %v", c, err)
	}
}
