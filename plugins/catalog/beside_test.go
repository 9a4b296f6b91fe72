package catalog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestUnpack(t *testing.T) {
	parent, p := filepath.Join(t.TempDir(), "data", "plugins"), packSample(t, "sample", "1.0.0")
	if err := p.Unpack(t.Context(), parent, "sample@1.0.0"); err != nil {
		t.Fatal(err)
	}
	dir, found := filepath.Join(parent, "sample@1.0.0"), 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		found++
		if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, p.Files[filepath.ToSlash(rel)]) {
			t.Error(rel, err)
		}
		return nil
	})
	if err != nil || found != len(p.Files) {
		t.Error(found, err)
	}
	files, err := readFolder(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Pack("sample", files); err != nil || again.Digest != p.Digest {
		t.Error("what was unpacked does not pack to the same", err)
	}
	wants(t, p.Unpack(t.Context(), parent, "sample@1.0.0"), "there is a sample@1.0.0 already")
	for _, name := range []string{"", ".", "..", "a/b", "../x", ".x", "NUL"} {
		wants(t, p.Unpack(t.Context(), parent, name), "is no name for a folder")
	}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Unpack(cut, parent, "late"); err == nil {
		t.Error("it was unpacked although nobody wanted it any more")
	}
	onlyThere(t, parent, "sample@1.0.0")
}

// onlyThere checks that a folder holds nothing else but the lock.
func onlyThere(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			got = append(got, e.Name())
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}

// A writing that fails half-way leaves what was there, and nothing else.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.tar")
	if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := take(t.Context(), dir, "x.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer d.leave()
	err = d.write(file, func(w io.Writer) error {
		w.Write([]byte("half"))
		return fmt.Errorf("no space left on device")
	})
	wants(t, err, "no space left on device")
	if text, err := os.ReadFile(file); err != nil || string(text) != "before" {
		t.Error(string(text), err)
	}
	onlyThere(t, dir, "x.tar")
}

// What a process left that was killed half-way is taken away by the next writer, and is never taken for the thing itself.
func TestLeftovers(t *testing.T) {
	dir, p := t.TempDir(), packSample(t, "sample", "1.0.0")
	left := func(where, name string) {
		full := filepath.Join(where, name, "init.lua")
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	left(dir, ".unpack.unfinished-123")
	if err := p.Unpack(t.Context(), dir, "sample"); err != nil {
		t.Fatal(err)
	}
	onlyThere(t, dir, "sample")

	// a layout of which the blobs are there and the index is not yet
	layout := filepath.Join(dir, "layout")
	place := at(t, layout, Options{})
	if err := place.Put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, gone := range [][]string{{"index.json"}, {"index.json", "oci-layout"}} { // in the order in which they are written
		for _, name := range gone {
			if err := os.Remove(filepath.Join(layout, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := place.Get(t.Context(), "sample", "1.0.0", ""); err == nil {
			t.Errorf("without %v it is there", gone)
		}
		left(layout, ".layout.unfinished-7")
		if err := place.Put(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if _, err := place.Get(t.Context(), "sample", "1.0.0", p.Digest); err != nil {
			t.Error(err)
		}
		onlyThere(t, layout, "blobs", "index.json", "oci-layout")
	}
}

// Two at once at one desk: one after the other. A lock of another kind is not followed.
func TestDesk(t *testing.T) {
	dir := t.TempDir()
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d, err := take(t.Context(), dir, "x")
			if err != nil {
				t.Error(err)
				return
			}
			defer d.leave()
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			if err := d.writeData(filepath.Join(dir, "f"), []byte("x")); err != nil {
				t.Error(err)
			}
			inside.Add(-1)
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at once", most.Load())
	}
	d, err := take(t.Context(), dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := take(ctx, dir, "x"); err == nil {
		t.Error("two have it")
	}
	d.leave()
	if err := os.Symlink(filepath.Join(dir, "f"), filepath.Join(dir, ".y.lock")); err != nil {
		t.Skip(err)
	}
	if _, err := take(t.Context(), dir, "y"); err == nil || err.Error() != ".y.lock is no file" {
		t.Error(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "f")); string(text) != "x" {
		t.Error("what a link leads to was emptied")
	}
}
