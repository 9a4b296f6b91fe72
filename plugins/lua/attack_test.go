package lua

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// attackLimits are small enough for a test, and in the proportion of the defaults.
var attackLimits = Limits{Instructions: 250_000, Bytes: 8 << 20, Time: 20 * time.Second}

// A call allocates at most this much for each byte it is charged, plus what instructions allocate without being charged:
// boxed numbers, and the string that names the key to a metamethod.
const (
	allocatedPerByte        = 2
	allocatedPerInstruction = 48
)

// attack loads a plugin and calls on.test, and returns the error of whichever failed.
func attack(src string, limits *Limits) (allocated uint64, err error) {
	var before, after runtime.MemStats
	p, err := compile(src)
	if err != nil {
		return 0, err
	}
	im, err := Link(p, nil)
	if err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&before)
	in, err := NewInstance(im, Options{Setup: bind, Load: *limits})
	if err == nil {
		defer in.Close()
		fn := in.State().GetField(in.State().GetGlobal("on"), "test")
		_, err = in.Call(fn.(*glua.LFunction), limits)
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// TestAttacks runs every file of testdata/attacks: it must end with the error that its first line names, having
// allocated in proportion to its budget, and the next instance must work.
func TestAttacks(t *testing.T) {
	files, err := filepath.Glob("testdata/attacks/*.lua")
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d attacks, %v", len(files), err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".lua"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(src), "\n")
			want, ok := strings.CutPrefix(first, "-- want: ")
			if !ok {
				t.Fatal("the first line must be -- want: TEXT")
			}
			limits := attackLimits
			if _, text, ok := strings.Cut(string(src), "\n-- time: "); ok {
				text, _, _ = strings.Cut(text, "\n")
				if limits.Time, err = time.ParseDuration(text); err != nil {
					t.Fatal(err)
				}
			}
			allocated, err := attack(string(src), &limits)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			bound := allocatedPerByte*uint64(attackLimits.Bytes) + allocatedPerInstruction*uint64(attackLimits.Instructions) + 2<<20
			t.Logf("%d KiB allocated, bound %d", allocated>>10, bound>>10)
			if allocated > bound {
				t.Errorf("allocated %d KiB; the bound is %d KiB", allocated>>10, bound>>10)
			}
			if got, err := eval(t, `return 1 + 1`, nil); err != nil || got != "2" {
				t.Errorf("the next instance gives %q, %v", got, err)
			}
		})
	}
}
