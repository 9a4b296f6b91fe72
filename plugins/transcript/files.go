package transcript

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/stagepost/stagepost/core/config"
)

// maxFiles bounds the transcripts of one plugin.
const maxFiles = 200

// Suffix is that of a transcript. Those of a plugin lie in tests/ of its folder; that of a plugin of one file, NAME.lua, lies
// beside it as NAME.transcript.
const Suffix = ".transcript"

// InFolder lists the transcripts of a plugin that is a folder.
func InFolder(plugin fs.FS) []string {
	names, err := fs.Glob(plugin, "tests/*"+Suffix)
	if err != nil {
		panic(err) // the pattern is right
	}
	return names
}

// Read reads transcripts. Messages call each by its name behind label. What is wrong in one does not keep the others from being
// read; the error is of all.
func Read(fsys fs.FS, label string, names ...string) (files []*File, err error) {
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%s%s: %d transcripts are too many; the most is %d", label, names[0], len(names), maxFiles)
	}
	var errs []error
	for _, name := range names {
		text, err := readFile(fsys, name)
		if err != nil {
			errs = append(errs, config.Error{File: label + name, Line: 1, Text: err.Error()})
			continue
		}
		f, err := Parse(label+name, text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		files = append(files, f)
	}
	return files, errors.Join(errs...)
}

// readFile reads a regular file, and no more of it than Parse takes.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}
