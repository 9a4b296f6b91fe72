package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSlow is the short form of scripts/soak slow. How long messages take is printed and not a matter of right or wrong here.
func TestSlow(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	s := settings{slow: 100, during: time.Second, rounds: 1, times: 1e9, flood: 500, sessions: 2, dir: t.TempDir(), program: filepath.Join(t.TempDir(), "stagepost")}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", s.program, "../../cmd/stagepost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program cannot be built: %v\n%s", err, text)
	}
	var out strings.Builder
	violations, err := run(context.Background(), s, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
}
