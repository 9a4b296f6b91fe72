package generation

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog/lock"
	"github.com/stagepost/stagepost/plugins/template"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// Bounds of what is read. They are far beyond what plugins need and keep a stray device or dump from being loaded.
const (
	maxPlugins = 1_000
	maxFile    = 1 << 20
	maxModule  = 16 << 20  // a plugin.wasm
	maxFiles   = 1_000     // in one plugin
	maxAll     = 128 << 20 // bytes, in all plugins
	maxFolders = 8         // how deep a plugin's folders go
	maxEntries = 20_000    // looked at, in all folders: links may lead in circles
)

// budget is what may still be read.
type budget struct {
	bytes   int64
	entries int
}

// Source is one plugin as it was read: a single .lua file or a folder. It is never changed.
type Source struct {
	Name  string // file name without .lua, or the folder's name
	Label string // how messages call it: "plugins/vip.lua", "plugins/vip", "installed/vip", "bundled/relay"
	Main  string // key in Files of the code: "vip.lua", "init.lua" or "plugin.wasm"
	Files map[string][]byte
	From  string // "folder", "installed" or "bundled"
	Hash  [32]byte

	Locked *lock.Plugin // what the record says of an installed one
}

// IsFolder tells a plugin that is a folder from one that is a single file.
func (s *Source) IsFolder() bool { return !strings.HasSuffix(s.Label, ".lua") }

// IsWasm tells a plugin in WebAssembly from one in Lua.
func (s *Source) IsWasm() bool { return s.Main == wasm.File }

// Path is how messages call one file of the plugin.
func (s *Source) Path(file string) string {
	if !s.IsFolder() {
		return s.Label
	}
	return s.Label + "/" + file
}

func (s *Source) hash() {
	h := sha256.New()
	names := make([]string, 0, len(s.Files))
	for n := range s.Files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(s.Files[n])))
		io.WriteString(h, n)
		h.Write(size[:])
		h.Write(s.Files[n])
	}
	h.Sum(s.Hash[:0])
}

// errNoFolder: the plugin folder is not there.
var errNoFolder = errors.New("there is no such folder")

// readFolder reads every plugin of the watched folder, once. Messages call the folder label.
func readFolder(dir, label string) ([]*Source, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoFolder
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the plugin folder cannot be read: %w", label, plain(err))
	}
	var sources []*Source
	left := &budget{maxAll, maxEntries}
	for _, e := range entries {
		name := e.Name()
		if ignored(name) {
			continue
		}
		full, at := filepath.Join(dir, name), label+"/"+name
		info, err := look(full, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if info == nil {
			continue
		}
		s, err := readOne(full, at, info, left)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		if sources = append(sources, s); len(sources) > maxPlugins {
			return nil, fmt.Errorf("%s: more than %d plugins", label, maxPlugins)
		}
	}
	slices.SortFunc(sources, func(a, b *Source) int { return cmp.Compare(a.Label, b.Label) })
	return sources, nil
}

// readOne reads what lies at a place; nil is something else than a plugin.
func readOne(full, label string, info fs.FileInfo, left *budget) (_ *Source, err error) {
	name := filepath.Base(full)
	s := &Source{Name: strings.TrimSuffix(name, ".lua"), Label: label, Main: "init.lua", From: "folder", Files: map[string][]byte{}}
	switch {
	case info.IsDir() && s.Name != name:
		return nil, fmt.Errorf("%s: is a folder; a plugin that is a folder has no .lua in its name", s.Label)
	case info.IsDir():
		if err := s.readTree(full, "", left); err != nil {
			return nil, err
		}
		if len(s.Files) == 0 {
			return nil, nil
		}
		switch lua, code := s.Files["init.lua"] != nil, s.Files[wasm.File] != nil; {
		case lua && code:
			return nil, fmt.Errorf("%s: there are an init.lua and a %s in it; a plugin is one of them", s.Label, wasm.File)
		case code:
			s.Main = wasm.File
		case !lua:
			return nil, fmt.Errorf("%s: there is no init.lua in it, nor a %s; a folder here is a plugin, unless its name begins with a dot", s.Label, wasm.File)
		}
	case s.Name != name:
		s.Main = name
		if s.Files[name], err = readFile(full, s.Label, left); err != nil {
			return nil, err
		}
	default:
		return nil, nil
	}
	s.hash()
	return s, nil
}

// look tells what lies at a place, through links, since that is how containers swap files. It gives nil for what went away
// since it was listed. A link that leads nowhere is a mistake: somebody wants something to be there.
func look(full string, e fs.DirEntry) (fs.FileInfo, error) {
	info, err := os.Stat(full)
	switch {
	case err == nil:
		return info, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, plain(err)
	case e.Type()&fs.ModeSymlink == 0:
		return nil, nil
	}
	to, err := os.Readlink(full)
	if err != nil {
		return nil, nil
	}
	return nil, fmt.Errorf("the link leads nowhere: there is no %s", to)
}

// plain takes the path out of an error whose message begins with a better one.
func plain(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return named.Err
	}
	return err
}

// ignored tells names that editors and systems leave behind.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~")
}

func (s *Source) readTree(dir, prefix string, left *budget) error {
	if strings.Count(prefix, "/") > maxFolders {
		return fmt.Errorf("%s: folders are more than %d deep", s.Label, maxFolders)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", path.Join(s.Label, prefix), plain(err))
	}
	for _, e := range entries {
		if ignored(e.Name()) || prefix == "" && e.Name() == "tests" {
			continue
		}
		if left.entries--; left.entries < 0 {
			return fmt.Errorf("%s: more than %d files and folders; does a link in it lead in a circle?", s.Label, maxEntries)
		}
		full, rel := filepath.Join(dir, e.Name()), path.Join(prefix, e.Name())
		info, err := look(full, e)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Path(rel), err)
		}
		if info == nil {
			continue
		}
		if info.IsDir() {
			if err := s.readTree(full, rel+"/", left); err != nil {
				return err
			}
			continue
		}
		if !belongs(rel) && rel != wasm.File {
			continue
		}
		if len(s.Files) >= maxFiles {
			return fmt.Errorf("%s: more than %d files", s.Label, maxFiles)
		}
		if s.Files[rel], err = readFile(full, s.Path(rel), left); err != nil {
			return err
		}
	}
	return nil
}

// belongs tells the files in a plugin's folder that are read.
func belongs(file string) bool {
	return strings.HasSuffix(file, ".lua") || strings.HasSuffix(file, ".toml") || strings.HasPrefix(file, template.Folder)
}

// readFile reads one file of the folder within all bounds.
func readFile(name, label string, left *budget) ([]byte, error) {
	most := int64(maxFile)
	if filepath.Base(name) == wasm.File {
		most = maxModule
	}
	data, err := config.ReadFile(name, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, plain(err))
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s: is larger than %d bytes, the most that is loaded", label, most)
	}
	if left.bytes -= int64(len(data)); left.bytes < 0 {
		return nil, fmt.Errorf("%s: the plugin folder holds more than %d bytes", label, int64(maxAll))
	}
	return data, nil
}

// readFS reads one plugin out of an embedded folder.
func readFS(fsys fs.FS, name string) (*Source, error) {
	s := &Source{Name: name, Label: "bundled/" + name, Main: "init.lua", From: "bundled", Files: map[string][]byte{}}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(p, "tests/") || !belongs(p) {
			return nil
		}
		s.Files[p], err = fs.ReadFile(fsys, p)
		return err
	})
	s.hash()
	return s, err
}
