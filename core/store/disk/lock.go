package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const lockName = "lock"

// folderLock keeps a second server out of a data folder. Pebble's own lock belongs to the process and is lost when any part
// of it closes the file; this one belongs to the open file.
type folderLock struct{ f *os.File }

var errLocked = errors.New("locked")

func lockFolder(dir string) (*folderLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		defer f.Close()
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		text, _ := io.ReadAll(io.LimitReader(f, 32))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return nil, fmt.Errorf("%w (pid %d)", ErrInUse, pid)
		}
		return nil, ErrInUse
	}
	text := strconv.Itoa(os.Getpid()) + "\n"
	if err := f.Truncate(0); err == nil {
		f.WriteAt([]byte(text), 0) // for people only
	}
	return &folderLock{f}, nil
}

// release leaves the file, whose removal would open a race with somebody who just opened it.
func (l *folderLock) release() error {
	if l == nil {
		return nil
	}
	return l.f.Close()
}
