package disk

import (
	"io"
	"os"
	"sync/atomic"

	"github.com/stagepost/stagepost/core/store"
)

// content is a complete content with its holders. The last one to close frees the buffer, and the slot or file.
type content struct {
	store   *Store
	size    int64
	err     error // what makes it incomplete
	holders atomic.Int32
	kept    atomic.Bool // committed, or perhaps committed: the slot or file stays when the holders go

	memory  bool   // the content is buf[head:]
	buf     []byte // behind room for a header, if head is not 0
	head    int
	class   int
	pooled  bool // buf belongs to a pool,
	counted bool // and counts against the budget

	out output // where it is on the disk, if it is; changed before the last holder closes only
}

// reader is one holder of a content.
type reader struct {
	content *content
	closed  atomic.Bool
}

func (r *reader) Size() int64 { return r.content.size }

func (r *reader) Bytes() []byte {
	if c := r.content; c.memory && c.err == nil {
		return c.buf[c.head : c.head+int(c.size)]
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
	if c.memory {
		return copy(p, r.Bytes()[off:]), end
	}
	n, err := c.out.file.ReadAt(p, fileHeader+off)
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
	if c.pooled {
		c.uncount()
		b := c.buf[:0]
		c.store.buffers[c.class].Put(&b)
	}
	if c.out.file == nil {
		return nil
	}
	return c.store.letGo(c.out, c.kept.Load())
}

// uncount gives the bytes of the buffer back to the budget.
func (c *content) uncount() {
	if c.counted {
		c.counted = false
		c.store.budget.Give(int64(bufferSizes[c.class]))
	}
}

// keep is called when the content is committed: it is no longer being received, and who holds on to it bounds how much of that there
// is. What is in memory is not read from its slot.
func (c *content) keep() {
	c.uncount()
	if c.memory && c.out.file != nil {
		out := c.out
		c.out = output{}
		c.store.letGo(out, true)
	}
}
