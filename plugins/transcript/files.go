package transcript

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// maxFiles bounds the transcripts of one plugin.
const maxFiles = 200

// Where transcripts lie: in the folder of a plugin, and beside a plugin of one file, without .lua.
const (
	InFolder = "tests/*.transcript"
	Suffix   = ".transcript"
)

// Read reads the transcripts that match a pattern, in the order of their names. Messages call each by its path behind label.
// What is wrong in one does not keep the others from being read; the error is of all.
func Read(fsys fs.FS, pattern, label string) (files []*File, err error) {
	names, err := fs.Glob(fsys, pattern)
	if err != nil {
		return nil, err
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%s%s: more than %d transcripts", label, pattern, maxFiles)
	}
	var errs []error
	for _, name := range names {
		text, err := readFile(fsys, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", label, name, err))
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
