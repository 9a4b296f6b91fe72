package disk

import (
	"io"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// content is a complete content with its holders. The last one to close frees the buffer or the file.
type content struct {
	store   *Store
	name    store.ID // of the file
	size    int64
	err     error // what makes it incomplete
	holders atomic.Int32
	kept    atomic.Bool // committed, or perhaps committed: the file stays when the holders go

	buf    []byte
	class  int
	pooled bool // buf belongs to a pool and counts against the budget

	file vfs.File
}

// reader is one holder of a content.
type reader struct {
	content *content
	closed  atomic.Bool
}

func (r *reader) Size() int64 { return r.content.size }

func (r *reader) Bytes() []byte {
	if c := r.content; c.file == nil && c.err == nil {
		return c.buf
	}
	return nil
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	c := r.content
	switch {
	case r.closed.Load():
		return 0, os.ErrClosed
	case c.err != nil:
		return 0, c.err
	case off < 0:
		return 0, os.ErrInvalid
	case off >= c.size:
		return 0, io.EOF
	}
	var end error
	if rest := c.size - off; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	if c.file == nil {
		return copy(p, c.buf[off:]), end
	}
	n, err := c.file.ReadAt(p, fileHeader+off)
	if n == len(p) {
		err = end
	}
	return n, err
}

func (r *reader) Retain() store.BodyReader {
	r.content.holders.Add(1)
	return &reader{content: r.content}
}

func (r *reader) Close() error {
	if r.closed.Swap(true) || r.content.holders.Add(-1) > 0 {
		return nil
	}
	c := r.content
	if c.file == nil {
		if c.pooled {
			c.store.giveBack(c.class, c.buf)
		}
		return nil
	}
	err := c.file.Close()
	if !c.kept.Load() {
		c.store.files.forget(c.name)
	}
	c.store.files.release(c.name)
	return err
}
