package admin

import (
	"os"
	"path/filepath"
	"testing"
)

// TestListenAfterAKilledStart finds what a start that was killed left, and leaves nothing itself.
func TestListenAfterAKilledStart(t *testing.T) {
	data := t.TempDir()
	scratch := filepath.Join(data, ScratchName)
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scratch, "s"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(data)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := os.Stat(scratch); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}
