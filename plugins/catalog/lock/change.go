package lock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
)

// Change is a change of what is installed, from Begin to Close. Nobody else makes one meanwhile, so nobody should be asked anything.
type Change struct {
	file, data string
	found      []byte // the record as Begin found it; nil: there was none
	before     []byte // what it says, written anew
	lock       *Lock  // as it will be
	packages   map[string]*catalog.Package
	written    bool // folders may be there that the record does not name

	folder    *desk.Desk
	record    *desk.Desk // nil: the record cannot be written
	notWrites error      // why
}

// Begin begins a change of the record in file, and of the code below data. It waits a bounded time for a change that goes on, in this process
// or another, and says of which process it is.
//
// Where the record's own folder cannot be written to, what the record names can be unpacked, and Commit refuses to change the record.
func Begin(ctx context.Context, file, data string) (*Change, error) {
	return begin(ctx, file, data, desk.Options{})
}

// recordDesk is what the desk of the record is called.
const recordDesk = "plugins-change"

// Beside are the names of the record, and of what its changes keep in the same folder.
func Beside() []string {
	lock, note := desk.Files(recordDesk)
	return []string{Name, lock, note}
}

func begin(ctx context.Context, file, data string, o desk.Options) (_ *Change, err error) {
	c := &Change{file: file, data: data, packages: map[string]*catalog.Package{}}
	defer func() {
		if err != nil {
			c.Close()
			err = fmt.Errorf("what is installed cannot be changed: %w", err)
		}
	}()
	if real, err := filepath.EvalSymlinks(file); err == nil {
		c.file = real // the link stays
	}
	c.record, err = desk.Take(ctx, filepath.Dir(c.file), recordDesk, o)
	switch {
	case readOnly(err):
		c.notWrites = err
	case err != nil:
		return nil, err
	}
	if err := makeFolder(Folder(data)); err != nil {
		return nil, err
	}
	if c.folder, err = desk.Take(ctx, Folder(data), "change", o); err != nil {
		return nil, err
	}
	if c.lock, err = Read(file); err != nil {
		return nil, err
	}
	if c.found, err = config.ReadFile(file, config.MaxFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	c.before = c.lock.Encode()
	return c, nil
}

// makeFolder makes the folder for code, which others than its owner read; and the data folder, which they do not.
func makeFolder(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(dir, 0o755) // whatever the umask
	}
	return err
}

// Lock is what will be installed. It is not to be changed.
func (c *Change) Lock() *Lock { return c.lock }

// Put installs a package, as p says it came about; id, version and digest are the package's. Of a plugin that the record names already, it
// takes the place. Without needs in p, what the package asks for is what was accepted.
func (c *Change) Put(pkg *catalog.Package, p Plugin) error {
	s := pkg.Summary
	switch {
	case p.ID != "" && p.ID != s.ID, p.Version != "" && p.Version != s.Version:
		return fmt.Errorf("the package is %s %s, and not %s", s.ID, s.Version, p)
	case p.Digest != "" && p.Digest != pkg.Digest:
		return fmt.Errorf("the package of %s %s is %s, and not %s", s.ID, s.Version, pkg.Digest, p.Digest)
	}
	if _, err := pkg.Manifest(); err != nil {
		return err
	}
	p.ID, p.Version, p.Digest = s.ID, s.Version, pkg.Digest
	if p.Needs == nil {
		p.Needs = s.Needs
	}
	p.Needs = asWritten(p.Needs)
	next := c.without(p.ID)
	i, _ := slices.BinarySearchFunc(next, p.ID, byID)
	next = slices.Insert(next, i, p)
	// What is not read back as it was written is found out before anything happens.
	l, err := Parse(c.file, (&Lock{Plugins: next}).Encode())
	if err != nil {
		return fmt.Errorf("%s cannot be recorded: %w", p, err)
	}
	c.lock, c.packages[p.ID] = l, pkg
	return nil
}

// asWritten is what a package says of needs in the words of a manifest: a package says that kv is true, where a manifest says "own".
func asWritten(needs map[string]any) map[string]any {
	needs = maps.Clone(needs)
	for _, c := range capability.Capabilities() {
		if needs[c.Name] == true && c.Values != nil {
			needs[c.Name] = c.Values[0]
		}
	}
	return needs
}

// Remove takes a plugin out; it tells whether there was one.
func (c *Change) Remove(id string) bool {
	next := c.without(id)
	found := len(next) < len(c.lock.Plugins)
	c.lock = &Lock{Plugins: next}
	delete(c.packages, id)
	return found
}

func (c *Change) without(id string) []Plugin {
	return slices.DeleteFunc(slices.Clone(c.lock.Plugins), func(p Plugin) bool { return p.ID == id })
}

// Commit unpacks what was put, then writes the record. If it fails, the record is as it was. Folders that the record does not name go when
// the change is closed.
func (c *Change) Commit(ctx context.Context) error {
	text := c.lock.Encode()
	changed := !bytes.Equal(text, c.before)
	if changed && c.record == nil {
		return fmt.Errorf("%s cannot be changed: %w", c.file, c.notWrites)
	}
	c.written = true
	if len(c.packages) > 0 { // the folder of all code may be new, where one can be made
		if err := c.folder.Sync(filepath.Dir(c.folder.Dir)); err != nil && !readOnly(err) {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.packages)) {
		p, _ := c.lock.Plugin(id)
		if _, err := p.Files(c.data); err == nil {
			continue
		}
		if err := c.folder.WriteFolder(ctx, filepath.Join(c.folder.Dir, p.folder()), c.packages[id].Files); err != nil {
			return fmt.Errorf("%s cannot be unpacked into %s: %w", p, Folder(c.data), err)
		}
	}
	if changed {
		if err := c.record.WriteData(c.file, text); err != nil {
			return fmt.Errorf("%s cannot be written: %w", c.file, err)
		}
	}
	c.before, c.packages = text, map[string]*catalog.Package{}
	return nil
}

// Undo puts the record back as Begin found it, after a Commit whose outcome nobody wants. The code that it names is still there.
func (c *Change) Undo(context.Context) error {
	l, err := Parse(c.file, c.found)
	if err != nil {
		return err
	}
	switch text := c.lock.Encode(); {
	case bytes.Equal(text, l.Encode()):
		return nil
	case c.record == nil:
		return fmt.Errorf("%s cannot be changed: %w", c.file, c.notWrites)
	case c.found == nil:
		if err = c.record.Remove(c.file); err == nil {
			err = c.record.Sync(c.record.Dir)
		}
	default:
		err = c.record.WriteData(c.file, c.found)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be put back: %w", c.file, err)
	}
	c.lock, c.before, c.packages = l, l.Encode(), map[string]*catalog.Package{}
	return nil
}

// sweep takes away the folders that the record does not name, as it lies there now. What cannot be taken away, the next change may, and
// nobody loads it.
func (c *Change) sweep() {
	l, err := Read(c.file)
	if err != nil {
		return
	}
	left, _, err := l.Strangers(c.data)
	if err != nil {
		return
	}
	for _, name := range left {
		c.folder.Remove(filepath.Join(c.folder.Dir, name))
	}
}

// Close ends the change; what was not committed did not happen.
func (c *Change) Close() {
	if c.written {
		c.sweep()
	}
	if c.folder != nil {
		c.folder.Leave()
	}
	if c.record != nil {
		c.record.Leave()
	}
	c.folder, c.record = nil, nil
}
