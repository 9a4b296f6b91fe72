package idle

import (
	"sync"
	"sync/atomic"
)

// Sizes of buffers, in bytes: for commands and replies, and for content.
const (
	Line    = 4 << 10
	Content = 32 << 10
)

// Buffers are lent while there is input or output. It is safe for concurrent use; the zero value has none yet.
type Buffers struct {
	lines    sync.Pool // of *[Line]byte
	contents sync.Pool // of *[Content]byte
	lent     atomic.Int64
}

// Get lends a buffer of one of the two sizes.
func (b *Buffers) Get(size int) []byte {
	b.lent.Add(1)
	if size == Content {
		if p, ok := b.contents.Get().(*[Content]byte); ok {
			return p[:]
		}
	} else if p, ok := b.lines.Get().(*[Line]byte); ok {
		return p[:]
	}
	return make([]byte, size)
}

// Put takes a buffer back; nil is none.
func (b *Buffers) Put(p []byte) {
	if p == nil {
		return
	}
	b.lent.Add(-1)
	switch cap(p) {
	case Line:
		b.lines.Put((*[Line]byte)(p[:Line]))
	case Content:
		b.contents.Put((*[Content]byte)(p[:Content]))
	}
}

// Lent is how many are lent now.
func (b *Buffers) Lent() int64 { return b.lent.Load() }
