package stagepost

import (
	"io"
	"strings"

	"github.com/stagepost/stagepost/sdk/go/internal/abi"
	"github.com/stagepost/stagepost/sdk/go/internal/cbor"
)

// Header is the value of the first field of that name, unfolded; "" and false if there is none. It is there from data on.
func (m Message) Header(name string) (value string, ok bool) { return m.HeaderAt(name, 1) }

// HeaderAt is the value of the n-th field of that name, counted from 1 at the top.
func (m Message) HeaderAt(name string, n int) (value string, ok bool) {
	raw, ok := headerField(name, n)
	return string(raw), ok
}

// HeaderField is a field of the header.
type HeaderField struct {
	Name  string
	Value string // unfolded
	Raw   string // as it stands there
}

// Headers are all fields of the header in order, or those of that name.
func (m Message) Headers(name string) []HeaderField {
	var list []HeaderField
	seen := map[string]int{}
	for i := 1; ; i++ {
		raw, ok := headerField("", i)
		if !ok {
			return list
		}
		f := HeaderField{Raw: string(raw)}
		f.Name, _, _ = strings.Cut(f.Raw, ":")
		f.Name = strings.TrimRight(f.Name, " \t")
		key := strings.ToLower(f.Name)
		if name != "" && !strings.EqualFold(name, f.Name) {
			continue
		}
		seen[key]++
		f.Value, _ = m.HeaderAt(f.Name, seen[key])
		list = append(list, f)
	}
}

// headerField asks for a field of the header; with an empty name for the n-th of all, as it stands there. What it returns is overwritten by
// what comes next.
func headerField(name string, n int) ([]byte, bool) {
	size := abi.Header(name, int32(n), room)
	if size > int32(len(room)) {
		room = make([]byte, size+size/2)
		size = abi.Header(name, int32(n), room)
	}
	switch {
	case size == ErrNone:
		return nil, false
	case size < 0:
		refuse(&Error{"header", int(size)})
	}
	return room[:size], true
}

// Rewrite gives the message another body: what f returns for each piece of the old one, of at most 64 KiB; last is true for the last.
// A piece is overwritten by the next. It works at data, once in a handler, and counts when that returns without giving up. Needs
// edit = ["body"] and read = "body".
func (m Message) Rewrite(f func(chunk []byte, last bool) []byte) {
	edit(editRewrite, objectMessage, m.index, cbor.AppendText(nil, "begin"))
	content := m.Content()
	if content == nil {
		return
	}
	buf := make([]byte, 64<<10)
	for off, last := int64(m.BodyStart()), false; !last; {
		n, err := content.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			refuse(err)
		}
		off += int64(n)
		last = off >= int64(content.Size())
		for piece := f(buf[:n:n], last); len(piece) > 0; {
			part := piece[:min(len(piece), 1<<20)]
			if n := abi.ContentEmit(part); n < 0 {
				refuse(&Error{"content_emit", int(n)})
			}
			piece = piece[len(part):]
		}
	}
	edit(editRewrite, objectMessage, m.index, cbor.AppendText(nil, "end"))
}

// ReadAt reads from the content; it implements [io.ReaderAt].
func (c Content) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		got := abi.ContentRead(c.index, off+int64(n), p[n:min(len(p), n+1<<20)])
		switch {
		case got < 0:
			return n, &Error{"content_read", int(got)}
		case got == 0:
			return n, io.EOF
		}
		n += int(got)
	}
	return n, nil
}

// Read is at most n bytes from off; none at the end. What the server refuses ends the handler.
func (c Content) Read(off int64, n int) []byte {
	p := make([]byte, max(0, min(int64(n), int64(c.Size())-off)))
	got, err := c.ReadAt(p, off)
	if err != nil && err != io.EOF {
		refuse(err)
	}
	return p[:got]
}

// Chunks ranges over the content in pieces of at most n bytes; 0 is 65,536. A piece is overwritten by the next.
func (c Content) Chunks(n int) func(yield func([]byte) bool) {
	if n <= 0 {
		n = 64 << 10
	}
	return func(yield func([]byte) bool) {
		buf := make([]byte, n)
		for off := int64(0); ; {
			got, err := c.ReadAt(buf, off)
			if err != nil && err != io.EOF {
				refuse(err)
			}
			if got == 0 || !yield(buf[:got:got]) {
				return
			}
			off += int64(got)
		}
	}
}

// partsOf are the parts that a field counts.
func partsOf(object, index, id int32) []Part {
	list := make([]Part, intField(object, index, id))
	for i := range list {
		list[i].index = int32(i)
	}
	return list
}

// textContent is added to a part's number for its text in UTF-8.
const textContent = 1 << 16

// Text is the part's text in UTF-8. What is no text, or has more than 1 MiB, ends the handler. From data on; needs read = "body".
func (p Part) Text() string {
	text := Content{textContent + p.index + 1}
	return string(text.Read(0, text.Size()))
}

// Number is what services take the content by: HTTP.Request(map[string]any{"url": url, "body": content.Number()}) sends it without reading
// it into the plugin's memory.
func (c Content) Number() int { return int(c.index) }

// Reader reads the content from its beginning.
func (c Content) Reader() io.Reader { return io.NewSectionReader(c, 0, int64(c.Size())) }
