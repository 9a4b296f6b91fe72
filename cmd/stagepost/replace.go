package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// replaceFile puts a file in the place of the one at a path, in one step: whoever reads it finds the old or the new one, whole, and so does
// who starts after a crash. It gets the owner and group of old, if there is one. The path must not be a link; the unfinished file lies in the
// same folder.
func replaceFile(path, unfinished string, text []byte, mode fs.FileMode, old fs.FileInfo) error {
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitTemporary, "%s exists: another command is writing the file, or was ended while it did; if none runs, delete it", unfinished)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil && old != nil {
		err = keepOwner(file, old)
	}
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(unfinished, path)
	}
	if err != nil {
		os.Remove(unfinished)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable. Windows has no way to, and needs none.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
