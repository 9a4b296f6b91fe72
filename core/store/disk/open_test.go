package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// openFails opens a store that must not open, and compares the error's text.
func openFails(t *testing.T, o Options, is error, text ...string) {
	t.Helper()
	s, err := Open(o)
	if err == nil {
		s.Close()
		t.Fatal("the store opened")
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error is not %q: %v", is, err)
	}
	for _, part := range text {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error lacks %q: %v", part, err)
		}
	}
}

func TestFolderInUse(t *testing.T) {
	o := options(t, t.TempDir())
	s := mustOpen(t, o)
	want := fmt.Sprintf("data folder %s is in use by another stagepost (pid %d)", o.Dir, os.Getpid())
	openFails(t, o, ErrInUse, want)
	// Pebble's lock would be gone after this.
	f, err := os.Open(filepath.Join(o.Dir, "store", "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	openFails(t, o, ErrInUse, want)
	mustCommit(t, s, nil)
	s.Close()
	mustOpen(t, o)
}

func TestFolderCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	openFails(t, options(t, filepath.Join(file, "data")), nil, "data folder "+file, "cannot be used", "not a directory")
}

func TestNewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	o := options(t, "/data")
	o.FS = fs
	s := mustOpen(t, o)
	if err := s.db.Set([]byte{keyVersion}, version{storeFormat + 6, base}.append(nil), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	s.Close()
	openFails(t, o, ErrNewer, "data folder /data was written by a newer version, format 8; this one reads up to 2")

	marker := "/data/store/marker.format-version.000999.025"
	f, err := fs.Create(marker, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	openFails(t, o, ErrNewer, "format 25; this one reads up to 24")
}

func TestDamagedVersion(t *testing.T) {
	o := options(t, "/data")
	o.FS = vfs.NewMem()
	s := mustOpen(t, o)
	if err := s.db.Set([]byte{keyVersion}, []byte("what?"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	s.Close()
	openFails(t, o, ErrCorrupt, "data folder /data is damaged", "backup")
}

// TestDamagedLog flips one bit in the middle of the log of a store that was not closed: it must not open with half its mail.
func TestDamagedLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := options(t, "/data")
	o.FS = fs
	s := mustOpen(t, o)
	for range 300 {
		mustCommit(t, s, bytes.Repeat([]byte("x"), 1000))
	}
	image := fs.CrashClone(vfs.CrashCloneCfg{})
	names, err := image.List("/data/store")
	if err != nil {
		t.Fatal(err)
	}
	flipped := false
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			data, err := image.UnsafeGetFileDataBuffer("/data/store/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > 200_000 {
				data[150_000] ^= 4
				flipped = true
			}
		}
	}
	if !flipped {
		t.Fatal("no log was found")
	}
	o.FS = image
	openFails(t, o, ErrCorrupt, "is damaged", "backup")
}

func TestForeignFilesStay(t *testing.T) {
	dir := t.TempDir()
	var log lines
	o := options(t, dir)
	o.Log, o.slotClasses = log.logger(), crashClasses
	o.Known = []string{"control.sock"}
	s := mustOpen(t, o)
	live := mustCommit(t, s, make([]byte, 300_000))
	gone := mustCommit(t, s, make([]byte, 300_000))
	mustSettle(t, s, gone)
	orphan := s.ids.Next()
	s.Close()

	write := func(name string, content string) string {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	stay := []string{write("body/00notes.txt", "x"), write("body/"+strings.ToUpper(orphan.String()), "x"), write("README", "x"), write("control.sock", "")}
	folder := filepath.Join(dir, "body", s.ids.Next().String())
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	stay = append(stay, folder, filepath.Join(dir, "body", live.ID.String()), write("body/"+s.ids.Next().String(), "named like ours"))
	leave := []string{write("body/"+orphan.String(), ""), write("body/"+gone.ID.String(), fileMagic+string(gone.ID[:4]))}
	for i := range 40 {
		stay = append(stay, write(fmt.Sprintf("body/file%02d", i), ""))
	}

	s = mustOpen(t, o)
	eventually(t, "files without a record are removed", func() bool { return !exists(leave[0]) && !exists(leave[1]) })
	for _, name := range stay {
		if !exists(name) {
			t.Errorf("%s was removed", name)
		}
	}
	text := log.String()
	if n := strings.Count(text, "does not belong there"); n != 20 {
		t.Errorf("%d lines about foreign files, want 20:\n%s", n, text)
	}
	if !strings.Contains(text, "notes.txt") || !strings.Contains(text, "count=25") || strings.Contains(text, "control.sock") {
		t.Errorf("log is\n%s", text)
	}
	if id := s.ids.Next(); id.String() <= orphan.String() {
		t.Errorf("new id %s is not behind %s, whose file was there", id, orphan)
	}
	if r, err := s.Open(ctx, live.ID); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
}

// TestBodiesOfAStoreThatIsGone: who moves the store away, as after damage, does not lose the contents that are left.
func TestBodiesOfAStoreThatIsGone(t *testing.T) {
	dir := t.TempDir()
	var log lines
	o := options(t, dir)
	o.Log, o.slotClasses = log.logger(), crashClasses
	s := mustOpen(t, o)
	body := filepath.Join(dir, "body", mustCommit(t, s, make([]byte, 300_000)).ID.String())
	content := bytes.Repeat([]byte("kept"), 10_000)
	mustCommit(t, s, content)
	slot := filepath.Join(dir, "body", "256k", "0")
	s.Close()
	if err := os.RemoveAll(filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	o.Now = func() time.Time { return time.Now().Add(time.Second) }
	for range 2 {
		s = mustOpen(t, o)
		s.looking.Wait()
		eventually(t, "the reaper has nothing to do", func() bool {
			s.reaper.mu.Lock()
			defer s.reaper.mu.Unlock()
			return len(s.reaper.waiting) == 0
		})
		mustCommit(t, s, make([]byte, 40_000))
		s.Close() // waits for the reaper
	}
	for _, file := range []string{body, slot} {
		if !exists(file) || !strings.Contains(log.String(), "file="+file) {
			t.Errorf("%s: exists %v, log:\n%s", file, exists(file), log.String())
		}
	}
	if b, err := os.ReadFile(slot); err != nil || !bytes.Contains(b, content) {
		t.Errorf("the slot holds something else now, %v", err)
	}
}

func TestDamagedBodyFile(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	o.slotClasses = [classes]int64{48 << 10, 64 << 10, 128 << 10}
	s := mustOpen(t, o)
	for _, where := range []struct {
		name string
		size int
	}{{"slot", 100_000}, {"file", 200_000}} {
		content := bytes.Repeat([]byte("0123456789"), where.size/10)
		path := func(env *message.Envelope) string {
			p, _, err := s.place(env.ID)
			if err != nil || p.inline() || p.inFile != (where.name == "file") {
				t.Fatalf("content of %d bytes lies in %+v, %v", where.size, p, err)
			}
			return s.bodyPath(p.name(env.ID))
		}
		other := mustCommit(t, s, content)
		for _, c := range []struct {
			name   string
			damage func(file string) error
			want   string
		}{
			{"one bit", func(f string) error { return patch(f, fileHeader+70_000, []byte("X")) }, "checksum"},
			{"header", func(f string) error { return patch(f, 0, []byte("X")) }, "another header"},
			{"content of another message", func(f string) error {
				b, err := os.ReadFile(path(other))
				return errors.Join(err, os.WriteFile(f, b, 0o600))
			}, "another header"},
			{"torn", func(f string) error { return os.Truncate(f, 50_000) }, fmt.Sprintf("50000 bytes, not %d", where.size+fileHeader)},
			{"longer", func(f string) error { return os.Truncate(f, 250_000) }, "250000 bytes"},
			{"empty", func(f string) error { return os.Truncate(f, 0) }, "0 bytes"},
			{"gone", os.Remove, "is gone"},
		} {
			env := mustCommit(t, s, content)
			if err := c.damage(path(env)); err != nil {
				t.Fatal(err)
			}
			r, err := s.Open(ctx, env.ID)
			if err == nil {
				r.Close()
			}
			switch {
			case where.name == "slot" && c.name == "longer": // as it may be
				if err != nil {
					t.Error(err)
				}
			case !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), env.ID.String()):
				t.Errorf("%s of a %s: %v", c.name, where.name, err)
			}
			if _, _, err := s.Load(ctx, env.ID); err != nil {
				t.Errorf("%s: the envelope is good, but %v", c.name, err)
			}
			mustSettle(t, s, env)
		}
	}
}

func patch(file string, off int64, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, off)
	return errors.Join(err, f.Close())
}

