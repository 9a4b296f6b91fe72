//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package wasm

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

const (
	smallMemory = 4 << 20 // what most guests stay below; the rest is touched before they have it
	pieceBytes  = 256 << 10
	pageBytes   = 4 << 10 // of the system, at least
)

// mappedMemory is a memory whose address space is the process's own mapping, to which it goes back as soon as the instance is closed.
type mappedMemory struct {
	all     []byte
	touched uint64 // all below
	pause   func()
}

func newMemory(least, most uint64, pause func()) experimental.LinearMemory {
	if most == 0 {
		return &heapMemory{}
	}
	all, err := syscall.Mmap(-1, 0, int(most), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil { // the system counts address space, and there is too little
		return &heapMemory{bytes: make([]byte, 0, least), most: most}
	}
	return &mappedMemory{all: all, touched: smallMemory, pause: pause}
}

// Reallocate implements experimental.LinearMemory.
func (m *mappedMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	for m.touched < size {
		piece := m.all[m.touched:min(m.touched+pieceBytes, size)]
		for i := 0; i < len(piece); i += pageBytes {
			piece[i] = 0
		}
		m.touched += uint64(len(piece))
		m.pause()
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
