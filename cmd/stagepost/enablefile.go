package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/stagepost/stagepost/core/config"
)

// enableChange is a change of `enable` in a stagepost.toml, which can be taken back. Only who holds the lock of the plugins makes one.
type enableChange struct {
	file     string // without links
	info     fs.FileInfo
	old, new []byte
	names    []string // as the list becomes
}

// planEnable works out the change that puts names into the list or takes them out. Nothing is written. nil is that there is nothing to
// change; an error means that the file is better left to who wrote it.
func planEnable(file string, add, remove []string) (*enableChange, error) {
	path, err := filepath.EvalSymlinks(file) // a link stays one
	if err != nil {
		return nil, err
	}
	e := &enableChange{file: path}
	if e.info, err = os.Stat(path); err != nil {
		return nil, err
	}
	if e.old, err = config.Read(path); err != nil {
		return nil, err
	}
	if e.new, err = enableWithout(e.old, remove...); err == nil {
		e.new, err = enableWith(e.new, add...)
	}
	if err != nil || bytes.Equal(e.old, e.new) {
		return nil, err
	}
	cfg, err := config.Parse(file, e.new, config.Options{Hostname: os.Hostname})
	if err != nil {
		return nil, err
	}
	e.names = cfg.Plugins.Enable
	return e, nil
}

func (e *enableChange) write() error { return e.put(e.old, e.new) }

// undo puts the file back as it was.
func (e *enableChange) undo() error { return e.put(e.new, e.old) }

// put writes the file if it still is what it was.
func (e *enableChange) put(from, to []byte) error {
	now, err := config.Read(e.file)
	switch {
	case err != nil:
		return err
	case bytes.Equal(now, to):
		return nil
	case !bytes.Equal(now, from):
		return fmt.Errorf("%s was changed by somebody else meanwhile", e.file)
	}
	unfinished := filepath.Join(filepath.Dir(e.file), "."+filepath.Base(e.file)+".unfinished")
	os.Remove(unfinished) // of a command that was killed: another one that is alive holds the lock
	return replaceFile(e.file, unfinished, to, e.info.Mode().Perm(), e.info)
}

// byHand says what to write where the file is left alone.
func byHand(c *config.Config, add []string) string {
	names := slices.Clone(c.Plugins.Enable)
	for _, name := range add {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return "[plugins]\n" + enableLine(names)
}
