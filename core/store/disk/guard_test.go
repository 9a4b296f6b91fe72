package disk

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// TestLogFails has the faults that must never be answered with success: neither the write that met it nor any later one may
// return nil, and the process ends by one line, not by a panic. Each comes once; what comes afterwards would succeed.
func TestLogFails(t *testing.T) {
	log := func(_, name string) bool { return isLog(name) }
	for _, c := range []struct {
		name   string
		op     string
		of     func(op, name string) bool
		err    error
		update bool // the write that meets it is an outcome
		rotate bool // it takes a new log to meet it
		want   string
	}{
		{name: "sync, at a commit", op: "sync", of: log, err: syscall.EIO, want: "input/output error"},
		{name: "sync, at an outcome", op: "sync", of: log, err: syscall.EIO, update: true, want: "input/output error"},
		{name: "sync, full", op: "sync", of: log, err: syscall.ENOSPC, want: "no space left on device"},
		{name: "write", op: "write", of: log, err: syscall.EIO, want: "input/output error"},
		{name: "new log", op: "create", of: log, err: syscall.EIO, rotate: true, want: "creating /data/store/"},
		{name: "new log, read-only", op: "create", of: log, err: syscall.EROFS, rotate: true, want: "read-only file system"},
		{name: "folder of a new log", op: "sync", of: func(_, name string) bool { return name == "/data/store" }, err: syscall.EIO, rotate: true, want: "syncing /data/store"},
		{name: "manifest", op: "sync", of: func(_, name string) bool { return strings.HasPrefix(filepath.Base(name), "MANIFEST") }, err: syscall.EIO, rotate: true, want: "MANIFEST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, fail := faulty(t)
			fatal := make(chan string, 100)
			o.OnFatal = func(line string) { fatal <- line } // and the caller waits for ever
			s, err := Open(o)                               // and cannot be closed
			if err != nil {
				t.Fatal(err)
			}
			env := mustCommit(t, s, []byte("x"))
			var hit atomic.Bool
			fail(func(op, name string) error {
				if op == c.op && c.of(op, name) && !hit.Swap(true) {
					return c.err
				}
				return nil
			})
			var returned sync.Mutex // and what it guards
			var early, late int
			var over bool
			count := func(err error) {
				returned.Lock()
				defer returned.Unlock()
				switch {
				case err != nil:
				case over:
					late++
				default:
					early++
				}
			}
			go func() {
				if c.update {
					_, err := s.Update(ctx, nil, settled(env))
					count(err)
					return
				}
				content, n := []byte("y"), 1
				if c.rotate { // more than a memtable
					content, n = make([]byte, maxInline), 700
				}
				for range n {
					_, err := commit(s, content)
					count(err)
				}
			}()
			var line string
			select {
			case line = <-fatal:
			case <-time.After(20 * time.Second):
				t.Fatal("OnFatal was not called")
			}
			returned.Lock()
			over = true
			if !c.rotate && early > 0 {
				t.Error("the write that met the fault was answered with success")
			}
			returned.Unlock()
			if !strings.HasPrefix(line, "stagepost: store: ") || !strings.Contains(line, c.want) || strings.Contains(line, "\n") {
				t.Errorf("the last line is %q, want %q in it", line, c.want)
			}
			for range 5 {
				go func() {
					_, err := commit(s, []byte("z"))
					count(err)
				}()
			}
			time.Sleep(200 * time.Millisecond)
			returned.Lock()
			defer returned.Unlock()
			// The manifest is written beside the log, which is whole: what it holds is durable.
			if late > 0 && c.want != "MANIFEST" {
				t.Errorf("%d writes were answered with success after the log failed", late)
			}
			if n := len(fatal); n > 0 {
				t.Errorf("%d further lines, such as %q", n, <-fatal)
			}
		})
	}
}

// TestPanicEndsTheProcess: whoever recovers further up does not come to it.
func TestPanicEndsTheProcess(t *testing.T) {
	o, _ := faulty(t)
	fatal := make(chan string, 1)
	o.OnFatal = func(line string) { fatal <- line }
	s := mustOpen(t, o)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		defer func() { recover() }()
		s.apply(nil, func(*pebble.Batch, *pebble.WriteOptions) error { panic("a mutex is locked") }, nil)
	}()
	select {
	case line := <-fatal:
		if !strings.Contains(line, "a mutex is locked") {
			t.Errorf("the last line is %q", line)
		}
	case <-returned:
		t.Error("the panic went on to the caller")
	case <-time.After(20 * time.Second):
		t.Error("nothing happened")
	}
}

