package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector makes others wait while it runs, most of all where plugins make much garbage, and how often it runs depends
// on what is alive: a small server would collect every few megabytes. Ours waits until there is collectAfter of garbage, or as
// much as is alive where that is more. An operator who sets GOGC has it as set.
const (
	collectAfter = 128 << 20 // bytes
	mostPercent  = 1000
	collectLook  = time.Second
)

// memoryShare is what the heap and all else of Go may grow to of the memory that the process can have, in percent, before the
// collector runs more often. An operator who sets GOMEMLIMIT has it as set.
const memoryShare = 90

// collectBefore bounds the garbage by the memory that there is.
func collectBefore(most int64) {
	if os.Getenv("GOMEMLIMIT") == "" && most > 0 {
		debug.SetMemoryLimit(most / 100 * memoryShare)
	}
}

// collectSeldom sets the collector by what is alive, until ctx ends.
func collectSeldom(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := 100
	defer func() { debug.SetGCPercent(100) }()
	for tick := time.NewTicker(collectLook); ; {
		metrics.Read(alive)
		if want := percentFor(alive[0].Value.Uint64()); want*10 < now*9 || want*9 > now*10 { // to change it stops the process for a moment
			debug.SetGCPercent(want)
			now = want
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// percentFor is the garbage in percent of what is alive at which to collect.
func percentFor(alive uint64) int {
	return int(max(100, min(mostPercent, collectAfter*100/max(1, alive))))
}
