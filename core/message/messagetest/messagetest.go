// Package messagetest has contents for tests: one that lies in memory, some that do not, one of any size that lies nowhere, and a draft that can be
// looked at.
package messagetest

import (
	"bytes"
	"io"
	"runtime"
	"strings"

	"github.com/stagepost/stagepost/core/message"
)

// Text is a content that lies in memory.
type Text string

// Size implements message.Content, as do Bytes and ReadAt.
func (t Text) Size() int64   { return int64(len(t)) }
func (t Text) Bytes() []byte { return []byte(t) }
func (t Text) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(t)).ReadAt(p, off)
}

// Stored is a content that does not lie in memory: it can only be read.
type Stored string

// Size implements message.Content, as do Bytes and ReadAt.
func (s Stored) Size() int64   { return int64(len(s)) }
func (s Stored) Bytes() []byte { return nil }
func (s Stored) ReadAt(p []byte, off int64) (int, error) {
	return strings.NewReader(string(s)).ReadAt(p, off)
}

// Short is a content of which the end cannot be read.
type Short struct{ Stored }

// Size is more than can be read.
func (s Short) Size() int64 { return s.Stored.Size() + 10 }

// Long is a content that is not in memory, however long it is: Head, and then Line again and again.
type Long struct {
	Head, Line string
	Lines      int
}

// Size implements message.Content, as do Bytes and ReadAt.
func (l *Long) Size() int64   { return int64(len(l.Head)) + int64(len(l.Line))*int64(l.Lines) }
func (l *Long) Bytes() []byte { return nil }
func (l *Long) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		switch at := off + int64(n); {
		case at >= l.Size():
			return n, io.EOF
		case at < int64(len(l.Head)):
			n += copy(p[n:], l.Head[at:])
		default:
			n += copy(p[n:], l.Line[(at-int64(len(l.Head)))%int64(len(l.Line)):])
		}
	}
	return n, nil
}

// Draft is a message.Draft. It counts what is written and keeps the first MiB of it.
type Draft struct {
	Written int64
	Used    bool // it took the place
	Gone    bool // it was given up
	kept    bytes.Buffer
}

// Write implements message.Draft, as do Content, Use and Abort.
func (d *Draft) Write(p []byte) (int, error) {
	d.Written += int64(len(p))
	d.kept.Write(p[:min(len(p), max(0, 1<<20-d.kept.Len()))])
	return len(p), nil
}
func (d *Draft) Content() message.Content { return Text(d.kept.String()) }
func (d *Draft) Use()                     { d.Used = true }
func (d *Draft) Abort()                   { d.Gone = true }

// String is what was kept.
func (d *Draft) String() string { return d.kept.String() }

var _ message.Draft = (*Draft)(nil)

// Watched is a content that looks, now and then when it is read, how much of the heap is in use after a collection.
type Watched struct {
	message.Content
	Before, Peak uint64 // bytes
	reads        int
}

// ReadAt implements message.Content.
func (w *Watched) ReadAt(p []byte, off int64) (int, error) {
	if w.reads%100 == 0 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if w.reads == 0 {
			w.Before = m.HeapAlloc
		}
		w.Peak = max(w.Peak, m.HeapAlloc)
	}
	w.reads++
	return w.Content.ReadAt(p, off)
}

// Grown is by how much the heap grew at most since the first read.
func (w *Watched) Grown() uint64 { return w.Peak - w.Before }
