package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
)

// Content is the part's bytes, decoded. Reading forwards costs each byte once; going back begins anew.
func (p *Part) Content() Content {
	if p.decoded == nil {
		p.decoded = &decoded{part: p, size: -1}
	}
	return p.decoded
}

// decoded is the content of a part. It may be read by several, one after the other.
type decoded struct {
	part *Part

	mu   sync.Mutex
	r    io.Reader
	pos  int64
	size int64 // -1: not known
}

func (p *Part) raw() io.Reader {
	return io.NewSectionReader(p.content, p.start, p.end-p.start)
}

func (d *decoded) Bytes() []byte { return nil }

// Size reads the part to its end, once. What cannot be read has none.
func (d *decoded) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.size < 0 {
		if d.part.Encoding == "" {
			d.size = d.part.Size()
		} else if n, err := io.Copy(io.Discard, d.part.decoder()); err == nil {
			d.size = n
		}
	}
	return max(d.size, 0)
}

// Skips is how many bytes are decoded for nothing when it is read next from off.
func (d *decoded) Skips(off int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.part.Encoding == "":
		return 0
	case d.r == nil || off < d.pos:
		return min(off, d.part.Size())
	}
	return min(off-d.pos, d.part.Size())
}

func (d *decoded) ReadAt(p []byte, off int64) (int, error) {
	if d.part.Encoding == "" {
		return io.NewSectionReader(d.part.content, d.part.start, d.part.Size()).ReadAt(p, off)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.r == nil || off < d.pos {
		d.r, d.pos = d.part.decoder(), 0
	}
	skipped, err := io.CopyN(io.Discard, d.r, off-d.pos)
	d.pos += skipped
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(d.r, p)
	d.pos += int64(n)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

func (p *Part) decoder() io.Reader {
	switch p.Encoding {
	case "base64":
		return &base64Reader{in: p.raw()}
	case "quoted-printable":
		return &quotedReader{in: p.raw()}
	}
	return p.raw()
}

// base64Reader decodes what is base64 and passes over the rest, as RFC 2045 section 6.8 has it. It ends at the first padding.
type base64Reader struct {
	in    io.Reader
	buf   [4 << 10]byte
	group [4]byte
	n     int // of group
	out   []byte
	ended bool
}

func (r *base64Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		n, err := r.in.Read(r.buf[:])
		r.out = r.out[:0]
		for _, c := range r.buf[:n] {
			if c == '=' {
				r.ended = true
				break
			}
			if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' {
				if r.group[r.n] = c; r.n == 3 {
					r.flush()
				} else {
					r.n++
				}
			}
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if r.ended = r.ended || err == io.EOF; r.ended {
			r.flush()
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// flush decodes the group; one letter alone is nothing.
func (r *base64Reader) flush() {
	n := r.n
	if !r.ended {
		n = 4
	}
	r.n = 0
	if n < 2 {
		return
	}
	var b [3]byte
	got, _ := base64.RawStdEncoding.Decode(b[:], r.group[:n]) // only letters of the alphabet are there; loose bits do not matter
	r.out = append(r.out, b[:got]...)
}

// quotedReader decodes quoted-printable, and lets stand what is none (RFC 2045 section 6.7).
type quotedReader struct {
	in    io.Reader
	buf   [4 << 10]byte
	hold  []byte // an escape that is not whole
	blank []byte // white space that may be at the end of a line
	out   []byte
	ended bool
}

func (r *quotedReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		n, err := r.in.Read(r.buf[:])
		r.out = r.out[:0]
		for _, c := range r.buf[:n] {
			r.take(c)
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if r.ended = err == io.EOF; r.ended {
			if len(r.hold) > 1 { // "=" at the very end is a soft line break
				r.out = append(r.out, r.hold...)
			}
			r.hold = nil
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *quotedReader) take(c byte) {
	switch {
	case len(r.hold) == 0 && c == '=':
		r.put()
		r.hold = append(r.hold, c)
	case len(r.hold) == 0 && isSpace(c) && len(r.blank) < 1000:
		r.blank = append(r.blank, c)
	case len(r.hold) == 0:
		if c == '\r' || c == '\n' {
			r.blank = r.blank[:0]
		}
		r.put()
		r.out = append(r.out, c)
	case c == '\n' && softBreak(r.hold):
		r.hold = r.hold[:0]
	case (c == '\r' || isSpace(c)) && softBreak(r.hold) && len(r.hold) < 1000:
		r.hold = append(r.hold, c)
	case len(r.hold) == 1 && isHex(c):
		r.hold = append(r.hold, c)
	case len(r.hold) == 2 && isHex(r.hold[1]) && isHex(c):
		r.out = append(r.out, unhex(r.hold[1])<<4|unhex(c))
		r.hold = r.hold[:0]
	default: // no escape
		r.out = append(r.out, r.hold...)
		r.hold = r.hold[:0]
		r.take(c)
	}
}

func (r *quotedReader) put() {
	r.out = append(r.out, r.blank...)
	r.blank = r.blank[:0]
}

// softBreak tells whether all behind the "=" may stand before a line end.
func softBreak(hold []byte) bool { return len(bytes.TrimRight(hold[1:], " \t\r")) == 0 }

// MaxPartText is how much text of a part is given at once.
const MaxPartText = 1 << 20

var errNoText = errors.New("the part is no text")

// Text is the part's text in UTF-8, of at most MaxPartText bytes. What is no character of its charset is U+FFFD; where the charset is not
// known, or none is given, it is UTF-8 if it can be, else windows-1252.
func (p *Part) Text() (string, error) {
	if p.text != nil {
		return *p.text, nil
	}
	if !p.MayBeText() {
		return "", fmt.Errorf("%w: it is %s; read its content", errNoText, p.Type)
	}
	b, err := io.ReadAll(io.LimitReader(p.decoder(), MaxPartText+1))
	if err != nil {
		return "", err
	}
	if len(b) > MaxPartText {
		return "", fmt.Errorf("the part has more than %d bytes of text; read its content in pieces", MaxPartText)
	}
	text := toUTF8(b, p.Charset)
	if len(text) > 3*MaxPartText {
		return "", fmt.Errorf("the part has more than %d bytes of text; read its content in pieces", 3*MaxPartText)
	}
	p.text = &text
	return text, nil
}

// toUTF8 makes valid UTF-8 of bytes in a charset.
func toUTF8(b []byte, charset string) string {
	if charset != "" && charset != "utf-8" && charset != "us-ascii" {
		if e, err := htmlindex.Get(charset); err == nil {
			if out, err := e.NewDecoder().Bytes(b); err == nil {
				return strings.ToValidUTF8(string(out), "\uFFFD")
			}
		}
	}
	if charset != "utf-8" && !utf8.Valid(b) {
		if e, err := htmlindex.Get("windows-1252"); err == nil {
			if out, err := e.NewDecoder().Bytes(b); err == nil {
				return string(out)
			}
		}
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
