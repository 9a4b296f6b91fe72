package lock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
)

// What keeps the code of an installed plugin from being loaded.
var (
	ErrMissing = errors.New("its code is not there")
	ErrChanged = errors.New("its code is not what was installed")
)

// again says how code comes back that the record names.
const again = "to get it again, run: stagepost plugin install"

// fault is one of the above with its whole line.
type fault struct {
	kind error
	line string
}

func (f *fault) Error() string { return f.line }
func (f *fault) Unwrap() error { return f.kind }

// Folder is where the code of installed plugins lies.
func Folder(data string) string { return filepath.Join(data, config.InstalledFolder) }

// folder is the name of the plugin's folder there.
func (p Plugin) folder() string { return p.ID + "@" + p.Digest.Encoded() }

// ours tells the names of folders of plugins.
var ours = regexp.MustCompile(`^[a-z][a-z0-9_-]*@[0-9a-f]{64}$`)

// Read reads the plugin's folder, as it is.
func (p Plugin) Read(data string) (map[string][]byte, error) {
	at := filepath.Join(Folder(data), p.folder())
	root, err := os.OpenRoot(Folder(data))
	if err == nil {
		defer root.Close()
		var info fs.FileInfo
		if info, err = root.Lstat(p.folder()); err == nil && !info.IsDir() {
			return nil, &fault{ErrChanged, fmt.Sprintf("%s: %s is no folder; %s", p, at, again)}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fault{ErrMissing, fmt.Sprintf("%s is in %s, and its code is not in %s; %s", p, Name, Folder(data), again)}
	}
	var files map[string][]byte
	if err == nil {
		var dir *os.Root
		if dir, err = root.OpenRoot(p.folder()); err == nil {
			defer dir.Close()
			files, err = catalog.ReadFS(dir.FS())
		}
	}
	if named := (*fs.PathError)(nil); errors.As(err, &named) { // the system's word: who runs the server may not read it, or the disk cannot
		return nil, fmt.Errorf("%s: %s cannot be read: %w", p, at, err)
	}
	if err != nil {
		return nil, &fault{ErrChanged, fmt.Sprintf("%s: %s is not what was installed: %v; %s", p, at, err, again)}
	}
	return files, nil
}

// Verify tells whether files are those of the plugin, and gives the package that they are.
func (p Plugin) Verify(data string, files map[string][]byte) (*catalog.Package, error) {
	pkg, err := catalog.Pack(p.ID, files)
	if err == nil && pkg.Digest != p.Digest {
		err = fmt.Errorf("its digest is %s", pkg.Digest)
	}
	if err == nil && (pkg.Summary.ID != p.ID || pkg.Summary.Version != p.Version) { // the record was edited
		err = fmt.Errorf("%s says that it is %s, version %s", p.pos, p.ID, p.Version)
	}
	if err != nil {
		why, _, _ := strings.Cut(err.Error(), "\n") // of many mistakes in the code one will do
		return nil, &fault{ErrChanged, fmt.Sprintf("%s: %s is not what was installed: %s; %s", p, filepath.Join(Folder(data), p.folder()), why, again)}
	}
	return pkg, nil
}

// Package reads the plugin's folder and gives the package that it is. Its digest is that of the record.
func (p Plugin) Package(data string) (*catalog.Package, error) {
	files, err := p.Read(data)
	if err != nil {
		return nil, err
	}
	return p.Verify(data, files)
}

// Files are those of the plugin's folder. They have the digest of the record.
func (p Plugin) Files(data string) (map[string][]byte, error) {
	pkg, err := p.Package(data)
	if err != nil {
		return nil, err
	}
	return pkg.Files, nil
}

// Strangers are the names in the folder of installed plugins that the record does not name: folders that a change left behind, which
// the next one takes away, and what others put there.
func (l *Lock) Strangers(data string) (left, foreign []string, err error) {
	entries, err := os.ReadDir(Folder(data))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	named := map[string]bool{}
	for _, p := range l.Plugins {
		named[p.folder()] = true
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case named[name] || name[0] == '.':
		case ours.MatchString(name):
			left = append(left, name)
		default:
			foreign = append(foreign, name)
		}
	}
	return left, foreign, nil
}
