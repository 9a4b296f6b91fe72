package lookup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/stagepost/stagepost/core/config"
)

// Source says where a table is.
type Source struct {
	Type string
	Path string
	Name string // how messages call the file
}

// Shelf keeps the tables that were read, so that each is read again only when its file changed. It is safe for concurrent use.
type Shelf struct {
	mu   sync.Mutex
	kept map[Source]*kept
}

// kept is what is known of one file.
type kept struct {
	info  fs.FileInfo // when it was last read
	read  time.Time
	last  Version // as it is, right or wrong
	right Version // the last that was right
}

// Version is a file as it was read once.
type Version struct {
	Hash  [32]byte // of its content
	Table *Table   // nil when something is wrong in it
	err   error
}

// settled is how old a change must be when a file is read for its time to tell the next one: some systems count in seconds.
const settled = 2 * time.Second

// Read gives the table of a file as it is now. What cannot be read at all is an error of package os, or like those; what is
// wrong in it has file and line, and a Version beside it whose hash tells whether it changed.
func (s *Shelf) Read(src Source) (Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[src]
	info, err := os.Stat(src.Path)
	if err != nil {
		return Version{}, reason(err)
	}
	if k != nil && os.SameFile(k.info, info) && k.info.Size() == info.Size() && k.info.ModTime().Equal(info.ModTime()) && k.read.Sub(info.ModTime()) > settled {
		return k.last, k.last.err
	}
	now := time.Now()
	data, err := config.ReadFile(src.Path, MaxFile)
	if err != nil {
		return Version{}, reason(err)
	}
	if k == nil {
		if s.kept == nil {
			s.kept = map[Source]*kept{}
		}
		k = &kept{}
		s.kept[src] = k
	}
	k.info, k.read = info, now
	switch hash := sha256.Sum256(data); {
	case hash == k.last.Hash:
	case hash == k.right.Hash:
		k.last = k.right
	default:
		k.last = Version{Hash: hash}
		if k.last.Table, k.last.err = Parse(src.Type, src.Name, data); k.last.err == nil {
			k.right = k.last
		}
	}
	return k.last, k.last.err
}

// Keep forgets the files that are not named.
func (s *Shelf) Keep(sources map[Source]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for src := range s.kept {
		if !sources[src] {
			delete(s.kept, src)
		}
	}
}

// reason takes the path out of an error, which the caller says better.
func reason(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return named.Err
	}
	return fmt.Errorf("it %w", err)
}
