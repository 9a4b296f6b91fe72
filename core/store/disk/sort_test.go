package disk

import (
	"archive/zip"
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestForeignSlots: what is in the folders and is not ours is told of and left alone.
func TestForeignSlots(t *testing.T) {
	var log lines
	s, mem := inMemory(t, func(o *Options) { o.Log = log.logger() })
	o := s.opts
	mustSettle(t, s, mustCommit(t, s, make([]byte, 40_000)))
	s.Close()
	write := func(name, content string) {
		t.Helper()
		f, err := mem.Create("/data/body/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(content))
		f.Close()
	}
	foreign := map[string]string{"256k/notes": "x", "256k/007": "", "256k/-1": "", "1m/3": "named like ours", "8m/281474976710656": "", "8m/1": "s!"}
	for name, content := range foreign {
		write(name, content)
	}
	if err := mem.MkdirAll("/data/body/1m/4", 0o700); err != nil {
		t.Fatal(err)
	}
	write("1m/5", "spslo")                            // whose write was cut short
	write("1m/6", string(make([]byte, 100)))          // before its header was written
	write("1m/7", slotMagic+string(make([]byte, 50))) // cut short within
	write("8m/2", "")
	s = mustOpen(t, o)
	s.looking.Wait()
	var free []string
	for _, class := range s.slots.free {
		for _, sl := range class {
			free = append(free, strings.TrimPrefix(s.bodyPath(sl.name()), "/data/body/"))
		}
	}
	slices.Sort(free)
	if want := []string{"1m/5", "1m/6", "1m/7", "256k/0", "8m/2"}; !slices.Equal(free, want) {
		t.Errorf("%q are free, want %q", free, want)
	}
	for range 4 {
		mustCommit(t, s, make([]byte, 300_000))
	}
	foreign["1m/4"] = ""
	for name, content := range foreign {
		if b, err := mem.UnsafeGetFileDataBuffer("/data/body/" + name); err != nil || string(b) != content {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
		if !strings.Contains(log.String(), "file=/data/body/"+name+"\n") {
			t.Errorf("nothing is said of %s", name)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != len(foreign) {
		t.Errorf("the log is\n%s", log.String())
	}
	hasBodies(t, s, append(slices.Collect(maps.Keys(foreign)), "1m/5", "1m/6", "1m/7", "1m/8", "256k/0", "8m/2")...)
}

// TestSlotOfADamagedRecord: what a record names that cannot be read is not used for anything else.
func TestSlotOfADamagedRecord(t *testing.T) {
	s, mem := inMemory(t, nil)
	o := s.opts
	env := mustCommit(t, s, filled('x', 40_000))
	if err := s.db.Set(idKey(keyMessage, env.ID), []byte("garbage"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = mustOpen(t, o)
	s.looking.Wait()
	mustCommit(t, s, filled('y', 40_000))
	if b, err := mem.UnsafeGetFileDataBuffer("/data/body/256k/0"); err != nil || !bytes.Contains(b, filled('x', 40_000)) {
		t.Errorf("the content is gone: %v", err)
	}
	mustSettle(t, s, env)
	s.Close()
	s = mustOpen(t, o)
	s.looking.Wait()
	mustCommit(t, s, filled('z', 40_000))
	hasBodies(t, s, "256k/0", "256k/1")
}

// TestFormat1 opens a store that was written before there were slots.
func TestFormat1(t *testing.T) {
	dir := t.TempDir()
	z, err := zip.OpenReader("testdata/format1.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, options(t, dir))
	items, _, err := s.Scan(ctx, nil, 100)
	if err != nil || len(items) != 4 {
		t.Fatalf("%d messages, %v", len(items), err)
	}
	want := [][]byte{filled('a', 100), filled('b', 33_000), filled('c', 50_000), filled('d', 300_000)}
	hasAll := func() {
		t.Helper()
		for i, it := range items {
			hasContent(t, s, it.Envelope.ID, want[i])
		}
	}
	hasAll()
	var names []string
	for _, it := range items[1:] {
		p, _, err := s.place(it.Envelope.ID)
		if err != nil || !p.inFile {
			t.Fatalf("%+v, %v", p, err)
		}
		names = append(names, p.name(it.Envelope.ID).file.String())
	}
	hasBodies(t, s, names...) // the one that was left over is removed
	env := mustCommit(t, s, filled('e', 40_000))
	v, closer, err := s.db.Get([]byte{keyVersion})
	if err != nil {
		t.Fatal(err)
	}
	if have, err := readVersion(v); err != nil || have.format != 2 || !have.created.Equal(base.Add(time.Second)) {
		t.Errorf("the version is %+v, %v", have, err)
	}
	closer.Close()
	s.Close()
	s = mustOpen(t, options(t, dir))
	hasAll()
	hasContent(t, s, env.ID, filled('e', 40_000))
	for _, it := range items {
		mustSettle(t, s, it.Envelope)
	}
	hasBodies(t, s, "256k/0")
}
