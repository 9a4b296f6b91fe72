//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package wasm

import "github.com/tetratelabs/wazero/experimental"

func newMemory(least, most uint64, _ func()) experimental.LinearMemory {
	return &heapMemory{bytes: make([]byte, 0, least), most: most}
}
