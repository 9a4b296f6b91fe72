package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/scripts/dockerregistry"
	"github.com/stagepost/stagepost/scripts/longrun"
)

// TestRun: a small measurement installs plugins from each kind of place.
func TestRun(t *testing.T) {
	if _, err := exec.LookPath(dockerregistry.Program); err != nil {
		t.Skipf("left out: %v", err)
	}
	s := defaults()
	s.dir, s.program, s.rounds, s.plugins = t.TempDir(), longrun.Program(t), 1, 3
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
