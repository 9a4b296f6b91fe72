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

// TestHands is the short form of scripts/soak hands: what the commands do is checked, and not how long they take.
func TestHands(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	s := settings{messages: 2 * domains, look: time.Hour, change: time.Hour, dir: t.TempDir(), program: filepath.Join(t.TempDir(), "stagepost")}
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
