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

// TestSites is the short form of scripts/soak sites. Rates are printed and not a matter of right or wrong here.
func TestSites(t *testing.T) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	s := settings{sites: 40, slow: 8, rate: 100, senders: 4, during: 3 * time.Second, dir: t.TempDir(), program: filepath.Join(t.TempDir(), "stagepost")}
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
