package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const write = vfs.WriteCategoryUnspecified

// put makes or overwrites a file.
func put(t testing.TB, y vfs.FS, name, text string, sync bool) {
	t.Helper()
	f, err := y.Create(name, write)
	check(t, err)
	_, err = f.Write([]byte(text))
	check(t, err)
	if sync {
		check(t, f.Sync())
	}
	check(t, f.Close())
}

func syncFolder(t testing.TB, y vfs.FS, name string) {
	t.Helper()
	f, err := y.OpenDir(name)
	check(t, err)
	check(t, f.Sync())
	check(t, f.Close())
}

// get reads a file; there is false when there is none.
func get(t testing.TB, y vfs.FS, name string) (text string, there bool) {
	t.Helper()
	f, err := y.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	check(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	check(t, err)
	return string(b), true
}

// TestWriters: writers that forget something are found out, and those that do not are not. Each replaces the value "old" by "new!", or
// makes it where there was none; afterwards it counts as promised. An image may be of any moment.
func TestWriters(t *testing.T) {
	replaced := func(t *testing.T, y *FS) string {
		text, there := get(t, y, "/d/value")
		if !there {
			return "gone"
		}
		return text
	}
	for _, w := range []struct {
		name  string
		begin func(*testing.T, *FS)
		write func(*testing.T, *FS)
		read  func(*testing.T, *FS) string
		first string // what is read before
		right bool
	}{
		{"new file, synced, folder synced", nil, func(t *testing.T, y *FS) {
			put(t, y, "/d/value", "new!", true)
			syncFolder(t, y, "/d")
		}, func(t *testing.T, y *FS) string {
			if text, there := get(t, y, "/d/value"); there && text == "new!" {
				return text
			}
			return "gone" // a file that is not whole counts as none
		}, "gone", true},
		{"new file, folder not synced", nil, func(t *testing.T, y *FS) {
			put(t, y, "/d/value", "new!", true)
		}, replaced, "gone", false},
		{"new file not synced, folder synced", nil, func(t *testing.T, y *FS) {
			put(t, y, "/d/value", "new!", false)
			syncFolder(t, y, "/d")
		}, replaced, "gone", false},
		{"written in place", old, func(t *testing.T, y *FS) {
			f, err := y.OpenReadWrite("/d/value", write)
			check(t, err)
			f.WriteAt([]byte("new!"), 0)
			check(t, f.Sync())
			f.Close()
		}, replaced, "old", false},
		{"cut and written", old, func(t *testing.T, y *FS) {
			f, err := y.OpenReadWrite("/d/value", write)
			check(t, err)
			check(t, f.(*file).Truncate(0))
			check(t, f.Sync())
			f.WriteAt([]byte("new!"), 0)
			check(t, f.Sync())
			f.Close()
		}, replaced, "old", false},
		{"synced and renamed", old, func(t *testing.T, y *FS) {
			put(t, y, "/d/value.new", "new!", true)
			check(t, y.Rename("/d/value.new", "/d/value"))
			syncFolder(t, y, "/d")
		}, replaced, "old", true},
		{"renamed without a sync of the file", old, func(t *testing.T, y *FS) {
			put(t, y, "/d/value.new", "new!", false)
			check(t, y.Rename("/d/value.new", "/d/value"))
			syncFolder(t, y, "/d")
		}, replaced, "old", false},
		{"renamed without a sync of the folder", old, func(t *testing.T, y *FS) {
			put(t, y, "/d/value.new", "new!", true)
			check(t, y.Rename("/d/value.new", "/d/value"))
		}, replaced, "old", false},
		{"the old one removed before the new one is there for certain", old, func(t *testing.T, y *FS) {
			put(t, y, "/d/value.2", "new!", true)
			check(t, y.Remove("/d/value"))
			syncFolder(t, y, "/d")
		}, newest, "old", false},
		{"the old one removed when the new one is there for certain", old, func(t *testing.T, y *FS) {
			put(t, y, "/d/value.new", "new!", true)
			check(t, y.Rename("/d/value.new", "/d/value.2"))
			syncFolder(t, y, "/d")
			check(t, y.Remove("/d/value"))
		}, newest, "old", true},
		{"a record before its data", nil, func(t *testing.T, y *FS) { record(t, y, "record", "data") }, recorded, "gone", false},
		{"data before its record", nil, func(t *testing.T, y *FS) { record(t, y, "data", "record") }, recorded, "gone", true},
	} {
		t.Run(w.name, func(t *testing.T) {
			y := New()
			check(t, y.MkdirAll("/d", 0o700))
			syncFolder(t, y, "/")
			if w.begin != nil {
				w.begin(t, y)
			}
			images, wrong := 0, ""
			judge := func(promised bool) func(op Op, m *Moment) {
				return func(op Op, m *Moment) {
					for image := range m.Every() {
						images++
						is := w.read(t, image)
						if is != "new!" && (promised || is != w.first) {
							wrong = fmt.Sprintf("after %s it is %q: %s", op, is, image.Story())
						}
					}
				}
			}
			y.Watch(judge(false))
			w.write(t, y)
			y.Stop(func(m *Moment) { judge(true)(Op{}, m) })
			switch {
			case w.right && wrong != "":
				t.Errorf("a writer that is right is found wrong: %s", wrong)
			case !w.right && wrong == "":
				t.Errorf("a writer that is wrong is right on all of %d images", images)
			}
			t.Logf("%d images; %s", images, wrong)
		})
	}
}

// old is the value before.
func old(t *testing.T, y *FS) {
	put(t, y, "/d/value", "old", true)
	syncFolder(t, y, "/d")
}

// newest reads the value of a writer that numbers its files.
func newest(t *testing.T, y *FS) string {
	for _, name := range []string{"/d/value.2", "/d/value"} {
		if text, there := get(t, y, name); there {
			return text
		}
	}
	return "gone"
}

// record writes data and a record that says that it is there, in some order.
func record(t *testing.T, y *FS, order ...string) {
	for _, name := range order {
		put(t, y, "/d/"+name, "new!", true)
		syncFolder(t, y, "/d")
	}
}

func recorded(t *testing.T, y *FS) string {
	if text, _ := get(t, y, "/d/record"); text != "new!" {
		return "gone"
	}
	text, _ := get(t, y, "/d/data")
	return text
}

// TestEvery counts images where the number is known.
func TestEvery(t *testing.T) {
	count := func(m *Moment) (n int) {
		for range m.Every() {
			n++
		}
		return n
	}
	y := New()
	put(t, y, "/a", "x", true) // the name
	put(t, y, "/b", "", false) // the same
	y.Stop(func(m *Moment) {
		if n := count(m); n != 4 {
			t.Errorf("%d images of two names", n)
		}
	})
	syncFolder(t, y, "/")
	check(t, y.Rename("/a", "/c")) // there, not there, or with the old name
	check(t, y.Remove("/b"))
	y.Stop(func(m *Moment) {
		seen := map[string]bool{}
		for image := range m.Every() {
			names, err := image.List("/")
			check(t, err)
			seen[fmt.Sprint(names)] = true
		}
		if len(seen) != 6 || !seen["[a b c]"] || !seen["[c]"] || !seen["[a b]"] {
			t.Errorf("of a rename and a removal come %v", seen)
		}
	})
	y = New()
	put(t, y, "/a", "", false)
	syncFolder(t, y, "/")
	f, err := y.OpenReadWrite("/a", write)
	check(t, err)
	f.WriteAt([]byte("abc"), 0)
	y.Stop(func(m *Moment) {
		seen := map[string]bool{}
		for image := range m.Every() {
			text, _ := get(t, image, "/a")
			seen[text] = true
		}
		for _, want := range []string{"", "\x00\x00\x00", "abc", "a", "a\x00\x00", "ab", "ab\x00", "\x00bc", "\x00\x00c"} {
			if !seen[want] {
				t.Errorf("%q is missing", want)
			}
			delete(seen, want)
		}
		if len(seen) > 0 {
			t.Errorf("besides %v", seen)
		}
	})
}

// TestRandomImages: what is synced is in each image, and nothing is that nobody wrote; all that may come comes in some.
func TestRandomImages(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	y := New()
	before, after := bytes.Repeat([]byte{1}, 20_000), bytes.Repeat([]byte{2}, 9000)
	put(t, y, "/kept", string(before), true)
	put(t, y, "/gone", "x", true)
	syncFolder(t, y, "/")
	f, err := y.OpenReadWrite("/kept", write)
	check(t, err)
	f.WriteAt(after, 5000)
	f.WriteAt(after, 15_000) // beyond the end
	check(t, y.Remove("/gone"))
	check(t, y.Link("/kept", "/link"))
	rounds := 200
	if testing.Short() {
		rounds = 50
	}
	y.Stop(func(m *Moment) {
		for _, kind := range Images() {
			count := map[string]int{}
			for range rounds {
				image := m.image(&chance{kind, rng, 50})
				text, there := get(t, image, "/kept")
				if !there || len(text) != 20_000 && len(text) != 24_000 && (kind == Synced || len(text) < 20_000 || len(text) > 24_000) {
					t.Fatalf("%s: %t, %d octets", kind, there, len(text))
				}
				for i := range text {
					old, ours := i < len(before), i >= 5000 && i < 14_000 || i >= 15_000
					if !(old && text[i] == 1 || ours && text[i] == 2 || !old && text[i] == 0) {
						t.Fatalf("%s: octet %d is %d", kind, i, text[i])
					}
				}
				if linked, there := get(t, image, "/link"); there {
					if linked != text {
						t.Fatalf("%s: the two names of a file have two contents", kind)
					}
					count["linked"]++
				}
				if _, there := get(t, image, "/gone"); !there {
					count["removed"]++
				}
				switch n := bytes.Count([]byte(text), []byte{2}); {
				case n == 18_000:
					count["written"]++
				case n > 0:
					count["torn"]++
				}
				if len(text) > 20_000 {
					count["longer"]++
				}
			}
			for _, what := range []string{"linked", "removed", "written", "torn", "longer"} {
				n, least, most := count[what], 1, rounds-1
				switch {
				case kind == Synced, kind == Removals && what != "removed", kind == Names && what != "linked" && what != "removed",
					kind == Lengths && (what == "written" || what == "torn"), kind == Whole && what == "torn":
					least, most = 0, 0
				case kind == Whole, kind == Lengths:
					least, most = rounds, rounds
				}
				if n < least || n > most {
					t.Errorf("%s: %d of %d are %s", kind, n, rounds, what)
				}
			}
		}
	})
}

func TestHolding(t *testing.T) {
	y := New()
	check(t, y.MkdirAll("/d", 0o700))
	syncFolder(t, y, "/")
	f, err := y.Create("/d/a", write)
	check(t, err)
	f.Write([]byte("a token and a token"))
	holding := func(want int, lacks int) {
		t.Helper()
		y.Stop(func(m *Moment) {
			if n, lacking := m.Holding([]byte("token")); n != want || len(lacking) != lacks {
				t.Errorf("%d, %q", n, lacking)
			}
		})
	}
	holding(0, 1)
	check(t, f.SyncData())
	holding(0, 1) // the name
	syncFolder(t, y, "/d")
	holding(2, 0)
	f.Write([]byte("token"))
	holding(2, 1)
	check(t, y.Rename("/d/a", "/d/b"))
	holding(0, 2)
}

// TestFailSyncs: after a sync that failed what was written is lost, whatever the next one says.
func TestFailSyncs(t *testing.T) {
	y := New()
	put(t, y, "/a", "first", true)
	syncFolder(t, y, "/")
	f, err := y.OpenReadWrite("/a", write)
	check(t, err)
	f.WriteAt([]byte("later"), 0)
	y.FailSyncs(func(string) error { return syscall.EIO })
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the sync says %v", err)
	}
	y.FailSyncs(nil)
	check(t, f.Sync())
	if text, _ := get(t, y, "/a"); text != "later" {
		t.Errorf("programs read %q", text)
	}
	y.Stop(func(m *Moment) {
		for image := range m.Every() {
			if text, _ := get(t, image, "/a"); text != "first" {
				t.Errorf("on the disk is %q", text)
			}
		}
	})
}

