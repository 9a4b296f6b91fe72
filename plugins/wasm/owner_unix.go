//go:build unix

package wasm

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs tells whether a file is of the user that runs this process.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
