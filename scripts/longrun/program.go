package longrun

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program builds the server for a test that is an end-to-end test, so one that is left out unless STAGEPOST_E2E is set.
func Program(t testing.TB) string {
	t.Helper()
	if os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("the end-to-end tests run with STAGEPOST_E2E=1")
	}
	file := filepath.Join(t.TempDir(), "stagepost")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", file, "github.com/stagepost/stagepost/cmd/stagepost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the program cannot be built: %v\n%s", err, text)
	}
	return file
}
