package gate

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// process reads what this process uses.
type process struct {
	samples   []metrics.Sample
	system    int64     // what MemoryOf says
	collected time.Time // when a collection was last asked for
}

const collectEvery = 10 * time.Second

// What there is of memory, in the order in which process.read needs it.
var memoryNames = [...]string{
	"/memory/classes/total:bytes",
	"/memory/classes/heap/released:bytes",
	"/memory/classes/heap/free:bytes",
	"/memory/classes/heap/objects:bytes",
	"/gc/heap/live:bytes",
}

func newProcess() *process {
	p := &process{system: MemoryOf(os.DirFS("/"))}
	for _, name := range memoryNames {
		p.samples = append(p.samples, metrics.Sample{Name: name})
	}
	return p
}

// read is called by one goroutine at a time. Of the heap only that counts which the last garbage collection found alive: near
// GOMEMLIMIT the collector runs often enough for that to be true, and until then garbage is no reason to refuse anybody.
func (p *process) read() Reading {
	metrics.Read(p.samples)
	at := func(i int) int64 { return int64(p.samples[i].Value.Uint64()) }
	r := Reading{Memory: at(0) - at(1) - at(2) - max(0, at(3)-at(4)), MemoryLimit: p.system}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		r.MemoryLimit = limit
	}
	r.Files, r.FileLimit = descriptors()
	if now := time.Now(); r.Reached() == Memory && now.Sub(p.collected) >= collectEvery {
		p.collected = now
		go runtime.GC() // with fewer sessions there is less garbage, and so no other collection soon that would see that they ended
	}
	return r
}

// MemoryOf is how much memory the process may use at most, in bytes: what its control groups allow, or what the machine has. 0: not
// known. root is the root of the file system; only Linux says it there.
func MemoryOf(root fs.FS) int64 {
	most := int64(0)
	take := func(n int64) {
		if n > 0 && n < 1<<60 && (most == 0 || n < most) { // version 1 says "none" with a number near 2^63
			most = n
		}
	}
	info, _ := fs.ReadFile(root, "proc/meminfo")
	for line := range bytes.Lines(info) {
		if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == "MemTotal:" {
			n, _ := strconv.ParseInt(string(f[1]), 10, 64)
			take(n << 10)
		}
	}
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) { // hierarchy:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if parts[0] != "0" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
			if parts[1] != "memory" {
				continue
			}
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) { // a group is bound by those above it
			text, err := fs.ReadFile(root, path.Join(base, dir, file))
			if n, e := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && e == nil {
				take(n)
			}
			if dir == "/" {
				break
			}
		}
	}
	return most
}
