package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"
	"syscall"

	"github.com/stagepost/stagepost/core/store"
)

// maxInline is the largest content kept in Pebble. Above it a slot costs less than copying the content through log, memtable and
// compactions.
const maxInline = 32 << 10

// bufferSizes are the buffers content is taken into: what a message needs, within a factor of two, is what it holds of the
// budget. Up to maxInline a content waits for the budget. The larger ones are taken while half of it is free, so that they never
// stand in the way of others: a content that fits in one is written to the disk at once, when it is committed, and is delivered
// from memory; of a larger one they make larger writes. They begin with room for the header.
var bufferSizes = [...]int{4 << 10, 8 << 10, 16 << 10, maxInline, 64 << 10, 128 << 10, 256 << 10}

const inlineClass = 3 // of bufferSizes: the last one for content kept in Pebble

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errComplete = errors.New("store: content is complete, nothing can be written to it")

// writer takes a content: in a pooled buffer first, and on the disk when that is full.
type writer struct {
	store *Store
	ctx   context.Context
	id    store.ID // of the message
	name  store.ID // of a file of its own, if there is one; the id unless the content takes another's place
	hint  int64

	buf   []byte
	class int    // of buf in bufferSizes
	at    int64  // where the first byte of buf goes in out; 0: it is room for the header
	out   output // none while all is in buf
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

// Instead implements store.BodyWriter. What it writes to is its own, so neither content is ever in the other's way.
func (w *writer) Instead(ctx context.Context, sizeHint int64) (store.BodyWriter, error) {
	s := w.store
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	return s.body(ctx, w.id, s.ids.Next(), sizeHint)
}

func (s *Store) body(ctx context.Context, id, name store.ID, sizeHint int64) (*writer, error) {
	w := &writer{store: s, ctx: ctx, id: id, name: name, hint: sizeHint, at: fileHeader}
	for w.class < inlineClass && int64(bufferSizes[w.class]) < sizeHint {
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
			w.err = w.makeRoom()
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

// makeRoom takes a larger buffer, or writes what is in this one.
func (w *writer) makeRoom() error {
	next := w.class + 1
	switch s := w.store; {
	case w.out.file != nil || next == len(bufferSizes):
		return w.flush(1)
	case next <= inlineClass:
		if err := s.budget.Take(w.ctx, int64(bufferSizes[next])); err != nil {
			return err
		}
	default:
		for next < len(bufferSizes)-1 && int64(bufferSizes[next]) < w.hint+fileHeader {
			next++
		}
		if !s.budget.TryTake(int64(bufferSizes[next]), s.opts.BodyBudget/2) {
			return w.flush(1)
		}
	}
	old, content := w.buf, w.buf[fileHeader-w.at:]
	w.buf = w.store.buffer(next)
	if next > inlineClass {
		w.buf, w.at = w.buf[:fileHeader], 0
	}
	w.buf = append(w.buf, content...)
	w.store.giveBack(w.class, old)
	w.class = next
	return nil
}

// flush writes what is in the buffer, after which more bytes are known to come.
func (w *writer) flush(more int64) error {
	if w.at == 0 {
		clear(w.buf[:fileHeader]) // the header comes last
	}
	end := w.at + int64(len(w.buf))
	if end+more > w.out.room {
		if err := w.move(end + more); err != nil {
			return err
		}
	}
	if err := w.out.write(w.buf, w.at); err != nil {
		return err
	}
	w.at, w.buf = end, w.buf[:0]
	return nil
}

// move takes a place for a content of which end bytes are known, more if a size was announced. One that outgrows the class that
// it began in is copied to the next one, which costs no more than a part of writing what it had: classes are four to eight times
// as large, and what is copied is in memory still. It is safe because no record names either of the two, and nobody reads what
// is not complete: the old slot is free again at once.
func (w *writer) move(end int64) error {
	s := w.store
	next, err := s.output(w.name, max(end, w.hint+fileHeader))
	if err != nil {
		return err
	}
	old := w.out
	if old.file != nil {
		if err := s.copyOutput(&next, &old, w.at); err != nil {
			s.letGo(next, false)
			return err
		}
		s.letGo(old, false)
	}
	w.out = next
	return nil
}

func (s *Store) copyOutput(to, from *output, end int64) error {
	piece := s.piece()
	defer s.pieces.Put(piece)
	for at := int64(fileHeader); at < end; at += pieceSize {
		p := piece[:min(pieceSize, end-at)]
		if n, err := from.file.ReadAt(p, at); n < len(p) {
			return beforeCommit("reading the content again", cmp.Or(err, io.ErrUnexpectedEOF))
		}
		if err := to.write(p, at); err != nil {
			return err
		}
	}
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
	c := &content{store: w.store, size: w.size}
	if w.out.file == nil {
		c.memory, c.buf, c.class, c.head, c.pooled, c.counted = true, w.buf, w.class, int(fileHeader-w.at), true, true
	} else {
		if w.err == nil {
			w.err = w.finish()
		}
		c.out = w.out
		w.store.giveBack(w.class, w.buf)
	}
	c.err = w.err
	c.holders.Store(1)
	w.buf = nil
	w.own = &reader{content: c}
	return w.own
}

// finish writes the rest of a content that is on the disk, and its header. Of a slot it writes whole pages, so that none has to
// be read first.
func (w *writer) finish() error {
	n := len(w.buf)
	end := w.at + int64(n)
	if end > w.out.room {
		if err := w.move(end); err != nil {
			return err
		}
	}
	if whole := n + int(pages(end)-end); w.out.slot != nil && whole <= cap(w.buf) {
		w.buf = w.buf[:whole]
		clear(w.buf[n:])
	}
	if err := w.flush(0); err != nil {
		return err
	}
	return w.out.write(appendHeader(nil, w.out.name, w.id, w.size, w.crc), 0)
}

// persist makes a content durable that does not go into Pebble.
func (w *writer) persist(c *content) error {
	if c.memory {
		if err := w.spill(c); err != nil {
			return err
		}
	}
	return w.store.syncOutput(&c.out)
}

// spill writes a content that is complete in memory.
func (w *writer) spill(c *content) (err error) {
	n := fileHeader + c.size
	if c.out, err = w.store.output(w.name, n); err != nil {
		return err
	}
	b := c.buf[:n]
	if c.out.slot != nil {
		b = c.buf[:pages(n)]
		clear(b[n:])
	}
	appendHeader(b[:0], c.out.name, w.id, c.size, w.crc)
	return c.out.write(b, 0)
}

// Abort implements store.BodyWriter.
func (w *writer) Abort() { w.complete().Close() }
