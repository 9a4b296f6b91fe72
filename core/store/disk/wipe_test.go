package disk

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// holds tells whether a file has a byte that is not 0.
func holds(t *testing.T, s *Store, name string) bool {
	t.Helper()
	f, err := s.fs.Open(s.path(bodyFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || len(b) == 0 {
		t.Fatalf("%s: %d bytes, %v", name, len(b), err)
	}
	return len(bytes.Trim(b, "\x00")) > 0
}

func (s *Store) freeSlotsNow() (n int) {
	s.slots.mu.Lock()
	defer s.slots.mu.Unlock()
	for _, class := range s.slots.free {
		n += len(class)
	}
	return n
}

// TestWipe: a slot that is free holds nothing of a message, and nor does what the power leaves of it.
func TestWipe(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := options(t, "/data")
	o.FS, o.Wipe = mem, true
	s := mustOpen(t, o)
	for _, size := range []int{200_000, 40_000, 700_000, 2 << 20} {
		mustSettle(t, s, mustCommit(t, s, filled('x', size)))
		eventually(t, "the slot is free", func() bool { return s.freeSlotsNow() == len(bodies(t, s)) })
		o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
		image := mustOpen(t, o)
		for _, name := range bodies(t, image) {
			if holds(t, image, name) {
				t.Errorf("%s holds something after a content of %d bytes", name, size)
			}
		}
	}
	hasBodies(t, s, "1m/0", "256k/0", "8m/0")

	b, err := s.Body(ctx, 0) // that is given up half-way
	if err != nil {
		t.Fatal(err)
	}
	b.Write(filled('x', 600_000))
	b.Abort()
	eventually(t, "the slot is free", func() bool { return s.freeSlotsNow() == 3 })
	if holds(t, s, "1m/0") {
		t.Error("what was given up is there still")
	}
}

// TestWipeSwitchedOn: what became free before is wiped as well, at once or at the next start.
func TestWipeSwitchedOn(t *testing.T) {
	s, mem := inMemory(t, nil)
	o := s.opts
	live, gone := mustCommit(t, s, filled('x', 40_000)), mustCommit(t, s, filled('y', 300_000))
	mustSettle(t, s, gone)
	if !holds(t, s, "1m/0") {
		t.Fatal("it is wiped by itself")
	}
	s.Wipe(true)
	eventually(t, "the slot is wiped", func() bool { return s.freeSlotsNow() == 1 && !holds(t, s, "1m/0") })
	s.Wipe(false)
	mustSettle(t, s, mustCommit(t, s, filled('y', 300_000)))
	s.Close()
	o.Wipe, o.FS = true, mem
	s = mustOpen(t, o)
	eventually(t, "the slot is wiped by the next start", func() bool { return s.freeSlotsNow() == 1 && !holds(t, s, "1m/0") })
	hasContent(t, s, live.ID, filled('x', 40_000))
}

// TestWipeFiles: a file of its own is overwritten before it is removed.
func TestWipeFiles(t *testing.T) {
	o, fail := faulty(t)
	o.Wipe, o.slotClasses = true, crashClasses
	s := mustOpen(t, o)
	env := mustCommit(t, s, filled('x', 300_000))
	name := env.ID.String()
	var wiped atomic.Bool
	fail(func(op, file string) error {
		if op == "remove" && strings.HasSuffix(file, name) {
			wiped.Store(!holds(t, s, name))
		}
		return nil
	})
	mustSettle(t, s, env)
	hasBodies(t, s)
	if !wiped.Load() {
		t.Error("it was removed as it was")
	}
}

// TestWipeFails: a slot that cannot be wiped is not used again.
func TestWipeFails(t *testing.T) {
	for _, op := range []string{"create", "write", "sync"} {
		var log lines
		o, fail := faulty(t)
		o.Log = log.logger()
		s := mustOpen(t, o)
		mustSettle(t, s, mustCommit(t, s, filled('x', 40_000)))
		s.Close()
		s = mustOpen(t, o)
		s.looking.Wait()
		fail(func(what, name string) error {
			if what == op && strings.HasPrefix(name, "/data/body/256k/") {
				return syscall.EIO
			}
			return nil
		})
		s.Wipe(true)
		hasBodies(t, s)
		if n := s.freeSlotsNow(); n != 0 || !strings.Contains(log.String(), "cannot be wiped") {
			t.Errorf("%s: %d slots are free, log:\n%s", op, n, log.String())
		}
		fail(func(string, string) error { return nil })
		mustCommit(t, s, filled('x', 40_000))
		hasBodies(t, s, "256k/1")
	}
}