// TestDamagedRecords checks that what cannot be read is reported as that, held back from sending, and can still be settled.
func TestDamagedRecords(t *testing.T) {
	o := options(t, "/data")
	o.FS = vfs.NewMem()
	s := mustOpen(t, o)
	set := func(key, value []byte) {
		t.Helper()
		if err := s.db.Set(key, value, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(env store.ID)
		load   bool
	}{
		{"content changed", func(id store.ID) { set(idKey(keyContent, id), []byte("other")) }, true},
		{"content gone", func(id store.ID) { s.db.Delete(idKey(keyContent, id), pebble.Sync) }, true},
		{"envelope garbage", func(id store.ID) { set(idKey(keyMessage, id), []byte("garbage")) }, false},
		{"envelope empty", func(id store.ID) { set(idKey(keyMessage, id), nil) }, false},
		{"envelope of another version", func(id store.ID) { set(idKey(keyMessage, id), []byte{9}) }, false},
	} {
		env := mustCommit(t, s, []byte("fresh"))
		other := mustCommit(t, s, []byte("other"))
		c.damage(env.ID)
		if _, _, err := s.Load(ctx, env.ID); c.load != (err == nil) || err != nil && !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: Load: %v", c.name, err)
		}
		if _, err := s.Open(ctx, env.ID); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: Open: %v", c.name, err)
		}
		items, _, err := s.Scan(ctx, nil, 10)
		if err != nil || len(items) == 0 || items[len(items)-1].Envelope.ID != other.ID {
			t.Errorf("%s: Scan lists %d, %v", c.name, len(items), err)
		}
		mustSettle(t, s, env)
		mustSettle(t, s, other)
		if _, _, err := s.db.Get(idKey(keyContent, env.ID)); !errors.Is(err, pebble.ErrNotFound) {
			t.Errorf("%s: settling left the content: %v", c.name, err)
		}
	}
	env := mustCommit(t, s, []byte("x"))
	set(idKey(keyState, env.ID), []byte("garbage"))
	if _, _, err := s.Load(ctx, env.ID); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("damaged state: Load: %v", err)
	}
	why := "damaged"
	if stale, err := s.Update(ctx, nil, store.Change{ID: env.ID, Held: &why, Del: []store.Entry{store.FirstEntry(env)}}); err != nil || len(stale) > 0 {
		t.Errorf("a message with a damaged state cannot be held: %v, %v", stale, err)
	}
	if _, st, err := s.Load(ctx, env.ID); err != nil || st.Held != why {
		t.Errorf("held: %+v, %v", st, err)
	}
	if d := s.Health().Depth; d != 1 {
		t.Errorf("depth is %d", d)
	}
}
