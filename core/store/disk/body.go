package disk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/store"
)

// maxInline is the largest content kept in Pebble. Above it one file a message costs less than copying the content through
// log, memtable and compactions.
const maxInline = 32 << 10

// bufferSizes are the buffers content is taken into: what a message needs, within a factor of two, is what it holds of the
// budget. The last one also collects what goes to a file.
var bufferSizes = [...]int{4 << 10, 8 << 10, 16 << 10, maxInline}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errComplete = errors.New("store: content is complete, nothing can be written to it")

// writer takes a content: in a pooled buffer first, from maxInline on in a file.
type writer struct {
	store *Store
	ctx   context.Context
	id    store.ID // of the message
	name  store.ID // of the file, if there is one; the id unless the content takes another's place

	buf   []byte
	class int // of buf in bufferSizes
	file  vfs.File
	size  int64
	crc   uint32
	err   error // what makes the content incomplete

	own       *reader     // once complete
	committed atomic.Bool // or being committed
}

// Body implements store.Store.
func (s *Store) Body(ctx context.Context, sizeHint int64) (store.BodyWriter, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	id := s.ids.Next()
	return s.body(ctx, id, id, sizeHint)
}

// Instead implements store.BodyWriter. The file has a name of its own, so neither content is ever in the other's way.
func (w *writer) Instead(ctx context.Context, sizeHint int64) (store.BodyWriter, error) {
	s := w.store
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	return s.body(ctx, w.id, s.ids.Next(), sizeHint)
}

func (s *Store) body(ctx context.Context, id, name store.ID, sizeHint int64) (*writer, error) {
	w := &writer{store: s, ctx: ctx, id: id, name: name}
	for w.class < len(bufferSizes)-1 && int64(bufferSizes[w.class]) < sizeHint {
		w.class++
	}
	if err := s.budget.Take(ctx, int64(bufferSizes[w.class])); err != nil {
		return nil, err
	}
	w.buf = s.buffer(w.class)
	return w, nil
}

func (s *Store) buffer(class int) []byte {
	if b, ok := s.buffers[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, bufferSizes[class])
}

// giveBack returns a buffer to its pool and its bytes to the budget.
func (s *Store) giveBack(class int, b []byte) {
	s.buffers[class].Put(&b)
	s.budget.Give(int64(bufferSizes[class]))
}

func (w *writer) ID() store.ID { return w.id }

func (w *writer) Write(p []byte) (int, error) {
	if w.own != nil {
		return 0, errComplete
	}
	written := 0
	for w.err == nil && len(p) > 0 {
		if len(w.buf) == cap(w.buf) {
			if w.class < len(bufferSizes)-1 {
				w.err = w.grow()
			} else {
				w.err = w.flush()
			}
			continue
		}
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		w.crc = crc32.Update(w.crc, castagnoli, p[:n])
		w.size += int64(n)
		written += n
		p = p[n:]
	}
	return written, w.err
}

// grow moves the content to a buffer of the next size.
func (w *writer) grow() error {
	if err := w.store.budget.Take(w.ctx, int64(bufferSizes[w.class+1])); err != nil {
		return err
	}
	old := w.buf
	w.buf = append(w.store.buffer(w.class+1), old...)
	w.store.giveBack(w.class, old)
	w.class++
	return nil
}

// flush writes what is in the buffer to the file, which it makes the first time.
func (w *writer) flush() error {
	if w.file == nil {
		f, err := w.store.createFile(w.name)
		if err != nil {
			return beforeCommit("creating the body file", err)
		}
		w.file = f
		w.store.files.hold(w.name)
	}
	offset := w.size - int64(len(w.buf))
	if _, err := w.file.WriteAt(w.buf, fileHeader+offset); err != nil {
		return beforeCommit("writing the body file", err)
	}
	w.buf = w.buf[:0]
	return nil
}

// beforeCommit makes a failure with nothing durable yet into ErrFull or ErrBusy.
func beforeCommit(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %s: %w", store.ErrFull, what, err)
	}
	return fmt.Errorf("%w: %s: %w", store.ErrBusy, what, err)
}

// Content completes the content. A failure to write its rest shows when it is read or committed.
func (w *writer) Content() store.BodyReader { return w.complete() }

func (w *writer) complete() *reader {
	if w.own != nil {
		return w.own
	}
	c := &content{store: w.store, name: w.name, size: w.size}
	if w.file != nil && w.err == nil {
		if w.err = w.flush(); w.err == nil {
			if _, err := w.file.WriteAt(appendFileHeader(nil, w.id, w.name != w.id, w.size, w.crc), 0); err != nil {
				w.err = beforeCommit("writing the body file", err)
			}
		}
	}
	if w.file != nil {
		c.file = w.file
		w.store.giveBack(w.class, w.buf)
	} else {
		c.buf, c.class, c.pooled = w.buf, w.class, true
	}
	c.err = w.err
	c.holders.Store(1)
	w.buf = nil
	w.own = &reader{content: c}
	return w.own
}

// Abort implements store.BodyWriter.
func (w *writer) Abort() { w.complete().Close() }
