package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
