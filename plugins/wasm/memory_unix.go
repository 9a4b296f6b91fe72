//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package wasm

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// smallMemory is what most guests stay below.
const smallMemory = 4 << 20

// mappedMemory is a memory whose address space is the process's own mapping, to which it goes back as soon as the instance is closed.
type mappedMemory struct {
	all   []byte
	large bool
}

func newMemory(least, most uint64) experimental.LinearMemory {
	if most == 0 {
		return &heapMemory{}
	}
	all, err := syscall.Mmap(-1, 0, int(most), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil { // the system counts address space, and there is too little
		return &heapMemory{bytes: make([]byte, 0, least), most: most}
	}
	return &mappedMemory{all: all}
}

// Reallocate implements experimental.LinearMemory.
func (m *mappedMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	if size > smallMemory && !m.large {
		m.large = true
		largePages(m.all[smallMemory:])
	}
	return m.all[:size]
}

// Free implements experimental.LinearMemory.
func (m *mappedMemory) Free() {
	if m.all != nil {
		_ = syscall.Munmap(m.all) // fails only for what is no mapping
		m.all = nil
	}
}
