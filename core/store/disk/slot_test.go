package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
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

// inMemory opens a store whose files are in memory.
func inMemory(t *testing.T, edit func(*Options)) (*Store, *vfs.MemFS) {
	t.Helper()
	mem := vfs.NewMem()
	o := options(t, "/data")
	o.FS = mem
	if edit != nil {
		edit(&o)
	}
	return mustOpen(t, o), mem
}

// hasBodies compares the slots and body files that there are, once the reaper is done.
func hasBodies(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var have []string
	slices.Sort(want)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if have = bodies(t, s); slices.Equal(have, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are %q, want %q", have, want)
		}
	}
}

// hasContent compares the content of a message.
func hasContent(t *testing.T, s *Store, id store.ID, want []byte) {
	t.Helper()
	r, err := s.Open(ctx, id)
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	if got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size())); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a content of %d bytes is another: %d bytes, %v", len(want), len(got), err)
	}
}

func filled(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

// TestSlots: one slot serves one message after the other, on a real disk, for nobody but us.
func TestSlots(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, options(t, dir))
	slot := func(n int) string { return filepath.Join(dir, "body", "256k", fmt.Sprint(n)) }
	if small := mustCommit(t, s, make([]byte, maxInline)); exists(slot(0)) {
		t.Errorf("32 KiB lie in a slot, those of %s", small.ID)
	}
	for i := range 3 {
		env := mustCommit(t, s, filled(byte(i), maxInline+1+i*20_000))
		hasContent(t, s, env.ID, filled(byte(i), maxInline+1+i*20_000))
		mustSettle(t, s, env)
	}
	info, err := os.Stat(slot(0))
	if err != nil || exists(slot(1)) || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Fatalf("the slot: %v, %v", info, err)
	}
	if info, err = os.Stat(filepath.Dir(slot(0))); err != nil || info.Mode().Perm() != 0o700 && os.PathSeparator == '/' {
		t.Errorf("its folder: %v, %v", info, err)
	}

	env := mustCommit(t, s, filled('a', 100_000))
	r, err := s.Open(ctx, env.ID)
	if err != nil {
		t.Fatal(err)
	}
	other := r.Retain()
	mustSettle(t, s, env)
	r.Close()
	second := mustCommit(t, s, filled('b', 100_000))
	if !exists(slot(1)) {
		t.Error("the slot is used again while it is read")
	}
	if got, err := io.ReadAll(io.NewSectionReader(other, 0, other.Size())); err != nil || !bytes.Equal(got, filled('a', 100_000)) {
		t.Errorf("the content changed while it was read: %v", err)
	}
	other.Close()
	third := mustCommit(t, s, filled('c', 100_000))
	if exists(slot(2)) {
		t.Error("the slot is not used again after the last reader")
	}
	s.Close()

	s = mustOpen(t, options(t, dir))
	s.looking.Wait()
	hasContent(t, s, second.ID, filled('b', 100_000))
	hasContent(t, s, third.ID, filled('c', 100_000))
	mustSettle(t, s, second) // by nobody who had it open
	fourth := mustCommit(t, s, filled('d', 100_000))
	hasContent(t, s, third.ID, filled('c', 100_000))
	hasContent(t, s, fourth.ID, filled('d', 100_000))
	if exists(slot(2)) {
		t.Error("the slot of a message of an earlier process is not used again")
	}
}

