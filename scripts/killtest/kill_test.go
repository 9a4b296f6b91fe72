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

// TestKill is the short form of scripts/soak.
func TestKill(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	s := defaults()
	s.dir, s.kills, s.seed = t.TempDir(), 20, uint64(time.Now().UnixNano())
	s.program = filepath.Join(t.TempDir(), "stagepost")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", s.program, "../../cmd/stagepost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program cannot be built: %v\n%s", err, text)
	}
	var out strings.Builder
	report, err := run(context.Background(), s, &out)
	if err != nil {
		t.Fatal(err)
	}
	report.print(&out)
	t.Log(out.String())
	if len(report.violations) > 0 {
		t.Error("a rule is violated")
	}
	if report.delivered == 0 || report.ends[ack] == 0 || report.ends[nak] == 0 {
		t.Error("hardly any mail flowed, so nothing was tried")
	}
}
