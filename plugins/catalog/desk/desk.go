// Package desk writes what others read meanwhile: files and folders that are there whole or not at all, by one writer at a time.
//
// A desk belongs to one folder and one name. Who took it is the only writer of that name, among all processes of the machine, until it
// leaves; the lock is a file that stays, and is free again when its process ends, however it ends. What is being written lies in the same
// folder under a hidden name, and gets its own when every byte of it is synced, by one rename; then the folder is synced. So a process
// that is killed at any moment leaves the old or the new, and perhaps something hidden, which the next one to take the desk takes away.
package desk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/config"
)

// Writers of a place wait for each other this long, and look this often.
const (
	lockWait = 30 * time.Second
	lockLook = 20 * time.Millisecond
)

// piece is how much is written at once.
const piece = 64 << 10

// Step is asked before each thing that is done to files, and an error ends it there. It is for tests: a process that is killed does not
// tidy up either.
type Step func(op, path string) error

// Options are how a desk is taken. The zero value is fit for use.
type Options struct {
	Wait  time.Duration // for who has it; default 30 s
	Moved func(n int64) // is told of bytes as they are written; nil: nobody is
	Step  Step
}

// Desk is where one thing in a folder is written. It is used by one goroutine.
type Desk struct {
	Dir string // without links

	prefix, note string
	held         io.Closer
	moved        func(n int64)
	step         Step
}

// Files are the names of what a desk is kept with: the lock, which stays, and the note of who has it.
func Files(name string) (lock, note string) { return "." + name + ".lock", "." + name + ".holder" }

// Take keeps other writers, of this process and of others, from what is called name in dir until the desk is left; and takes away what one
// of them left unfinished, now that there is none.
func Take(ctx context.Context, dir, name string, o Options) (*Desk, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // within a process, the lock is known by its path
	}
	if err != nil {
		return nil, err
	}
	if o.Wait <= 0 {
		o.Wait = lockWait
	}
	file, note := Files(name)
	file = filepath.Join(dir, file)
	d := &Desk{Dir: dir, prefix: "." + name + ".unfinished-", note: filepath.Join(dir, note), moved: o.Moved, step: o.Step}
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", filepath.Base(file))
	}
	if err := d.do("lock", file, func() error { return nil }); err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		if d.held, err = vfs.Default.Lock(file); err == nil {
			break
		}
		if named := (*fs.PathError)(nil); errors.As(err, &named) { // it cannot be opened; a lock that is held is another error
			return nil, err
		}
		if time.Since(began) > o.Wait {
			return nil, &Busy{d.holder(), o.Wait}
		}
		select {
		case <-time.After(lockLook):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := d.begin(); err != nil {
		d.Leave()
		return nil, err
	}
	return d, nil
}

// Busy is the error when somebody else has a desk and does not leave it.
type Busy struct {
	Holder string // as the note says
	Waited time.Duration
}

func (b *Busy) Error() string {
	return fmt.Sprintf("%s has been writing there and did not end within %s; try again when it has", b.Holder, b.Waited)
}

// begin sweeps, and notes for those who wait whom they wait for.
func (d *Desk) begin() error {
	if err := d.sweep(); err != nil {
		return err
	}
	text := fmt.Sprintf("process %d, since %s", os.Getpid(), time.Now().Format(time.DateTime))
	return d.do("note", d.note, func() error {
		if info, err := os.Lstat(d.note); err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", filepath.Base(d.note))
		}
		return os.WriteFile(d.note, []byte(text), 0o644)
	})
}

// holder is whom the note names.
func (d *Desk) holder() string {
	text, err := config.ReadFile(d.note, 100)
	if err != nil || !strings.HasPrefix(string(text), "process ") || strings.ContainsFunc(string(text), func(r rune) bool { return r < ' ' || r > '~' }) {
		return "another program"
	}
	return string(text) + ","
}

// Leave lets the next one in.
func (d *Desk) Leave() {
	d.do("remove", d.note, func() error { return os.Remove(d.note) }) // it only informs
	d.held.Close()
}

func (d *Desk) do(op, path string, act func() error) error {
	if d.step != nil {
		if err := d.step(op, path); err != nil {
			return err
		}
	}
	return act()
}

