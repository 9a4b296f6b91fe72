// Package e2e runs the real program as people do: built once, started in folders of its own, spoken to by SMTP, signals and
// its own commands. It asks what no package can ask alone: that nothing is lost when the process is stopped, killed or
// starved of disk, that what is saved while mail flows takes effect or is refused with the old one left in force, and that
// the exit codes, messages and documented commands are what users are told.
//
// It runs only when STAGEPOST_E2E is set, as scripts/test does. What cannot run on this machine says "left out".
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the binary under test. Its folder holds nothing else, so that it can be put into a PATH.
var program string

func TestMain(m *testing.M) {
	if os.Getenv("STAGEPOST_E2E") == "" {
		fmt.Println("left out: the end-to-end tests run with STAGEPOST_E2E=1")
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "stagepost-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "stagepost")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the program cannot be built:", err)
		return 1
	}
	return m.Run()
}
