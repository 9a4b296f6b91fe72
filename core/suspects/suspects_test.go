package suspects

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
)

func open(t *testing.T, path string, crashed bool) *File {
	t.Helper()
	f, err := Open(path, crashed)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestStrikes: what is in hand at a crash gets a strike; what ended before, or was in hand at another end, gets none.
func TestStrikes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suspects")
	ids := message.NewIDs(time.Now, 0, message.ID{})
	bad, slow, done := ids.Next(), ids.Next(), ids.Next()
	f := open(t, path, false)
	for n, c := range []struct {
		crashed   bool
		bad, slow int
	}{{false, 0, 0}, {true, 1, 1}, {false, 1, 1}, {true, 2, 2}, {true, 3, 3}} {
		f.Begin(bad)
		f.Begin(bad) // in two lanes at once
		f.Begin(slow)
		f.End(f.Begin(done))
		f = open(t, path, c.crashed)
		if b, s := f.Strikes(bad), f.Strikes(slow); b != c.bad || s != c.slow || f.Strikes(done) != 0 {
			t.Fatalf("%d: strikes %d, %d and %d, want %d, %d and 0", n, b, s, f.Strikes(done), c.bad, c.slow)
		}
	}
	f.Forget(slow)
	if f = open(t, path, true); f.Strikes(slow) != 0 || f.Strikes(bad) != 3 || !slices.Equal(f.Suspects(), []message.ID{bad}) {
		t.Errorf("after Forget: strikes %d and %d, suspects %v", f.Strikes(slow), f.Strikes(bad), f.Suspects())
	}
}

// TestMany: more is in hand than fits, and what fits is found.
func TestMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suspects")
	f := open(t, path, false)
	ids := message.NewIDs(time.Now, 0, message.ID{})
	var group sync.WaitGroup
	var mu sync.Mutex
	noted := map[message.ID]bool{}
	for range 8 {
		group.Go(func() {
			for i := range slots {
				id := ids.Next()
				slot := f.Begin(id)
				switch {
				case slot < 0:
				case i%8 == 0:
					mu.Lock()
					noted[id] = true
					mu.Unlock()
				default:
					f.End(slot)
				}
			}
		})
	}
	group.Wait()
	f = open(t, path, true)
	found := f.Suspects()
	if len(found) != len(noted) || len(noted) < slots/2 {
		t.Fatalf("%d were noted, %d are found", len(noted), len(found))
	}
	for _, id := range found {
		if !noted[id] {
			t.Fatalf("%s was not in hand", id)
		}
	}
}

// TestNoFile: one that is damaged, or cannot be, harms nobody.
func TestNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "suspects")
	for _, text := range []string{"", "x", title, title + string(make([]byte, fileLen-len(title)+1))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f := open(t, path, true); len(f.Suspects()) != 0 {
			t.Errorf("suspects in %.20q", text)
		}
	}
	if _, err := Open(filepath.Join(path, "none"), false); err == nil {
		t.Error("a file below a file")
	}
	var none *File
	none.End(none.Begin(message.ID{1}))
	none.Forget(message.ID{1})
	if none.Strikes(message.ID{1}) != 0 || none.Suspects() != nil {
		t.Error("no file, and somebody is suspected")
	}
}
