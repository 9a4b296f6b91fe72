package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Writers of a place wait for each other this long, and look this often.
const (
	lockWait = 30 * time.Second
	lockLook = 20 * time.Millisecond
)

// desk is where a place is written to, by one writer at a time. What is being written has names there that begin with a prefix, and gets its
// own when it is whole and synced.
type desk struct {
	dir, prefix string
	held        io.Closer
	moved       func(n int64) // is told what is written; nil: nobody is
}

// take keeps other writers, of this process and of others, from what is called name in dir until the desk is left; and takes away what one
// of them left unfinished, now that there is none. The file of the lock stays, and is free again when its process ends, however it ends.
func take(ctx context.Context, dir, name string) (*desk, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // within a process, the lock is known by its path
	}
	if err != nil {
		return nil, err
	}
	d := &desk{dir: dir, prefix: "." + name + ".unfinished-"}
	file := filepath.Join(dir, "."+name+".lock")
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", filepath.Base(file))
	}
	for began := time.Now(); ; {
		if d.held, err = vfs.Default.Lock(file); err == nil {
			break
		}
		if named := (*fs.PathError)(nil); errors.As(err, &named) { // it cannot be opened; a lock that is held is another error
			return nil, err
		}
		if time.Since(began) > lockWait {
			return nil, fmt.Errorf("another program has been writing there for %s: %w", lockWait, err)
		}
		select {
		case <-time.After(lockLook):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := d.sweep(); err != nil {
		d.leave()
		return nil, err
	}
	return d, nil
}

func (d *desk) leave() { d.held.Close() }

// sweep takes away what was left unfinished.
func (d *desk) sweep() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), d.prefix) {
			if err := os.RemoveAll(filepath.Join(d.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes a file and moves it to its place when it is whole and synced. Before, there is nothing at its place, or what was there.
func (d *desk) write(file string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(d.dir, d.prefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := fill(countedWriter{f, d.moved}); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

// countedWriter tells how much was written.
type countedWriter struct {
	io.Writer
	moved func(n int64)
}

func (c countedWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if c.moved != nil {
		c.moved(int64(n))
	}
	return n, err
}

// writeData is write of what is in memory.
func (d *desk) writeData(file string, data []byte) error {
	return d.write(file, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// syncFolder makes names in a folder durable. Windows has no way to, and needs none.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Unpack writes the plugin's files into a new folder NAME of parent, whole or not at all. What the package says of the plugin is held
// against the code before.
func (p *Package) Unpack(ctx context.Context, parent, name string) (err error) {
	if _, err := p.Manifest(); err != nil {
		return err
	}
	if err := p.unpack(ctx, parent, name); err != nil {
		return fmt.Errorf("%s %s cannot be unpacked into %s: %w", p.Summary.ID, p.Summary.Version, filepath.ToSlash(parent), err)
	}
	return nil
}

func (p *Package) unpack(ctx context.Context, parent, name string) (err error) {
	if why := badName(name); why != "" || strings.Contains(name, "/") {
		return fmt.Errorf("%s is no name for a folder", shown(name))
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	desk, err := take(ctx, parent, "unpack")
	if err != nil {
		return err
	}
	defer desk.leave()
	final := filepath.Join(parent, name)
	if _, err := os.Lstat(final); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("there is a %s already", name)
		}
		return err
	}
	temp, err := os.MkdirTemp(desk.dir, desk.prefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	folders := map[string]bool{temp: true}
	for file, text := range p.Files {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		full := filepath.Join(temp, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		for dir := filepath.Dir(full); dir != temp; dir = filepath.Dir(dir) {
			folders[dir] = true
		}
		if err := writeSynced(full, text); err != nil {
			return err
		}
	}
	for dir := range folders {
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return syncFolder(parent)
}

func writeSynced(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
