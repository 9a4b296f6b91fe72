//go:build unix

package e2e

import (
	"syscall"
	"testing"
)

// TestReloadPipe puts a pipe in the place of a plugin: opening it would wait for ever.
func TestReloadPipe(t *testing.T) {
	r := newRig(t, nil)
	mark := r.console.mark()
	if err := syscall.Mkfifo(r.path("pipe"), 0o644); err != nil {
		t.Skipf("left out: a pipe cannot be made here: %v", err)
	}
	r.rename("pipe", "plugins/hello.lua")
	r.refuses(mark, 1, "plugins/hello.lua: is not a regular file")
	r.expect("one")
	r.replace("plugins/hello.lua", hello("two"))
	r.live(2)
	r.expect("two")
	r.end()
}
