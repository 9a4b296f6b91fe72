package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/stagepost/stagepost/core/config"
)

// maxEntries bounds what is looked at in a plugin's folder.
const maxEntries = 20_000

// transcriptSuffix is how the tests of a plugin that is one file end; they lie beside it.
const transcriptSuffix = ".transcript"

// PackPath makes the package of the plugin at a path: a folder, or a single .lua file, which becomes the init.lua of a folder. The
// plugin's id is the name of the folder or file.
func PackPath(where string) (*Package, error) {
	label := filepath.ToSlash(filepath.Clean(where))
	info, err := os.Stat(where)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, plain(err))
	}
	abs, err := filepath.Abs(where) // of "." the name is wanted
	if err != nil {
		return nil, err
	}
	name, single := strings.CutSuffix(filepath.Base(abs), ".lua")
	var files map[string][]byte
	switch {
	case info.IsDir() && !single:
		root, err := os.OpenRoot(where)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", label, plain(err))
		}
		defer root.Close()
		if files, err = ReadFS(root.FS()); err != nil {
			return nil, fmt.Errorf("%s: %w", label, err)
		}
	case !info.IsDir() && single:
		if files, err = readSingle(abs, name); err != nil {
			return nil, fmt.Errorf("%s: %w", label, err)
		}
	default:
		return nil, fmt.Errorf("%s is no plugin: neither a .lua file nor a folder with %s or %s", label, luaFile, wasmFile)
	}
	return packNamed(label, name, files)
}

// PackFS makes the package of a plugin that is a folder, such as one that comes with the program.
func PackFS(name string, fsys fs.FS) (*Package, error) {
	files, err := ReadFS(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return packNamed(name, name, files)
}

func packNamed(label, name string, files map[string][]byte) (*Package, error) {
	p, err := Pack(label, files)
	if err == nil && p.Summary.ID != name {
		return nil, fmt.Errorf("%s: the plugin calls itself %q but lies in a file or folder named %q; the two must be the same", label, p.Summary.ID, name)
	}
	return p, err
}

// readSingle reads a plugin of one file, and the tests beside it.
func readSingle(file, name string) (map[string][]byte, error) {
	code, err := config.ReadFile(file, maxFile)
	if err != nil {
		return nil, plain(err)
	}
	files := map[string][]byte{luaFile: code}
	tests := name + transcriptSuffix
	switch text, err := config.ReadFile(filepath.Join(filepath.Dir(file), tests), maxFile); {
	case err == nil:
		files["tests/"+tests] = text
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", tests, plain(err))
	}
	return files, nil
}

// ReadFS reads what a package has of a plugin's folder, within the bounds of one. A link is an error: what it leads to may be anything, also what was never
// meant to be handed on.
func ReadFS(fsys fs.FS) (map[string][]byte, error) {
	files, seen, left := map[string][]byte{}, 0, int64(maxCode+maxTests+2*maxFile)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if seen++; seen > maxEntries {
			return fmt.Errorf("there are more than %d files and folders in it", maxEntries)
		}
		switch {
		case hidden(path.Base(name)) && d.IsDir():
			return fs.SkipDir
		case hidden(path.Base(name)):
			return nil
		case d.IsDir():
			return nil
		case !packed(name) && d.Type()&fs.ModeSymlink == 0: // a link may stand for a folder
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is no file of its own, but a link or something else; put the file itself there", shown(name))
		}
		if files[name], err = readBounded(fsys, name, most(name)); err != nil {
			return err
		}
		if left -= int64(len(files[name])); left < 0 {
			return errors.New("it holds more than a package can")
		}
		return nil
	})
	return files, err
}

// readBounded reads one file of a folder.
func readBounded(fsys fs.FS, name string, most int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes, the most of a package's file", shown(name), most)
	}
	return data, err
}

// plain takes the path out of an error whose message begins with a better one.
func plain(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return named.Err
	}
	return err
}
