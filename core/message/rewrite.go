package message

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Draft is a content that is being written, to take the place of a message's content.
type Draft interface {
	io.Writer
	// Content is what was written; nothing may be written afterwards. A failure to keep it shows when it is read.
	Content() Content
	Use()   // it takes the place
	Abort() // gives it up; always safe
}

// Rewrite is a new body for a message in the making. The header that came in stands before it byte for byte, since what is edited in a
// header never touches the content (see Header); behind it is always an empty line, so nothing of the body can become a field.
//
// The body may come in pieces of any length. Lines end with CRLF, whatever they ended with: a CR or LF alone becomes a line end (RFC
// 5322 section 2.3), and the last line gets one (RFC 5321 section 4.1.1.4). NUL is an error. It is no value to be copied, and belongs to
// one goroutine.
type Rewrite struct {
	draft Draft
	from  int64 // where the body of the content before begins
	added int64 // octets by which the header grew
	most  int64
	size  int64

	buf    []byte
	cr     bool // the latest octet was a CR, whose line end is written
	inLine bool // the line has no end yet
	err    error
	done   bool

	composed *Composed
	subject  *string
}

const rewriteBuffer = 16 << 10

// NewRewrite begins a new body for content, whose header is h, to be written to what open gives; most is the size that the whole may
// have.
func NewRewrite(ctx context.Context, content Content, h *Header, open func(ctx context.Context, size int64) (Draft, error), most int64) (*Rewrite, error) {
	from, err := h.BodyStart(content)
	if err != nil {
		return nil, err
	}
	draft, err := open(ctx, content.Size())
	if err != nil {
		return nil, err
	}
	r := &Rewrite{draft: draft, from: from, most: most, buf: make([]byte, 0, rewriteBuffer)}
	if _, err := io.Copy(rawWriter{r}, io.NewSectionReader(content, 0, h.end)); err != nil {
		draft.Abort()
		return nil, err
	}
	if r.inLine { // nothing but fields came in, and the last has no line end
		r.put('\r', '\n')
		r.added, r.inLine = 2, false
	}
	if r.put('\r', '\n'); r.err != nil {
		draft.Abort()
		return nil, r.err
	}
	return r, nil
}

// rawWriter writes what is canonical already.
type rawWriter struct{ r *Rewrite }

func (w rawWriter) Write(p []byte) (int, error) {
	w.r.put(p...)
	w.r.inLine = len(p) > 0 && p[len(p)-1] != '\n'
	return len(p), w.r.err
}

// BodyStart is where the body of a content begins that h was read from: behind the empty line. Without a header it is 0.
func (h *Header) BodyStart(c Content) (int64, error) {
	if h == nil {
		return 0, nil
	}
	var next [2]byte
	n, err := c.ReadAt(next[:], h.end)
	switch {
	case err != nil && err != io.EOF:
		return 0, err
	case n > 0 && next[0] == '\n':
		return h.end + 1, nil
	case n == 2 && isEmptyLine(next[:]):
		return h.end + 2, nil
	}
	return h.end, nil
}

// From is where the body begins that is rewritten.
func (r *Rewrite) From() int64 { return r.from }

// Write takes a piece of the body. After an error it takes no more.
func (r *Rewrite) Write(p []byte) (int, error) {
	if r.done {
		return 0, errors.New("the new body was ended")
	}
	written := 0
	for len(p) > 0 && r.err == nil {
		if n := wholeLines(p); n > 0 {
			r.put(p[:n]...)
			r.inLine, r.cr = false, false
			p, written = p[n:], written+n
			continue
		}
		n := bytes.IndexAny(p, "\r\n\x00")
		if n < 0 {
			n = len(p)
		}
		r.put(p[:n]...)
		if n > 0 {
			r.inLine, r.cr = true, false
		}
		if n < len(p) {
			switch c := p[n]; {
			case c == 0:
				r.err = errors.New("the new body holds a NUL; encode what is not text")
			case c == '\r':
				r.put('\r', '\n')
				r.inLine, r.cr = false, true
			case r.cr: // the rest of a CRLF
				r.cr = false
			default:
				r.put('\r', '\n')
				r.inLine = false
			}
			n++
		}
		p, written = p[n:], written+n
	}
	return written, r.err
}

// wholeLines is how much of b is lines as they should be.
func wholeLines(b []byte) (n int) {
	for {
		line := b[n:]
		i := bytes.IndexByte(line, '\r')
		if i < 0 || i+1 == len(line) || line[i+1] != '\n' || bytes.IndexByte(line[:i], '\n') >= 0 || bytes.IndexByte(line[:i], 0) >= 0 {
			return n
		}
		n += i + 2
	}
}

func (r *Rewrite) put(p ...byte) {
	if r.size += int64(len(p)); r.err == nil && r.size > r.most {
		r.err = fmt.Errorf("the message would be larger than the %d bytes that are allowed", r.most)
	}
	for r.err == nil && len(p) > 0 {
		if len(r.buf) == cap(r.buf) {
			r.flush()
			continue
		}
		n := min(len(p), cap(r.buf)-len(r.buf))
		r.buf, p = append(r.buf, p[:n]...), p[n:]
	}
}

func (r *Rewrite) flush() {
	_, err := r.draft.Write(r.buf)
	r.err, r.buf = errors.Join(r.err, err), r.buf[:0]
}

// Close ends the body.
func (r *Rewrite) Close() error {
	if r.inLine {
		r.put('\r', '\n')
		r.inLine = false
	}
	if r.err == nil && !r.done {
		r.flush()
	}
	r.done = true
	if r.err == nil {
		_, r.err = r.draft.Content().ReadAt(nil, 0)
	}
	return r.err
}

// Compose writes the whole body: text, HTML or both; see Compose. A nil subject stays as it was.
func (r *Rewrite) Compose(subject, text, html *string) (err error) {
	if r.composed, err = Compose(text, html); err != nil {
		return err
	}
	r.subject = subject
	if _, err := r.Write(r.composed.body); err != nil {
		return err
	}
	return r.Close()
}

// EditHeader makes h that of a composed body.
func (r *Rewrite) EditHeader(h *Header) error { return h.setComposed(r.composed, r.subject) }

// Abort gives the new body up; always safe but after Use.
func (r *Rewrite) Abort() { r.draft.Abort() }

// Use puts the message in the place of the one before and returns its content and header: h with all edits, and nothing of the
// old content in it. It must have been closed without an error.
func (r *Rewrite) Use(h *Header) (Content, *Header) {
	h = h.Clone()
	h.own()
	h.end += r.added
	content := r.draft.Content()
	r.draft.Use()
	return content, h
}

// Ended tells whether all of it is written.
func (r *Rewrite) Ended() bool { return r.done && r.err == nil }

// own makes the header independent of the content that it was read from, and that of one whose header section has a proper end.
func (h *Header) own() {
	for i := range h.fields {
		f := &h.fields[i]
		if f.raw = slices.Clone(f.raw); !bytes.HasSuffix(f.raw, []byte("\n")) {
			f.raw = append(f.raw, "\r\n"...)
			h.bytes += 2
		}
	}
	h.malformed, h.dangling = false, false
}
