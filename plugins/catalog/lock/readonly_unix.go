//go:build unix

package lock

import (
	"errors"
	"io/fs"
	"syscall"
)

// readOnly tells a folder that this process may not write to.
func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
