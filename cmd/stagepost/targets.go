package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/generation"
	"github.com/stagepost/stagepost/plugins/transcript"
)

// target is a plugin that `plugin test` and `plugin lint` work on.
type target struct {
	source *generation.Source
	path   string // of its file or folder; "" when it came with the program
	config *config.Config
	files  fs.FS    // in which its tests lie
	label  string   // before their names
	tests  []string // names
}

// targets finds what the arguments name: plugins of the watched folder and those that came with the program by name, others by
// path; without arguments all of the watched folder.
func (a *app) targets(args []string) ([]*target, error) {
	var out []*target
	if len(args) > 0 {
		for _, arg := range args {
			t, err := a.target(arg)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
		return out, nil
	}
	c, err := a.configuration()
	if err != nil {
		return nil, err
	}
	if c.Plugins.Folder == "" {
		return nil, fail(exitConfig, "%s: no folder is watched; write folder = \"plugins\" under [plugins], or name a plugin", c.Where("plugins"))
	}
	sources, err := generation.ReadWatched(c)
	if err != nil {
		return nil, &failure{exitConfig, err}
	}
	for _, s := range sources {
		out = append(out, onDisk(s, filepath.Join(c.Plugins.Folder, filepath.Base(s.Label)), c))
	}
	return out, nil
}

func (a *app) target(arg string) (*target, error) {
	if strings.HasSuffix(arg, transcript.Suffix) {
		return a.ofTranscript(arg)
	}
	if strings.ContainsRune(arg, filepath.Separator) || strings.Contains(arg, "/") || strings.Contains(arg, ".") {
		return a.atPath(filepath.Clean(arg))
	}
	var known []string
	c, err := a.configuration()
	if err == nil && c.Plugins.Folder != "" {
		for _, name := range []string{arg, arg + ".lua"} {
			path := filepath.Join(c.Plugins.Folder, name)
			if _, err := os.Stat(path); err == nil {
				s, err := generation.Read(path, generation.Label(c)+"/"+name)
				if err != nil {
					return nil, &failure{exitConfig, err}
				}
				return onDisk(s, path, c), nil
			}
		}
		entries, _ := os.ReadDir(c.Plugins.Folder)
		for _, e := range entries {
			if name, isLua := strings.CutSuffix(e.Name(), ".lua"); isLua || e.IsDir() {
				known = append(known, name)
			}
		}
	}
	if slices.Contains(bundled.Names(), arg) {
		s, err := generation.ReadBundled(arg)
		if err != nil {
			return nil, err
		}
		files := bundled.Open(arg)
		return &target{source: s, config: c, files: files, label: s.Label + "/", tests: transcript.InFolder(files)}, nil
	}
	hint := ""
	if near := config.Nearest(arg, append(known, bundled.Names()...)); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	where := "no such one came with the program"
	if c != nil && c.Plugins.Folder != "" {
		where += ", and none lies in " + generation.Label(c)
	}
	return nil, fail(exitNoInput, "there is no plugin %q: %s%s", arg, where, hint)
}

// atPath is the plugin at a path. It has the settings of the configuration if it is that of the watched folder.
func (a *app) atPath(path string) (*target, error) {
	if name := filepath.Base(path); name == "." || name == ".." { // its name is wanted
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, fail(exitNoInput, "%w", err)
		}
		path = abs
	}
	s, err := generation.Read(path, filepath.ToSlash(path))
	if err != nil {
		if _, gone := os.Stat(path); errors.Is(gone, fs.ErrNotExist) {
			return nil, fail(exitNoInput, "%w", err)
		}
		return nil, &failure{exitConfig, err}
	}
	c, err := a.configuration()
	if err != nil || !sameFolder(filepath.Dir(path), c.Plugins.Folder) {
		c = nil
	}
	return onDisk(s, path, c), nil
}

func sameFolder(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// ofTranscript is the plugin that one transcript tests, with that test alone.
func (a *app) ofTranscript(file string) (*target, error) {
	file = filepath.Clean(file)
	if _, err := os.Stat(file); err != nil {
		return nil, fail(exitNoInput, "%w", err)
	}
	plugin := strings.TrimSuffix(file, transcript.Suffix) + ".lua"
	dir, name := filepath.Split(file)
	if abs, err := filepath.Abs(file); err == nil && filepath.Base(filepath.Dir(abs)) == "tests" {
		plugin = filepath.Join(dir, "..")
	}
	t, err := a.atPath(plugin)
	if err != nil {
		return nil, fmt.Errorf("the plugin that %s tests cannot be read: %w", file, err)
	}
	t.files, t.tests, t.label = os.DirFS(filepath.Clean(dir)), []string{name}, strings.TrimSuffix(filepath.ToSlash(file), name)
	return t, nil
}

// onDisk adds to a plugin where its tests lie.
func onDisk(s *generation.Source, path string, c *config.Config) *target {
	t := &target{source: s, path: path, config: c, label: s.Label + "/", files: os.DirFS(path)}
	if s.IsFolder() {
		t.tests = transcript.InFolder(t.files)
		return t
	}
	t.files, t.label = os.DirFS(filepath.Dir(path)), strings.TrimSuffix(s.Label, s.Main)
	if name := s.Name + transcript.Suffix; exists(t.files, name) {
		t.tests = []string{name}
	}
	return t
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}
