//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package wasm

import (
	"errors"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/breaker"
)

// TestMemoryGrows: what most guests have is there at once, and what is more comes in pieces, with a pause after each.
func TestMemoryGrows(t *testing.T) {
	pauses := 0
	mem := newMemory(0, 32<<20, func() { pauses++ })
	defer mem.Free()
	for _, step := range []struct {
		size   uint64
		pauses int
	}{
		{1 << 20, 0},
		{smallMemory, 0},
		{smallMemory + 1<<20, 4},
		{smallMemory + 1<<20 + 64<<10, 5},
		{1 << 20, 5}, // it is not asked for again
		{32 << 20, 5 + 108},
	} {
		if b := mem.Reallocate(step.size); uint64(len(b)) != step.size || b[len(b)-1] != 0 || pauses != step.pauses {
			t.Errorf("%d bytes: there are %d, after %d pauses, want %d", step.size, len(b), pauses, step.pauses)
		}
	}
	if b := mem.Reallocate(32<<20 + 1); b != nil {
		t.Errorf("more than it may come to: %d bytes", len(b))
	}
}

// TestMemoryInTime: a guest whose deadline comes while its memory grows gets none of it, at its beginning and in a call.
func TestMemoryInTime(t *testing.T) {
	r := newRig(t, EngineOptions{})
	const answers = "export func stagepost_hook i32 -> i64\ni64.const 0\n"
	p := r.mustLoad(assembled(t, "", answers+"memory 200"))
	if _, err := newInstance(p, time.Now().Add(-time.Second)); !errors.Is(err, breaker.OverTime) {
		t.Errorf("it begins: %v", err)
	}
	p = r.mustLoad(assembled(t, "", "export func stagepost_hook i32 -> i64\ni32.const 400 memory.grow drop loop br 0 end i64.const 0"))
	in, err := p.begin(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	in.limit(CallFuel, time.Now().Add(time.Minute))
	in.deadline = time.Now() // it has its steps, and no time
	_, err = in.hook.Call(in.ctx, 0)
	if err := in.errorFrom(err); err.Cause != breaker.OverTime || in.mod.Memory().Size() > smallMemory {
		t.Errorf("it has %d bytes: %v", in.mod.Memory().Size(), err)
	}
	in.turn.End()
}
