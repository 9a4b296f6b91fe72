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
// on what is alive: a small server would collect every few megabytes. Ours waits until there is as
// much garbage as is made in collectWorth, but at least collectLeast or a fifth of what is alive, and at most what fills the heap to
// collectUntil, or half of what is alive where that is more. So a busy server is rarely held up, and one that only waits for dead sites
// with a long queue stays small. Once a server with many idle sessions is quiet nobody minds: then what is garbage goes, and
// their stacks that grew become small again. An operator who sets GOGC has it as set.
const (
	collectUntil = 80 << 20 // bytes
	collectLeast = 12 << 20 // bytes
	collectWorth = 2 * time.Second
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

// collectSeldom sets the collector by what is alive, until ctx ends. It looks from time to time, and after each collection, because
// what is alive may have grown meanwhile, and then the garbage that is allowed for grows with it.
func collectSeldom(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	now := 100
	var q quiet
	var made uint64 // bytes from one look to the next
	defer func() { debug.SetGCPercent(100) }()
	collected := make(chan struct{}, 1)
	tellCollected(ctx, collected)
	tick := time.NewTicker(collectLook)
	defer tick.Stop()
	for {
		metrics.Read(heap)
		if want := percentFor(heap[0].Value.Uint64(), made*uint64(collectWorth/collectLook)); want*10 < now*9 || want*9 > now*10 { // to change it stops the process for a moment
			debug.SetGCPercent(want)
			now = want
		}
		select {
		case <-ctx.Done():
			return
		case <-collected:
		case <-tick.C:
			metrics.Read(heap)
			made = max(heap[1].Value.Uint64()-q.allocated, made*3/4) // what pauses for a moment is not over
			if q.look(heap[1].Value.Uint64(), heap[2].Value.Uint64()) && runtime.NumGoroutine() >= quietMany {
				debug.FreeOSMemory()
			}
		}
	}
}

// tellCollected sends to c after each collection, until ctx ends: what nothing refers to is found by the next one.
func tellCollected(ctx context.Context, c chan<- struct{}) {
	runtime.AddCleanup(new([16]byte), func(c chan<- struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
		if ctx.Err() == nil {
			tellCollected(ctx, c)
		}
	}, c)
}

// percentFor is the garbage in percent of what is alive at which to collect, where so much is made in collectWorth.
func percentFor(alive, made uint64) int {
	most := max(collectLeast, alive/2)
	if alive < collectUntil {
		most = max(most, collectUntil-alive)
	}
	garbage := min(max(made, collectLeast, alive/5), most)
	return int(min(mostPercent, garbage/max(1, alive/100)))
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
