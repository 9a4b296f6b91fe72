//go:build unix

package suspects

import (
	"errors"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// area is a file mapped into memory. It is never unmapped: what is in hand may outlast the queue by a little.
type area struct{ memory []byte }

func newArea(f *os.File, n int) (*area, error) {
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &area{memory}, err
}

var errFault = errors.New("the file cannot be written")

// put copies b to the place. The file was written whole, yet some file systems need space for each page once more, and have no
// other way to say that the disk is full, or broken, than a signal.
func (a *area) put(at int, b []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = errFault
		}
	}()
	copy(a.memory[at:], b)
	return nil
}
