package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCases is the short form of scripts/hardening: all cases but the slow ones and the longer neighbours.
func TestCases(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	o := options{program: filepath.Join(t.TempDir(), "stagepost"), parallel: 48, family: 3}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", o.program, "../../cmd/stagepost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program cannot be built: %v\n%s", err, text)
	}
	var out strings.Builder
	ok, err := run(context.Background(), o, nil, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		wrong, _, _ := strings.Cut(out.String(), "\ncases ") // said once more below the counts, where it is looked for
		t.Errorf("a case did not pass:\n%s", wrong)
	}
}
