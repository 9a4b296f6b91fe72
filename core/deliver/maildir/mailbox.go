package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// mailbox is an open Maildir.
type mailbox struct {
	*Carrier
	path          string // below the root, for people
	dir           *os.Root
	tmp, new, cur *os.Root
}

// open opens the folder of a recipient, or makes it.
func (c *Carrier) open(root *os.Root, path string) (*mailbox, error) {
	at := root
	for name := range strings.SplitSeq(path, "/") {
		next, err := c.enter(at, name)
		if at != root {
			at.Close()
		}
		if err != nil {
			return nil, err
		}
		at = next
	}
	box := &mailbox{Carrier: c, path: path, dir: at}
	for _, sub := range []struct {
		name string
		into **os.Root
	}{{"tmp", &box.tmp}, {"new", &box.new}, {"cur", &box.cur}} {
		r, err := c.enter(at, sub.name)
		if err != nil {
			box.close()
			return nil, err
		}
		*sub.into = r
	}
	return box, nil
}

func (b *mailbox) close() {
	for _, r := range []*os.Root{b.dir, b.tmp, b.new, b.cur} {
		if r != nil {
			r.Close()
		}
	}
}

// write makes a file and lets readers see it. After an error there is none, or nobody knows: the next attempt looks.
func (b *mailbox) write(name string, fill func(*os.File) error) (err error) {
	if err := b.tmp.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an attempt that a crash ended
		return err
	}
	f, err := b.tmp.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err2 := b.tmp.Remove(name); err == nil && err2 != nil && !errors.Is(err2, fs.ErrNotExist) {
			err = err2 // a second link to the file; the message is there, which the next attempt finds
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := b.o.sync(f); err != nil { // never twice: what it lost counts as written
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	final := fmt.Sprintf("new/%s,S=%d", name, info.Size())
	err = b.dir.Link("tmp/"+name, final)
	if unable := errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported); unable {
		if _, err = b.dir.Lstat(final); errors.Is(err, fs.ErrNotExist) { // a file system without links
			err = b.dir.Rename("tmp/"+name, final)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return b.settle()
}

// settle makes sure of the names in new.
func (b *mailbox) settle() error { return b.syncFolder(b.new) }

// holds looks for a file whose name begins so, wherever readers may have put it in this folder.
func (b *mailbox) holds(prefix string) (found bool, err error) {
	for _, r := range []*os.Root{b.new, b.cur} {
		err := names(r, func(e fs.DirEntry) (bool, error) {
			found = strings.HasPrefix(e.Name(), prefix)
			return !found, nil
		})
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// used is how many bytes the messages in the folder have, and those in the folders in it, which begin with a dot (Maildir++).
func (b *mailbox) used() (total int64, err error) {
	add := func(r *os.Root) error {
		return names(r, func(e fs.DirEntry) (bool, error) {
			size, ok := sizeIn(e.Name())
			if !ok {
				info, err := r.Lstat(e.Name())
				if errors.Is(err, fs.ErrNotExist) { // a reader moved or removed it
					return true, nil
				}
				if err != nil {
					return false, err
				}
				size = info.Size()
			}
			total += size
			return true, nil
		})
	}
	for _, r := range []*os.Root{b.new, b.cur} {
		if err := add(r); err != nil {
			return 0, err
		}
	}
	err = names(b.dir, func(e fs.DirEntry) (bool, error) {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), ".") {
			return true, nil
		}
		for _, sub := range []string{"/new", "/cur"} {
			r, err := b.dir.OpenRoot(e.Name() + sub)
			if err != nil { // no folder of messages, or a link that leads out
				continue
			}
			err = add(r)
			r.Close()
			if err != nil {
				return false, err
			}
		}
		return true, nil
	})
	return total, err
}

// sizeIn reads the size that stands in the name of a file.
func sizeIn(name string) (int64, bool) {
	_, rest, ok := strings.Cut(name, ",S=")
	if !ok {
		return 0, false
	}
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

// names looks at what lies in a folder, a few at a time, until do says no.
func names(r *os.Root, do func(fs.DirEntry) (more bool, err error)) error {
	f, err := r.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(512)
		for _, e := range list {
			if more, err := do(e); !more || err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
