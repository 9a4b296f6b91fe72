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
)

// Bounds of what is read. They are far beyond what plugins need and keep a stray device or dump from being loaded.
const (
	maxPlugins = 1_000
	maxFile    = 1 << 20
	maxFiles   = 1_000     // in one plugin
	maxAll     = 128 << 20 // bytes, in all plugins
	maxFolders = 8         // how deep a plugin's folders go
)

// Source is one plugin as it was read: a single .lua file or a folder. It is never changed.
type Source struct {
	Name  string // file name without .lua, or the folder's name
	Label string // how messages call it: "plugins/vip.lua", "plugins/vip", "bundled/relay"
	Main  string // key in Files of the code: "vip.lua" or "init.lua"
	Files map[string][]byte
	From  string // "folder" or "bundled"
	Hash  [32]byte
}

// Path is how messages call one file of the plugin.
func (s *Source) Path(file string) string {
	if strings.HasSuffix(s.Label, ".lua") {
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

// readFolder reads every plugin of the watched folder, once. Messages call the folder label. A folder that is not there holds
// no plugins; one that cannot be read is an error.
func readFolder(dir, label string) ([]*Source, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the plugin folder cannot be read: %w", err)
	}
	var sources []*Source
	budget := int64(maxAll)
	for _, e := range entries {
		name := e.Name()
		if ignored(name) {
			continue
		}
		full := filepath.Join(dir, name)
		info, err := os.Stat(full) // through links: that is how containers swap folders
		if errors.Is(err, fs.ErrNotExist) {
			continue // went away since it was listed
		}
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", label, name, err)
		}
		s := &Source{Name: strings.TrimSuffix(name, ".lua"), Label: label + "/" + name, From: "folder", Files: map[string][]byte{}}
		switch {
		case info.IsDir():
			s.Main = "init.lua"
			if err := s.readTree(full, "", &budget); err != nil {
				return nil, err
			}
			if s.Files["init.lua"] == nil && s.Files["plugin.toml"] == nil {
				continue // a folder of something else
			}
			if s.Files["init.lua"] == nil {
				return nil, fmt.Errorf("%s: there is no init.lua beside plugin.toml", s.Label)
			}
		case strings.HasSuffix(name, ".lua"):
			s.Main = name
			data, err := readFile(full, s.Label, &budget)
			if err != nil {
				return nil, err
			}
			s.Files[name] = data
		default:
			continue
		}
		s.hash()
		if sources = append(sources, s); len(sources) > maxPlugins {
			return nil, fmt.Errorf("%s: more than %d plugins", label, maxPlugins)
		}
	}
	slices.SortFunc(sources, func(a, b *Source) int { return cmp.Compare(a.Label, b.Label) })
	return sources, nil
}

// ignored tells names that editors and systems leave behind.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~")
}

func (s *Source) readTree(dir, prefix string, budget *int64) error {
	if strings.Count(prefix, "/") > maxFolders {
		return fmt.Errorf("%s: folders are more than %d deep", s.Label, maxFolders)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Label, err)
	}
	for _, e := range entries {
		if ignored(e.Name()) || prefix == "" && e.Name() == "tests" {
			continue
		}
		full, rel := filepath.Join(dir, e.Name()), path.Join(prefix, e.Name())
		info, err := os.Stat(full)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Path(rel), err)
		}
		if info.IsDir() {
			if err := s.readTree(full, rel+"/", budget); err != nil {
				return err
			}
			continue
		}
		if !strings.HasSuffix(rel, ".lua") && rel != "plugin.toml" {
			continue
		}
		if len(s.Files) >= maxFiles {
			return fmt.Errorf("%s: more than %d files", s.Label, maxFiles)
		}
		if s.Files[rel], err = readFile(full, s.Path(rel), budget); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a regular file of bounded size. It looks at what was opened, so that nothing can be put in its place, and
// never waits for the writer of a pipe.
func readFile(name, label string, budget *int64) ([]byte, error) {
	f, err := openNonblock(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file (%s)", label, info.Mode().Type())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes, the most that is loaded", label, maxFile)
	}
	if *budget -= int64(len(data)); *budget < 0 {
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
		if strings.HasPrefix(p, "tests/") || !strings.HasSuffix(p, ".lua") && p != "plugin.toml" {
			return nil
		}
		s.Files[p], err = fs.ReadFile(fsys, p)
		return err
	})
	s.hash()
	return s, err
}
