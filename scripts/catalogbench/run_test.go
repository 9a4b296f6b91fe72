package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// TestRun: a small measurement installs plugins from each kind of place.
func TestRun(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	if _, err := exec.LookPath(dockerregistry.Program); err != nil {
		t.Skipf("left out: %v", err)
	}
	s := defaults()
	s.dir, s.program, s.rounds, s.plugins = t.TempDir(), filepath.Join(t.TempDir(), "stagepost"), 1, 3
	if text, err := exec.Command("go", "build", "-o", s.program, "../../cmd/stagepost").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out strings.Builder
	if err := run(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"3 locked plugins", "\nregistry ", "\nfolder ", "\nfile "} {
		if !strings.Contains(out.String(), from) {
			t.Errorf("%q is not in:\n%s", from, &out)
		}
	}
}