// TestSlotClasses: a content goes into the smallest class that takes it, as far as its size is known, and moves on.
func TestSlotClasses(t *testing.T) {
	for _, c := range []struct {
		size int
		hint int64
		want string
	}{
		{256<<10 - fileHeader, 0, "256k/0"},
		{256<<10 - fileHeader + 1, 0, "1m/0"},
		{256<<10 - fileHeader + 1, 2 << 20, "8m/0"},
		{40_000, 8 << 20, "256k/0"}, // what is in memory is known
		{1<<20 - fileHeader, 1 << 20, "8m/0"},
		{1<<20 - fileHeader, 0, "1m/0"},
		{1<<20 - fileHeader + 1, 0, "8m/0 1m/0"},
		{8<<20 - fileHeader, 0, "8m/0 1m/0"},
		{8<<20 - fileHeader, 8 << 20, "file"},
		{8<<20 - fileHeader + 1, 0, "file 1m/0 8m/0"},
		{300_000, 1 << 62, "file"},
		{300_000, -1, "1m/0"},
	} {
		t.Run(fmt.Sprintf("%d announced as %d", c.size, c.hint), func(t *testing.T) {
			s, _ := inMemory(t, nil)
			b, err := s.Body(ctx, c.hint)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Abort()
			content := make([]byte, c.size)
			for i := range content {
				content[i] = byte(i % 251)
			}
			for rest := content; len(rest) > 0; {
				n := min(len(rest), 10_007)
				if _, err := b.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := s.Commit(ctx, envelope(b.ID()), b); err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(strings.ReplaceAll(c.want, "file", b.ID().String()))
			p, _, err := s.place(b.ID())
			if err != nil || s.bodyPath(p.name(b.ID())) != "/data/body/"+want[0] {
				t.Errorf("it lies in %+v, %v", p, err)
			}
			hasBodies(t, s, want...)
			hasContent(t, s, b.ID(), content)
			if r := b.Content(); (r.Bytes() != nil) != (c.size <= 256<<10-fileHeader) {
				t.Error("what fits in the largest buffer is not in memory, or more is")
			}
		})
	}
}

// TestNoBudgetForLargeBuffers: large buffers are taken only while nobody else needs the memory.
func TestNoBudgetForLargeBuffers(t *testing.T) {
	s, _ := inMemory(t, func(o *Options) { o.BodyBudget, o.Patience = 128<<10, time.Millisecond })
	b, err := s.Body(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	content := filled('x', 700_000)
	if _, err := b.Write(content); err != nil {
		t.Fatal(err)
	}
	if free := s.budget.Free(); free != 96<<10 {
		t.Errorf("%d of the budget are free", free)
	}
	if err := s.Commit(ctx, envelope(b.ID()), b); err != nil {
		t.Fatal(err)
	}
	if b.Content().Bytes() != nil {
		t.Error("it is in memory")
	}
	b.Abort()
	hasContent(t, s, b.ID(), content)
	hasBodies(t, s, "1m/0", "256k/0")
	if free := s.budget.Free(); free != 128<<10 {
		t.Errorf("%d of the budget are free afterwards", free)
	}
}

// TestCommittedContentLeavesTheBudget: who delivers from memory does not keep others from being received.
func TestCommittedContentLeavesTheBudget(t *testing.T) {
	s, _ := inMemory(t, nil)
	for _, size := range []int{100, 100_000} {
		b, err := s.Body(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(make([]byte, size))
		if err := s.Commit(ctx, envelope(b.ID()), b); err != nil {
			t.Fatal(err)
		}
		if b.Content().Bytes() == nil || s.budget.Free() != s.opts.BodyBudget {
			t.Errorf("%d of the budget are free", s.budget.Free())
		}
		b.Abort()
		if s.budget.Free() != s.opts.BodyBudget {
			t.Errorf("%d of the budget are free afterwards", s.budget.Free())
		}
	}
}

// TestAbortedSlots: what is not committed leaves its slot at once, and what never needed one never had one.
func TestAbortedSlots(t *testing.T) {
	s, _ := inMemory(t, nil)
	write := func(size int) *writer {
		b, err := s.Body(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		return b.(*writer)
	}
	write(100_000).Abort()
	hasBodies(t, s)
	write(300_000).Abort()
	mustSettle(t, s, mustCommit(t, s, make([]byte, 300_000)))
	hasBodies(t, s, "1m/0")

	first := write(300_000)
	second, err := first.Instead(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	second.Write(filled('2', 400_000))
	if err := s.Commit(ctx, envelope(first.ID()), second); err != nil {
		t.Fatal(err)
	}
	hasBodies(t, s, "1m/0", "1m/1")
	second.Abort()
	first.Abort()
	mustCommit(t, s, filled('3', 300_000)) // where the first one was
	hasContent(t, s, first.ID(), filled('2', 400_000))
	hasBodies(t, s, "1m/0", "1m/1")

	// A commit that failed before it was written.
	b := write(100_000)
	stale := store.Change{ID: store.ID{1}, Rev: 7}
	if err := s.Commit(ctx, envelope(b.ID()), b, stale); !errors.Is(err, store.ErrStale) {
		t.Fatal(err)
	}
	b.Abort()
	if n := len(s.slots.free[0]); n != 1 {
		t.Errorf("%d slots are free", n)
	}
	// One of which nobody knows what became of it.
	b = write(100_000)
	c := b.complete().content
	if err := b.persist(c); err != nil {
		t.Fatal(err)
	}
	c.kept.Store(true)
	b.Abort()
	if n := len(s.slots.free[0]); n != 0 {
		t.Errorf("%d slots are free", n)
	}
}

// TestSurplusSlots: free slots take no more of the disk than they may.
func TestSurplusSlots(t *testing.T) {
	s, _ := inMemory(t, func(o *Options) { o.freeSlots = 1 << 20 })
	var envs []*message.Envelope
	for range 20 {
		envs = append(envs, mustCommit(t, s, make([]byte, 100_000)))
	}
	envs = append(envs, mustCommit(t, s, make([]byte, 500_000)))
	for _, env := range envs {
		mustSettle(t, s, env)
	}
	// 100,032 bytes are 25 pages: five of 100 KB and one of 500 KB are below 1 MiB.
	hasBodies(t, s, "1m/0", "256k/15", "256k/16", "256k/17", "256k/18", "256k/19")
	if n := s.Usage().Free; n != 5*25*slotPage+123*slotPage {
		t.Errorf("%d bytes are free", n)
	}
	mustCommit(t, s, make([]byte, 100_000))
	hasBodies(t, s, "1m/0", "256k/15", "256k/16", "256k/17", "256k/18", "256k/19")
	s.onDiskFull()
	hasBodies(t, s, "256k/19")
}

// TestManySlots: no more of them are open than are written or read, and some.
func TestManySlots(t *testing.T) {
	s, _ := inMemory(t, nil)
	var held []store.BodyReader
	var envs []*message.Envelope
	for i := range 2 * maxOpen {
		b, err := s.Body(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(filled(byte(i), 40_000))
		env := envelope(b.ID())
		if err := s.Commit(ctx, env, b); err != nil {
			t.Fatal(err)
		}
		held, envs = append(held, b.Content().Retain()), append(envs, env)
		b.Abort()
	}
	if n := s.slots.opened.Load(); n > maxOpen {
		t.Errorf("%d slots are open", n)
	}
	for i, r := range held {
		if i%2 == 0 {
			r.Close()
		}
		mustSettle(t, s, envs[i])
		if i%2 == 1 {
			if !bytes.Equal(r.Bytes(), filled(byte(i), 40_000)) {
				t.Error("the content changed")
			}
			r.Close()
		}
	}
	if n := len(s.slots.free[0]); n != 2*maxOpen {
		t.Errorf("%d slots are free", n)
	}
	if n := s.slots.opened.Load(); n > maxOpen+1 {
		t.Errorf("%d slots are open", n)
	}
	s.Close()
	if n := s.slots.opened.Load(); n != 0 {
		t.Errorf("%d slots are open after the end", n)
	}
}

// TestNoFilesForSlots: slots that are open for nobody are closed when no other file can be opened.
func TestNoFilesForSlots(t *testing.T) {
	o, fail := faulty(t)
	s := mustOpen(t, o)
	var envs []*message.Envelope
	for range 3 {
		envs = append(envs, mustCommit(t, s, make([]byte, 40_000)))
	}
	mustSettle(t, s, envs[0])
	if n := s.slots.opened.Load(); n != 3 {
		t.Fatalf("%d slots are open", n)
	}
	fail(func(op, name string) error {
		if op == "create" && s.slots.opened.Load() > 2 {
			return syscall.EMFILE
		}
		return nil
	})
	mustCommit(t, s, make([]byte, 500_000))
	if n := s.slots.opened.Load(); n != 1 {
		t.Errorf("%d slots are open", n)
	}
	fail(func(op, name string) error {
		if op == "create" {
			return syscall.EMFILE
		}
		return nil
	})
	if _, err := commit(s, make([]byte, 2<<20)); !errors.Is(err, store.ErrBusy) {
		t.Errorf("with no file left: %v", err)
	}
	mustSettle(t, s, mustCommit(t, s, []byte("small")))
}

// TestFullDiskAndSlots: space is taken before a byte is overwritten, and where there is none a slot that has it does.
func TestFullDiskAndSlots(t *testing.T) {
	o, fail := faulty(t)
	s := mustOpen(t, o)
	small := mustCommit(t, s, make([]byte, 40_000))
	large := mustCommit(t, s, make([]byte, 300_000))
	mustSettle(t, s, small)
	mustSettle(t, s, large)
	var wrote atomic.Int32
	fail(func(op, name string) error {
		switch {
		case op == "allocate" && inBody(name):
			return syscall.ENOSPC
		case op == "write" && strings.HasPrefix(name, "/data/body/256k"):
			wrote.Add(1)
		}
		return nil
	})
	env := mustCommit(t, s, filled('x', 100_000))
	hasContent(t, s, env.ID, filled('x', 100_000))
	if _, err := commit(s, make([]byte, 100_000)); !errors.Is(err, store.ErrFull) || wrote.Load() > 0 {
		t.Errorf("%v after %d writes", err, wrote.Load())
	}
	mustSettle(t, s, mustCommit(t, s, make([]byte, 40_000)))
	hasBodies(t, s, "1m/0", "256k/0")
	fail(func(op, name string) error {
		if op == "allocate" {
			return errors.ErrUnsupported
		}
		return nil
	})
	mustCommit(t, s, make([]byte, 200_000))
	hasBodies(t, s, "1m/0", "256k/0")
}

// TestSlotThatFailed is never used again.
func TestSlotThatFailed(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		o, fail := faulty(t)
		s := mustOpen(t, o)
		mustSettle(t, s, mustCommit(t, s, make([]byte, 100_000)))
		fail(func(what, name string) error {
			if what == op && name == "/data/body/256k/0" {
				return syscall.EIO
			}
			return nil
		})
		if _, err := commit(s, make([]byte, 100_000)); !errors.Is(err, store.ErrBusy) {
			t.Errorf("%s: %v", op, err)
		}
		mustCommit(t, s, make([]byte, 100_000))
		hasBodies(t, s, "256k/1")
	}
}

// TestSlotRemovedByHand: a free slot that somebody removed is made again, and its name is durable with what it holds.
func TestSlotRemovedByHand(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := options(t, "/data")
	o.FS = mem
	s := mustOpen(t, o)
	mustSettle(t, s, mustCommit(t, s, make([]byte, 40_000)))
	s.Close()
	s = mustOpen(t, o)
	s.looking.Wait()
	if err := mem.Remove("/data/body/256k/0"); err != nil {
		t.Fatal(err)
	}
	d, err := mem.OpenDir("/data/body/256k")
	if err != nil {
		t.Fatal(err)
	}
	d.Sync()
	env := mustCommit(t, s, filled('x', 40_000))
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	hasContent(t, mustOpen(t, o), env.ID, filled('x', 40_000))
}

// TestFolderIsSyncedForNewSlotsOnly counts what a message costs.
func TestFolderIsSyncedForNewSlotsOnly(t *testing.T) {
	o, fail := faulty(t)
	s := mustOpen(t, o)
	counts := map[string]int{}
	fail(func(op, name string) error {
		if inBody(name) {
			counts[op+" "+strings.TrimPrefix(name, "/data/body/")]++
		}
		return nil
	})
	for range 3 {
		mustSettle(t, s, mustCommit(t, s, make([]byte, 100_000)))
	}
	fail(func(string, string) error { return nil })
	if got, want := fmt.Sprint(counts), "map[create 256k/0:1 opendir 256k:1 sync 256k:1 sync 256k/0:3 write 256k/0:3]"; got != want {
		t.Errorf("three messages took\n%s, want\n%s", got, want)
	}
}
