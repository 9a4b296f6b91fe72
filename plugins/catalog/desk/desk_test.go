package desk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tree is what a folder holds under names that are not hidden.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), ".") || d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		got[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// unfinished are the hidden things in a folder that nobody finished.
func unfinished(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, ".*.unfinished-*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func take(t *testing.T, dir string, o Options) *Desk {
	t.Helper()
	d, err := Take(t.Context(), dir, "x", o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func files(mark string) map[string][]byte {
	return map[string][]byte{"a": []byte(mark), "sub/b": []byte(mark), "sub/deep/er/c": bytes.Repeat([]byte(mark), 3*piece/len(mark))}
}

func TestWriteFolder(t *testing.T) {
	dir := t.TempDir()
	d := take(t, dir, Options{})
	defer d.Leave()
	for _, mark := range []string{"one", "two"} { // the second takes the place of the first
		if err := d.WriteFolder(t.Context(), filepath.Join(dir, "f"), files(mark)); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for name, text := range files(mark) {
			want["f/"+name] = string(text)
		}
		if got := tree(t, dir); !maps.Equal(got, want) {
			t.Errorf("%s: %v", mark, slices.Sorted(maps.Keys(got)))
		}
	}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.WriteFolder(cut, filepath.Join(dir, "late"), files("x")); !errors.Is(err, context.Canceled) {
		t.Error("it was written although nobody wanted it any more:", err)
	}
	if got := tree(t, dir); len(got) != 3 || unfinished(t, dir) != nil {
		t.Errorf("%v, %v", slices.Sorted(maps.Keys(got)), unfinished(t, dir))
	}
}

// A writing that fails half-way leaves what was there, and nothing else.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.tar")
	if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := take(t, dir, Options{})
	defer d.Leave()
	full := errors.New("no space left on device")
	err := d.Write(file, func(w io.Writer) error {
		w.Write([]byte("half"))
		return full
	})
	if !errors.Is(err, full) || tree(t, dir)["x.tar"] != "before" || unfinished(t, dir) != nil {
		t.Error(err, tree(t, dir), unfinished(t, dir))
	}
}

// Whatever is cut short, at any of the things that are done to files, there is the old or the new, whole; what is left unfinished goes
// with the next who comes. Nothing gets its name before it is synced, nor is anything else done before the name is.
func TestStopped(t *testing.T) {
	errStopped := errors.New("stopped")
	for name, write := range map[string]func(d *Desk) error{
		"file": func(d *Desk) error { return d.WriteData(filepath.Join(d.Dir, "f"), bytes.Repeat([]byte("new"), piece)) },
		"folder": func(d *Desk) error {
			return d.WriteFolder(context.Background(), filepath.Join(d.Dir, "f"), files("new"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []bool{false, true} {
				if before && name == "folder" {
					continue // another folder of the same name is there only where it was damaged: see lock
				}
				for stop := 1; ; stop++ {
					dir, done := t.TempDir(), 0
					if before {
						if err := os.WriteFile(filepath.Join(dir, "f"), []byte("old"), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					old := tree(t, dir)
					dirty := map[string]bool{}
					d, err := Take(t.Context(), dir, "x", Options{Step: func(op, path string) error {
						if done++; done >= stop {
							return errStopped
						}
						switch op {
						case "write", "create":
							dirty[path] = true
						case "sync", "syncdir":
							delete(dirty, path)
						case "rename":
							delete(dirty, dir) // what was hidden there
							if len(dirty) > 0 {
								t.Errorf("%s gets its name before %v is synced", path, dirty)
							}
							dirty[dir] = true
						}
						return nil
					}})
					if err == nil {
						err = write(d)
						d.Leave()
					}
					got := tree(t, dir)
					if err == nil {
						if len(got) == 0 || strings.Contains(fmt.Sprint(got), "old") || len(dirty) > 0 {
							t.Errorf("written: %v, not synced: %v", got, dirty)
						}
						if stop < 8 {
							t.Errorf("there were %d things to do only", stop)
						}
						break
					}
					if !errors.Is(err, errStopped) {
						t.Fatal(err)
					}
					if whole := got["f"] == strings.Repeat("new", piece) || len(got) == 3 && len(got["f/sub/deep/er/c"]) > 2*piece; !whole && !maps.Equal(got, old) {
						t.Errorf("stopped at %d: %v", stop, slices.Sorted(maps.Keys(got)))
					}
					take(t, dir, Options{}).Leave()
					if left := unfinished(t, dir); left != nil {
						t.Errorf("stopped at %d: %v stays", stop, left)
					}
				}
			}
		})
	}
}

// Two at once at one desk: one after the other. Who waits in vain is told for whom. A lock of another kind is not followed.
func TestTake(t *testing.T) {
	dir := t.TempDir()
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d, err := Take(t.Context(), dir, "x", Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Leave()
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			if err := d.WriteData(filepath.Join(dir, "f"), []byte("x")); err != nil {
				t.Error(err)
			}
			inside.Add(-1)
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at once", most.Load())
	}
	d := take(t, dir, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(ctx, dir, "x", Options{}); !errors.Is(err, context.Canceled) {
		t.Error("two have it:", err)
	}
	want := fmt.Sprintf("process %d, since ", os.Getpid())
	if _, err := Take(t.Context(), dir, "x", Options{Wait: time.Nanosecond}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
	for _, note := range []string{"", "somebody", "process \x1b[2J", strings.Repeat("process ", 100)} {
		if err := os.WriteFile(d.note, []byte(note), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Take(t.Context(), dir, "x", Options{Wait: time.Nanosecond}); err == nil || strings.ContainsRune(err.Error(), 0x1b) || len(err.Error()) > 250 {
			t.Errorf("%q: %v", note, err)
		}
	}
	d.Leave()
	if err := os.Symlink(filepath.Join(dir, "f"), filepath.Join(dir, ".y.lock")); err != nil {
		t.Skip(err)
	}
	if _, err := Take(t.Context(), dir, "y", Options{}); err == nil || err.Error() != ".y.lock is no file" {
		t.Error(err)
	}
	if err := os.Symlink(filepath.Join(dir, "f"), filepath.Join(dir, ".z.holder")); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(t.Context(), dir, "z", Options{}); err == nil || err.Error() != ".z.holder is no file" {
		t.Error(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "f")); string(text) != "x" {
		t.Error("what a link leads to was emptied")
	}
}

func TestRewrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	no := errors.New("no")
	for _, c := range []struct {
		is, next string // next "": it is left as it is
		err      error
	}{{"", "one", nil}, {"one", "", nil}, {"one", "two", no}, {"one", "two", nil}} {
		err := Rewrite(t.Context(), file, 10, func(old []byte) ([]byte, error) {
			if string(old) != c.is {
				t.Errorf("%q is there, not %q", old, c.is)
			}
			if c.next == "" {
				return nil, c.err
			}
			return []byte(c.next), c.err
		})
		if err != c.err {
			t.Error(err)
		}
	}
	if err := Rewrite(t.Context(), file, 2, func([]byte) ([]byte, error) { t.Error("asked"); return nil, nil }); err == nil || err.Error() != "f has more than 2 bytes, the most that is read" {
		t.Error(err)
	}
}
