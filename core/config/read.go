package config

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ReadFile reads a regular file of bounded size: of a larger one it gives one byte more than most. What lies in a watched
// folder may be anything by the next look, so a pipe is not waited for, a device is not opened, and what was opened is looked
// at once more.
func ReadFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, err
	}
	f, err := openNonblock(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, most+1))
}

func regular(info fs.FileInfo) error {
	what := "something else"
	switch m := info.Mode(); {
	case m.IsRegular():
		return nil
	case m.IsDir():
		what = "a folder"
	case m&fs.ModeNamedPipe != 0:
		what = "a pipe"
	case m&fs.ModeDevice != 0:
		what = "a device"
	case m&fs.ModeSocket != 0:
		what = "a socket"
	}
	return fmt.Errorf("is not a regular file but %s", what)
}
