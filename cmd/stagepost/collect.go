package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector makes others wait while it runs, most of all where plugins make much garbage, and how often it runs depends
// on what is alive: a small server would collect every few megabytes. Ours waits until there is collectAfter of garbage, or as
// much as is alive where that is more. Once a server with many idle sessions is quiet nobody minds: then what is garbage goes, and
// their stacks that grew become small again. An operator who sets GOGC has it as set.
const (
	collectAfter = 128 << 20 // bytes
	mostPercent  = 1000
	collectLook  = 500 * time.Millisecond
	quietBelow   = 256 << 10 // bytes allocated from one look to the next
	quietWorth   = 1 << 20   // bytes allocated since the last collection
	quietMany    = 1000      // goroutines, one for each idle session
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
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	now := 100
	var q quiet
	defer func() { debug.SetGCPercent(100) }()
	for tick := time.NewTicker(collectLook); ; {
		metrics.Read(heap)
		if q.look(heap[1].Value.Uint64(), heap[2].Value.Uint64()) && runtime.NumGoroutine() >= quietMany {
			debug.FreeOSMemory()
		}
		if want := percentFor(heap[0].Value.Uint64()); want*10 < now*9 || want*9 > now*10 { // to change it stops the process for a moment
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

// quiet tells when a server that is quiet has garbage worth a collection.
type quiet struct {
	allocated, since uint64 // in bytes: at the last look, and at the last one before a collection
	cycles           uint64
}

// look takes what was allocated in all, and how many collections there were.
func (q *quiet) look(allocated, cycles uint64) bool {
	grown := allocated - q.allocated
	if cycles != q.cycles { // some time after the last look
		q.cycles, q.since = cycles, q.allocated
	}
	q.allocated = allocated
	return grown < quietBelow && allocated-q.since >= quietWorth
}
