package generation

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/lua"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// setFiles are the files that settings of plugins name, by path, as they were read. What is a file is said by the plugin's manifest,
// but what looks like one is read before, so that all is read at one moment: one that cannot be read is a mistake only where it is one.
type setFiles map[string]setFile

type setFile struct {
	data []byte
	err  error
}

// pathsOf lists the files that settings of a plugin seem to name, by setting.
func pathsOf(cfg *config.Config, plugin string) map[string]string {
	all := map[string]string{}
	for setting, v := range cfg.Settings[plugin] {
		if text, ok := v.(string); ok {
			if path, ok := strings.CutPrefix(text, manifest.FilePrefix); ok && path != "" {
				all[setting] = pathFrom(cfg, path)
			}
		}
	}
	return all
}

func pathFrom(cfg *config.Config, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(cfg.File), path)
}

// readSetFiles reads them, and writes to h what tells that they changed.
func readSetFiles(cfg *config.Config, h io.Writer) setFiles {
	all := setFiles{}
	for _, plugin := range slices.Sorted(maps.Keys(cfg.Settings)) {
		paths := pathsOf(cfg, plugin)
		for _, setting := range slices.Sorted(maps.Keys(paths)) {
			path := paths[setting]
			if _, ok := all[path]; !ok {
				all[path] = readSetFile(path)
			}
			fmt.Fprintf(h, "\x00%s\x00%x\x00%v", path, sha256.Sum256(all[path].data), all[path].err)
		}
	}
	return all
}

func readSetFile(path string) setFile {
	data, err := config.ReadFile(path, maxFile)
	switch {
	case err != nil:
		return setFile{err: plain(err)}
	case len(data) > maxFile:
		return setFile{err: fmt.Errorf("it is larger than %d bytes, the most that is read", maxFile)}
	}
	return setFile{data: data}
}

// setFile is one of the files, as it was read.
func (b *builder) setFile(path string) setFile {
	if f, ok := b.files[path]; ok {
		return f
	}
	return readSetFile(path)
}

// fileKey is the part of the files by which a plugin is loaded.
func (b *builder) fileKey(plugin string) (key string) {
	paths := pathsOf(b.cfg, plugin)
	for _, setting := range slices.Sorted(maps.Keys(paths)) {
		f := b.setFile(paths[setting])
		key += fmt.Sprintf(" %q %x %v", setting, sha256.Sum256(f.data), f.err)
	}
	for _, setting := range slices.Sorted(maps.Keys(b.cfg.Settings[plugin])) {
		if _, ok := b.cfg.Settings[plugin][setting].(map[string]any); ok { // it may be told where it stands
			key += " " + b.cfg.Where("plugin", plugin, setting)
		}
	}
	return key
}

// fillFiles puts what stands in files in the place of their names.
func (b *builder) fillFiles(name string, man *manifest.Manifest, src *Source, settings manifest.Settings) error {
	paths := pathsOf(b.cfg, name)
	for i := range man.Config {
		s := &man.Config[i]
		if s.Type != manifest.File {
			continue
		}
		var tables map[string]any
		var err error
		path, written := paths[s.Name]
		switch v := settings[s.Name].(type) {
		case nil:
			continue
		case map[string]any:
			at := func(path ...string) (string, int) {
				e := b.cfg.Errorf(append([]string{"plugin", name, s.Name}, path...), "")
				return e.File, e.Line
			}
			tables, err = v, manifest.PlaceTables(v, at, config.Index)
		case string:
			switch f := b.setFile(path); {
			case written && f.err != nil:
				return b.cfg.Errorf([]string{"plugin", name, s.Name}, "%s cannot be read: %v", short(b.cfg, path), f.err)
			case written:
				tables, err = manifest.Tables(short(b.cfg, path), f.data)
			case v == "":
				delete(settings, s.Name)
				continue
			default:
				own := strings.TrimPrefix(v, manifest.FilePrefix)
				data, ok := src.Files[own]
				if !ok {
					return fmt.Errorf("%s:%d: config.%s: there is no file %s in the plugin's folder", man.File, s.Line, s.Name, own)
				}
				tables, err = manifest.Tables(own, data)
			}
		}
		if err != nil {
			return err
		}
		settings[s.Name] = tables
	}
	return nil
}

// placeFault is what a main chunk raises about a place in a file: error("rules.toml:12: ...").
var placeFault = regexp.MustCompile(`^([^\n]+?):([0-9]+): (.*)`)

// fileError puts the place of a file before what a main chunk says of it; ok is false where it says something else.
func (b *builder) fileError(man *manifest.Manifest, settings manifest.Settings, err error) (_ error, ok bool) {
	text, by := "", ""
	var inLua *lua.Error
	var inWasm *wasm.Error
	switch {
	case errors.As(err, &inLua):
		text, by = inLua.Message, fmt.Sprintf("%s:%d", inLua.File, inLua.Line)
	case errors.As(err, &inWasm):
		text, by = inWasm.Message, inWasm.File
	}
	m := placeFault.FindStringSubmatch(text)
	if m == nil {
		return err, false
	}
	for i := range man.Config {
		s := &man.Config[i]
		if tables, is := settings[s.Name].(map[string]any); is && s.Type == manifest.File && tables["file"] == m[1] {
			line, _ := strconv.Atoi(m[2])
			return config.Error{File: m[1], Line: line, Text: m[3] + " (said by " + by + ")"}, true
		}
	}
	return err, false
}
