package generation

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// Bounds of what is watched.
const (
	maxWatch = 1_000 // folders
	maxLinks = 40    // on the way to one file, as Linux has it
)

// places are the folders that are watched for events. Folders, not files: an editor that saves puts a new file in the place of
// the one that a watch would hold on to.
//
// Of the folder of plugins and those in it, everything matters. Links lead elsewhere, and each link on the way may be swapped,
// as containers do to change all files at once: the folder where a link lies is watched for its name. So is the folder above
// each end, for when that is moved away and another one comes; and what does not exist is waited for where it would appear.
type places struct {
	w    *fsnotify.Watcher
	log  *slog.Logger
	dirs map[string]*place
	told bool // that there are too many
}

// place is one watched folder.
type place struct {
	all   bool            // every name matters that is not ignored
	names map[string]bool // these matter
	was   fs.FileInfo     // what the watch is on: another folder of the same name needs another watch
}

func newPlaces(w *fsnotify.Watcher, log *slog.Logger) *places {
	return &places{w: w, log: log, dirs: map[string]*place{}}
}

// matters tells whether an event may be a change.
func (p *places) matters(ev fsnotify.Event) bool {
	if p.dirs[ev.Name] != nil { // the folder itself
		return true
	}
	d, name := p.dirs[filepath.Dir(ev.Name)], filepath.Base(ev.Name)
	return d != nil && (d.names[name] || d.all && !ignored(name))
}

// follow watches the folders that matter now, and no others. It tells whether something may have changed of which no event tells: before
// the watch of a new one began, or since they were found.
func (p *places) follow(files []string, folder string) (more bool) {
	if p.w.Events == nil {
		return false
	}
	return p.take(find(files, folder))
}

func find(files []string, folder string) *finder {
	f := &finder{dirs: map[string]*place{}}
	for _, file := range files {
		f.end(file, 0)
	}
	if folder != "" {
		if real, info := f.end(folder, 0); info != nil && info.IsDir() {
			f.tree(real, 0)
		}
	}
	return f
}

// take is follow when they have been found.
func (p *places) take(f *finder) (more bool) {
	watched := p.w.WatchList()
	for name, d := range p.dirs {
		if f.dirs[name] == nil {
			p.w.Remove(name) // it may be gone by itself
		} else {
			f.dirs[name].was = d.was
		}
	}
	for name, d := range f.dirs {
		now, err := os.Stat(name)
		if err != nil {
			delete(f.dirs, name)
			more = more || errors.Is(err, fs.ErrNotExist) // gone since: what is there now is to be watched for another one
			continue
		}
		if d.was != nil && os.SameFile(d.was, now) && slices.Contains(watched, name) {
			continue
		}
		p.w.Remove(name)
		d.was = now
		if err := p.w.Add(name); err != nil {
			delete(f.dirs, name)
			more = more || errors.Is(err, fs.ErrNotExist)
			p.tell(name, err)
			continue
		}
		more = more || slices.Contains(p.w.WatchList(), name) // not so for another name of a folder that is watched
	}
	p.dirs = f.dirs
	return more
}

// tell says once that events are missing.
func (p *places) tell(name string, err error) {
	if p.told || errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.told = true
	p.log.Warn("a folder cannot be watched; changes in it are found by looking every "+slowLook.String(), "folder", name, "error", err)
}

// finder finds the folders that matter.
type finder struct{ dirs map[string]*place }

func (f *finder) place(dir string) *place {
	d := f.dirs[dir]
	if d == nil {
		d = &place{names: map[string]bool{}}
		if len(f.dirs) < maxWatch {
			f.dirs[dir] = d
		}
	}
	return d
}

// end goes along a path, from link to link. It gives the path without links, and nil where that ends early.
func (f *finder) end(path string, links int) (real string, info fs.FileInfo) {
	path, err := filepath.Abs(path)
	if err != nil {
		return path, nil
	}
	root := filepath.VolumeName(path) + string(filepath.Separator)
	parts := strings.Split(strings.TrimPrefix(path, root), string(filepath.Separator))
	at := root
	for i, part := range parts {
		next := filepath.Join(at, part)
		info, err = os.Lstat(next)
		if err != nil {
			f.place(at).names[part] = true
			return next, nil
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			f.place(at).names[part] = true
			to, err := os.Readlink(next)
			if err != nil || links == maxLinks {
				return next, nil
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(at, to)
			}
			return f.end(filepath.Join(append([]string{to}, parts[i+1:]...)...), links+1)
		}
		at = next
	}
	f.place(filepath.Dir(at)).names[filepath.Base(at)] = true
	return at, info
}

// tree takes a folder of plugins and what is in it.
func (f *finder) tree(dir string, depth int) {
	d := f.place(dir)
	if d.all || f.dirs[dir] != d || depth > maxFolders+1 {
		return
	}
	d.all = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if ignored(e.Name()) {
			continue
		}
		full := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			f.tree(full, depth+1)
		case e.Type()&fs.ModeSymlink != 0:
			if real, info := f.end(full, 0); info != nil && info.IsDir() {
				f.tree(real, depth+1)
			}
		}
	}
}
