package wasm

import "github.com/tetratelabs/wazero/experimental"

// memories gives one instance its memory, where the system can: from the system itself and not from Go's heap. There a
// memory that grows is copied, again and again, into new pieces of up to 32 MiB, each of which is cleared, and each of which brings the
// next garbage collection closer for the whole process. Here all that it may come to is address space at once, and its pages are there
// when they are touched. A guest that did this would be at it for long and could not be interrupted, most of all where the system is itself
// a guest of another; so what is more than most guests need is touched for it, in pieces. Whoever made the instance calls free where it
// did not come about, which the runtime does not.
type memories struct {
	made  []experimental.LinearMemory
	pause func() // between two pieces of a memory that grows; it may panic
}

// Allocate implements experimental.MemoryAllocator.
func (m *memories) Allocate(least, most uint64) experimental.LinearMemory {
	mem := newMemory(least, most, m.pause)
	m.made = append(m.made, mem)
	return mem
}

func (m *memories) free() {
	for _, mem := range m.made {
		mem.Free()
	}
}

// heapMemory is a memory in Go's heap.
type heapMemory struct {
	bytes []byte
	most  uint64
}

// Reallocate implements experimental.LinearMemory.
func (m *heapMemory) Reallocate(size uint64) []byte {
	if size > m.most {
		return nil
	}
	if more := int(size) - len(m.bytes); more > 0 {
		m.bytes = append(m.bytes, make([]byte, more)...)
	}
	return m.bytes[:size]
}

// Free implements experimental.LinearMemory.
func (m *heapMemory) Free() { m.bytes = nil }