// sweep takes away what was left unfinished.
func (d *Desk) sweep() error {
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), d.prefix) {
			if err := d.Remove(filepath.Join(d.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Write writes a file and moves it to its place when it is whole and synced. Before, there is nothing at its place, or what was there.
func (d *Desk) Write(file string, fill func(io.Writer) error) error {
	f, err := d.create(fill)
	if err != nil {
		return err
	}
	if err = d.move(f, file); err != nil {
		d.Remove(f)
	}
	return err
}

// create writes a synced file with a hidden name.
func (d *Desk) create(fill func(io.Writer) error) (name string, err error) {
	var f *os.File
	err = d.do("create", d.Dir, func() (err error) {
		f, err = os.CreateTemp(d.Dir, d.prefix)
		return err
	})
	if err != nil {
		return "", err
	}
	if err = d.fill(f, fill); err != nil {
		d.Remove(f.Name())
	}
	return f.Name(), err
}

// fill fills, syncs and closes a new file, which everybody may read: who installs need not be who runs the server.
func (d *Desk) fill(f *os.File, fill func(io.Writer) error) error {
	err := fill(writer{d, f})
	if err == nil {
		if err = f.Chmod(0o644); runtime.GOOS == "windows" {
			err = nil
		}
	}
	if err == nil {
		err = d.do("sync", f.Name(), f.Sync)
	}
	return errors.Join(err, f.Close())
}

// writer writes in pieces, between which it may be stopped.
type writer struct {
	desk *Desk
	file *os.File
}

func (w writer) Write(data []byte) (n int, err error) {
	for len(data) > 0 && err == nil {
		var done int
		err = w.desk.do("write", w.file.Name(), func() (err error) {
			done, err = w.file.Write(data[:min(piece, len(data))])
			return err
		})
		n, data = n+done, data[done:]
		if w.desk.moved != nil {
			w.desk.moved(int64(done))
		}
	}
	return n, err
}

// WriteData is Write of what is in memory.
func (d *Desk) WriteData(file string, data []byte) error {
	return d.Write(file, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFolder writes a new folder of files, whose names have slashes, and moves it to its place when all is whole and synced. What is
// there already goes, after the new one has been written.
func (d *Desk) WriteFolder(ctx context.Context, dir string, files map[string][]byte) (err error) {
	var temp string
	if temp, err = d.folder(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.Remove(temp)
		}
	}()
	folders := map[string]bool{temp: true}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		full := filepath.Join(temp, filepath.FromSlash(name))
		var missing []string
		for at := filepath.Dir(full); !folders[at]; at = filepath.Dir(at) {
			missing, folders[at] = append(missing, at), true
		}
		for _, at := range slices.Backward(missing) {
			if err := d.mkdir(at); err != nil {
				return err
			}
		}
		if err := d.writeNew(full, files[name]); err != nil {
			return err
		}
	}
	for _, at := range slices.Sorted(maps.Keys(folders)) {
		if err := d.Sync(at); err != nil {
			return err
		}
	}
	switch _, err := os.Lstat(dir); {
	case err == nil:
		aside, err := d.folder()
		if err != nil {
			return err
		}
		defer d.Remove(aside)
		if err := d.do("rename", dir, func() error { return os.Rename(dir, filepath.Join(aside, "old")) }); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.move(temp, dir)
}

// folder makes a folder with a hidden name.
func (d *Desk) folder() (name string, err error) {
	err = d.do("mkdir", d.Dir, func() (err error) {
		name, err = os.MkdirTemp(d.Dir, d.prefix)
		return err
	})
	if err == nil {
		if err = os.Chmod(name, 0o755); err != nil {
			d.Remove(name)
		}
	}
	return name, err
}

func (d *Desk) mkdir(dir string) error {
	if err := d.do("mkdir", dir, func() error { return os.Mkdir(dir, 0o755) }); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) // whatever the umask
}

func (d *Desk) writeNew(file string, text []byte) error {
	var f *os.File
	err := d.do("create", file, func() (err error) {
		f, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		return err
	})
	if err != nil {
		return err
	}
	return d.fill(f, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// move gives what is written its name, for good.
func (d *Desk) move(from, to string) error {
	if err := d.do("rename", to, func() error { return os.Rename(from, to) }); err != nil {
		return err
	}
	return d.Sync(filepath.Dir(to))
}

// Remove takes a file or folder away.
func (d *Desk) Remove(path string) error {
	return d.do("remove", path, func() error { return os.RemoveAll(path) })
}

// Sync makes names in a folder durable. Windows has no way to, and needs none.
func (d *Desk) Sync(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return d.do("syncdir", dir, func() error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// Rewrite gives a small file new content, one writer at a time, of this process and of others. change is told what is there, nil for no
// file, and gives what is to be there; nil leaves it as it is. The file is the old one or the new one, synced, whenever the power goes.
func Rewrite(ctx context.Context, file string, most int64, change func(old []byte) ([]byte, error)) error {
	dir, name := filepath.Split(file)
	if dir == "" {
		dir = "."
	}
	d, err := Take(ctx, dir, name, Options{})
	if err != nil {
		return err
	}
	defer d.Leave()
	old, err := config.ReadFile(file, most)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if int64(len(old)) > most {
		return fmt.Errorf("%s has more than %d bytes, the most that is read", name, most)
	}
	data, err := change(old)
	if err != nil || data == nil {
		return err
	}
	return d.WriteData(filepath.Join(d.Dir, name), data)
}