// TestLikeMem does the same at random here and in Pebble's file system in memory; but for links, since that one loses a file
// that is renamed to another name of itself.
func TestLikeMem(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ours, theirs := New(), vfs.NewMem()
	both := []vfs.FS{ours, theirs}
	for _, y := range both {
		check(t, y.MkdirAll("/d/e", 0o700))
	}
	name := func() string { return []string{"/", "/d/", "/d/e/"}[rng.IntN(3)] + string(rune('u'+rng.IntN(4))) }
	operations := 20_000
	if testing.Short() {
		operations = 4000
	}
	for range operations {
		a, b := name(), name()
		data, off, op, many := make([]byte, rng.IntN(9000)), rng.Int64N(20_000), rng.IntN(8), rng.IntN(3)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		var said [2]string
		for i, y := range both {
			use := func(f vfs.File, err error) error {
				if err != nil {
					return err
				}
				defer f.Close()
				for range many {
					f.Write(bytes.Clone(data))
				}
				if op != 2 { // Pebble's allows no reading after reuse
					b := make([]byte, 5000)
					n, err := f.ReadAt(b, off)
					said[i] += fmt.Sprintf("%x %v", b[:n], err)
				}
				return f.Sync()
			}
			var err error
			switch op {
			case 0:
				err = use(y.Create(a, write))
			case 1:
				err = use(y.OpenReadWrite(a, write))
			case 2:
				if a != b {
					err = use(y.ReuseForWrite(a, b, write))
				}
			case 3:
				if a != b {
					err = y.Rename(a, b)
				}
			case 4:
				err = y.Remove(a)
			case 6:
				f, openErr := y.OpenReadWrite(a, write)
				if openErr == nil {
					f.WriteAt(bytes.Clone(data), off%4096)
					f.Close()
				}
				err = openErr
			case 7:
				f, openErr := y.Open(a)
				if err = openErr; err == nil {
					text, readErr := io.ReadAll(f)
					said[i] = fmt.Sprintf("%x %v", text, readErr)
					f.Close()
				}
			case 5:
				info, statErr := y.Stat(a)
				if err = statErr; err == nil {
					said[i] = fmt.Sprint(info.Size(), info.IsDir(), info.Name())
				}
			}
			said[i] += fmt.Sprint(err != nil)
		}
		if said[0] != said[1] {
			t.Fatalf("operation %d on %s and %s: here %.200s, there %.200s", op, a, b, said[0], said[1])
		}
	}
	ours.Stop(func(m *Moment) {
		image := m.Image(Whole, rng)
		for _, folder := range []string{"/", "/d", "/d/e"} {
			names, err := image.List(folder)
			check(t, err)
			live, err := theirs.List(folder)
			check(t, err)
			if len(names) != len(live) {
				t.Errorf("%s: %v and %v", folder, names, live)
			}
		}
	})
}
