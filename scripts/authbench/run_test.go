package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun: a small measurement takes each message through each set of plugins.
func TestRun(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	s := defaults()
	s.dir, s.program, s.rounds, s.messages, s.senders = t.TempDir(), filepath.Join(t.TempDir(), "stagepost"), 1, 20, 4
	if text, err := exec.Command("go", "build", "-o", s.program, "../../cmd/stagepost").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out strings.Builder
	if err := run(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	for _, set := range sets {
		if !strings.Contains(out.String(), "\n"+set.name+" ") {
			t.Errorf("%s is not in:\n%s", set.name, &out)
		}
	}
}