// TestBrokenTables: tables that cannot be written are tried again, not as fast as the processor can, and mail goes on in the
// log meanwhile.
func TestBrokenTables(t *testing.T) {
	o, fail := faulty(t)
	s := mustOpen(t, o)
	tries := make(chan time.Time, 1000)
	fail(func(op, name string) error {
		if op == "create" && filepath.Ext(name) == ".sst" {
			tries <- time.Now()
			return syscall.EIO
		}
		return nil
	})
	content := make([]byte, maxInline)
	for range 600 { // more than a memtable
		if _, err := commit(s, content); err != nil {
			t.Fatal(err)
		}
	}
	var at [2]time.Time
	for i := range at {
		select {
		case at[i] = <-tries:
		case <-time.After(20 * time.Second):
			t.Fatal("the table is not tried again")
		}
	}
	if d := at[1].Sub(at[0]); d < pauseBroken {
		t.Errorf("tried again after %s", d)
	}
	fail(func(string, string) error { return nil })
	eventually(t, "the table is written", func() bool { return s.db.Metrics().Total().TablesFlushed > 0 })
	if d := s.Health().Depth; d != 600 {
		t.Errorf("depth is %d", d)
	}
}

// TestNoFilesLeft: when the process may open no more files the store gives up spare ones, goes on, and takes them back later.
func TestNoFilesLeft(t *testing.T) {
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE} {
		t.Run(errno.Error(), func(t *testing.T) {
			o, fail := faulty(t)
			s := mustOpen(t, o)
			have := func() int {
				s.spare.mu.Lock()
				defer s.spare.mu.Unlock()
				return len(s.spare.files)
			}
			if n := have(); n != spareFiles {
				t.Fatalf("%d spare files", n)
			}
			fail(func(op, name string) error {
				if op == "create" && strings.HasPrefix(name, "/data/store") && have() > spareFiles-3 {
					return errno
				}
				return nil
			})
			content := make([]byte, maxInline)
			for range 600 { // more than a memtable, so that logs and tables are due
				if _, err := commit(s, content); err != nil {
					t.Fatal(err)
				}
			}
			if n := have(); n != spareFiles-3 {
				t.Errorf("%d spare files are left, want %d", n, spareFiles-3)
			}
			fail(func(string, string) error { return nil })
			s.keepReserves()
			if n := have(); n != spareFiles {
				t.Errorf("%d spare files again", n)
			}
		})
	}
}

// TestOpeningFails: what cannot be written while the store opens ends the process with one line. Pebble's own way out of it panics in
// goroutines that it has begun, or tries for ever.
func TestOpeningFails(t *testing.T) {
	for _, c := range []struct{ op, of, want string }{
		{"write", "temporary.", "writing /data/store/temporary."},
		{"create", "MANIFEST", "creating /data/store/MANIFEST"},
		{"rename", "OPTIONS", "renaming /data/store/OPTIONS"},
		{"sync", "store", "syncing /data/store"},
		{"list", "store", "listing /data/store"},
		{"create", "0", "creating /data/store/0"}, // a table of what was in the log
	} {
		o, fail := faulty(t)
		mem := vfs.NewCrashableMem()
		o.FS.(*faultFS).FS = mem
		s := mustOpen(t, o)
		env := mustCommit(t, s, []byte("x"))
		s.Close()
		fail(func(op, name string) error {
			if op == c.op && strings.HasPrefix(filepath.Base(name), c.of) {
				return syscall.EIO
			}
			return nil
		})
		fatal, opened := make(chan string, 1), make(chan error, 1)
		o.OnFatal = func(line string) { fatal <- line }
		go func() {
			_, err := Open(o)
			opened <- err
		}()
		select {
		case line := <-fatal:
			if !strings.Contains(line, c.want) || !strings.HasSuffix(line, "input/output error") {
				t.Errorf("%s %s: %q, want %q in it", c.op, c.of, line, c.want)
			}
		case err := <-opened:
			t.Errorf("%s %s: Open returned %v", c.op, c.of, err)
		case <-time.After(10 * time.Second):
			t.Errorf("%s %s: Open neither returns nor ends the process", c.op, c.of)
		}
		o = options(t, "/data")
		o.FS = mem.CrashClone(vfs.CrashCloneCfg{}) // the first one holds its lock
		s = mustOpen(t, o)
		if _, _, err := s.Load(ctx, env.ID); err != nil {
			t.Errorf("%s %s: the next start: %v", c.op, c.of, err)
		}
	}
}

// TestUnreadContent: a content that cannot be read now is not damaged, for that would hold its message.
func TestUnreadContent(t *testing.T) {
	o, fail := faulty(t)
	s := mustOpen(t, o)
	env := mustCommit(t, s, make([]byte, 100_000))
	fail(func(op, name string) error {
		if op == "read" && inBody(name) {
			return syscall.EIO
		}
		return nil
	})
	if _, err := s.Open(ctx, env.ID); !errors.Is(err, syscall.EIO) || errors.Is(err, store.ErrDamaged) {
		t.Errorf("Open: %v", err)
	}
	fail(func(string, string) error { return nil })
	r, err := s.Open(ctx, env.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}
