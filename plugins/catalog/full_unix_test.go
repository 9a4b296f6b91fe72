//go:build unix

package catalog

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The disk is full half-way: a process of its own may write no file of more than 4 KB, and the plugin has one of 64. It is refused in one
// line, and nothing is left, in none of the places.
func TestDiskFull(t *testing.T) {
	const dirVariable = "STAGEPOST_TEST_FULL"
	files := sample("sample", "1.0.0")
	files["lib/large.lua"] = []byte("--" + strings.Repeat("x", 64<<10) + "\n")
	p, err := Pack("sample", files)
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv(dirVariable); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 4096, Max: 4096}); err != nil {
			t.Skip(err)
		}
		wants(t, at(t, filepath.Join(dir, "layout"), Options{}).Put(t.Context(), p), "file too large")
		wants(t, at(t, filepath.Join(dir, "layout.tar"), Options{}).Put(t.Context(), p), "file too large")
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "SKIP") {
		t.Skip("files cannot be bounded here")
	}
	onlyThere(t, filepath.Join(dir, "layout"), "blobs")
	onlyThere(t, dir, "layout")
	if _, err := at(t, filepath.Join(dir, "layout"), Options{}).Get(t.Context(), "sample", "1.0.0", ""); err == nil {
		t.Error("it is there")
	}
	if err := at(t, filepath.Join(dir, "layout"), Options{}).Put(t.Context(), p); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
