package memory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/stagepost/stagepost/core/store"
)

// body takes content; what it took of the budget goes back when the last holder closes.
type body struct {
	store     *Store
	ctx       context.Context
	id        store.ID
	content   *content
	own       *holder // the writer's; set by Content
	err       error
	committed bool
}

type content struct {
	bytes   []byte
	budget  *store.Budget
	holders atomic.Int32
}

// Body implements store.Store.
func (s *Store) Body(ctx context.Context, _ int64) (store.BodyWriter, error) {
	if err := s.budget.Take(ctx, 1); err != nil {
		return nil, err
	}
	s.budget.Give(1)
	c := &content{bytes: []byte{}, budget: s.budget}
	c.holders.Store(1)
	return &body{store: s, ctx: ctx, id: s.ids.Next(), content: c}, nil
}

func (b *body) ID() store.ID { return b.id }

func (b *body) Instead(ctx context.Context, sizeHint int64) (store.BodyWriter, error) {
	w, err := b.store.Body(ctx, sizeHint)
	if err != nil {
		return nil, err
	}
	w.(*body).id = b.id
	return w, nil
}

func (b *body) Write(p []byte) (int, error) {
	if b.own != nil {
		return 0, errors.New("store: content is complete, nothing can be written to it")
	}
	if b.err == nil {
		b.err = b.store.budget.Take(b.ctx, int64(len(p)))
	}
	if b.err != nil {
		return 0, b.err
	}
	b.content.bytes = append(b.content.bytes, p...)
	return len(p), nil
}

func (b *body) Content() store.BodyReader {
	if b.own == nil {
		b.own = &holder{content: b.content}
	}
	return b.own
}

func (b *body) Abort() { b.Content().Close() }

// Open implements store.Store.
func (s *Store) Open(_ context.Context, id store.ID) (store.BodyReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.msgs[id]
	if r == nil {
		return nil, store.ErrNotFound
	}
	c := &content{bytes: r.content}
	c.holders.Store(1)
	return &holder{content: c}, nil
}

// holder is one reference to a content.
type holder struct {
	content *content
	closed  atomic.Bool
}

func (h *holder) Size() int64   { return int64(len(h.content.bytes)) }
func (h *holder) Bytes() []byte { return h.content.bytes }

func (h *holder) ReadAt(p []byte, off int64) (int, error) {
	if h.closed.Load() {
		return 0, os.ErrClosed
	}
	return bytes.NewReader(h.content.bytes).ReadAt(p, off)
}

func (h *holder) Retain() store.BodyReader {
	h.content.holders.Add(1)
	return &holder{content: h.content}
}

func (h *holder) Close() error {
	if !h.closed.Swap(true) && h.content.holders.Add(-1) == 0 && h.content.budget != nil {
		h.content.budget.Give(int64(len(h.content.bytes)))
	}
	return nil
}

var _ io.ReaderAt = (*holder)(nil)
