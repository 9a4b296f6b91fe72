// Package longrun is how the long tests of scripts/soak are run: until they end or are interrupted, in a folder that is removed
// only when nothing was found.
package longrun

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a test in dir, or in a temporary folder if dir is empty, and ends the process with 1 if it was not ok.
func Main(name, dir string, test func(ctx context.Context, dir string) (ok bool, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := inFolder(ctx, dir, test)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func inFolder(ctx context.Context, dir string, test func(ctx context.Context, dir string) (bool, error)) (ok bool, err error) {
	if dir != "" {
		return test(ctx, dir)
	}
	if dir, err = os.MkdirTemp("", "stagepost-soak"); err != nil {
		return false, err
	}
	if ok, err = test(ctx, dir); ok && err == nil {
		return true, os.RemoveAll(dir)
	}
	fmt.Println("The folder is kept:", dir)
	return ok, err
}
