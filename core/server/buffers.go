package server

import (
	"sync"
	"sync/atomic"
)

// Sizes of buffers: for commands and replies, and for content.
const (
	lineBuffer    = 4 << 10
	contentBuffer = 32 << 10
)

// buffers are lent to sessions while they have input or replies.
type buffers struct {
	lines    sync.Pool // of *[lineBuffer]byte
	contents sync.Pool // of *[contentBuffer]byte
	lent     atomic.Int64
}

// get lends a buffer of one of the two sizes.
func (b *buffers) get(size int) []byte {
	b.lent.Add(1)
	if size == contentBuffer {
		if p, ok := b.contents.Get().(*[contentBuffer]byte); ok {
			return p[:]
		}
	} else if p, ok := b.lines.Get().(*[lineBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, size)
}

// put takes a buffer back; nil is none.
func (b *buffers) put(p []byte) {
	if p == nil {
		return
	}
	b.lent.Add(-1)
	switch cap(p) {
	case lineBuffer:
		b.lines.Put((*[lineBuffer]byte)(p[:lineBuffer]))
	case contentBuffer:
		b.contents.Put((*[contentBuffer]byte)(p[:contentBuffer]))
	}
}
