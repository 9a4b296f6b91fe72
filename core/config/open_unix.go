//go:build unix

package config

import (
	"os"
	"syscall"
)

// openNonblock opens a file for reading without waiting for the other end of a pipe.
func openNonblock(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}
