package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// HeaderLimits bound what a header may hold, as received and after edits.
type HeaderLimits struct {
	Bytes  int // all fields with their line ends
	Fields int
}

// DefaultHeaderLimits are far beyond what mail needs.
var DefaultHeaderLimits = HeaderLimits{Bytes: 256 << 10, Fields: 10_000}

// HeaderLimitError says which bound of a header was passed: 552 5.3.4 at the end of data.
type HeaderLimitError struct {
	Limit int
	Unit  string // "bytes" or "fields"
}

func (e *HeaderLimitError) Error() string {
	return fmt.Sprintf("message header has more than %d %s", e.Limit, e.Unit)
}

// Header is the header section of one content, with edits on top. Names are compared without regard to case and to white
// space before the colon (RFC 5322 section 4.5), lines end with LF, with or without CR before it, since that is what the
// most lenient reader behind us would see. The section ends at an empty line; it also ends, and counts as malformed, at a
// line that is neither a field nor the continuation of one.
//
// The bytes that came in are not copied and never changed, so a Header must not outlive the content it was read from. It
// belongs to one goroutine.
type Header struct {
	UTF8 bool // new values are written in raw UTF-8 (RFC 6532), for mail that came with SMTPUTF8; else as RFC 2047 words

	limits    HeaderLimits
	added     []rawField // on top, in the order of adding
	fields    []rawField // as they came in, less what was removed
	bytes     int        // of all fields
	end       int64      // offset in the content behind the last field that came in
	changed   bool       // a field that came in was replaced or removed
	malformed bool
	dangling  bool // the content begins with the continuation of a field that is not there
}

// rawField is a field as it is sent: name, colon, value, line end. Its first colon bytes are the name, with the white space
// that old mail may have before the colon.
type rawField struct {
	raw   []byte
	colon int
}

// Field is one header field as readers see it.
type Field struct {
	Name  string
	Value string // unfolded, without white space around it
	Raw   []byte // the whole field with its line ends, never to be changed
}

// ReadHeader reads the header of c. Of a content that is not in memory it reads no more than the limits allow and a little.
func ReadHeader(c Content, limits HeaderLimits) (*Header, error) {
	if b := c.Bytes(); b != nil || c.Size() == 0 {
		return ParseHeader(b, limits)
	}
	buf := make([]byte, 0, min(c.Size(), 8<<10))
	for {
		n, err := c.ReadAt(buf[len(buf):cap(buf)], int64(len(buf)))
		buf = buf[:len(buf)+n]
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		whole := int64(len(buf)) >= c.Size()
		if !whole && n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if whole || len(buf) > limits.Bytes+maxLine || endsHeader(buf) {
			return ParseHeader(buf, limits)
		}
		buf = slices.Grow(buf, min(cap(buf), int(c.Size())-len(buf)))
	}
}

// endsHeader tells whether an empty line is within b, so that no more of the content needs to be read.
func endsHeader(b []byte) bool {
	return bytes.Contains(b, []byte("\n\r\n")) || bytes.Contains(b, []byte("\n\n")) || bytes.HasPrefix(b, []byte("\r\n"))
}

// ParseHeader reads the header at the start of a content, or of as much of it as holds the header.
func ParseHeader(content []byte, limits HeaderLimits) (*Header, error) {
	h := &Header{limits: limits}
	pos := 0
	for pos < len(content) {
		line := content[pos:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		if isEmptyLine(line) {
			break
		}
		if isSpace(line[0]) && len(h.fields) > 0 {
			last := &h.fields[len(h.fields)-1]
			last.raw = content[pos-len(last.raw) : pos+len(line)]
		} else if colon := fieldColon(line); colon > 0 {
			if len(h.fields) == limits.Fields {
				return nil, &HeaderLimitError{limits.Fields, "fields"}
			}
			if h.fields == nil {
				h.fields = make([]rawField, 0, 24)
			}
			h.fields = append(h.fields, rawField{line, colon})
		} else {
			h.malformed, h.dangling = true, isSpace(line[0])
			break
		}
		if pos += len(line); pos > limits.Bytes {
			return nil, &HeaderLimitError{limits.Bytes, "bytes"}
		}
	}
	for i := range h.fields { // an append to one field must never reach into the next
		h.fields[i].raw = slices.Clip(h.fields[i].raw)
	}
	h.bytes, h.end = pos, int64(pos)
	return h, nil
}

func isEmptyLine(line []byte) bool {
	return line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// fieldColon returns where the colon of a field's first line is, or -1 when the line is none. The name is printable ASCII;
// white space between it and the colon is obsolete and read (RFC 5322 section 4.5.8).
func fieldColon(line []byte) int {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 || !validName(bytes.TrimRight(line[:colon], " \t")) {
		return -1
	}
	return colon
}

func validName[T string | []byte](name T) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return len(name) > 0
}

// Malformed tells whether something other than an empty line ended the header: mail without any header, or with a line in
// it that is no field. What follows counts as body here; other readers may see it differently.
func (h *Header) Malformed() bool { return h.malformed }

// Len is the number of fields.
func (h *Header) Len() int { return len(h.added) + len(h.fields) }

// Count is the number of fields of that name.
func (h *Header) Count(name string) int {
	n := 0
	for f := range h.all() {
		if f.is(name) {
			n++
		}
	}
	return n
}

// Get returns the unfolded value of the nth field of that name, counted from 0 at the top.
func (h *Header) Get(name string, n int) (value string, ok bool) {
	for f := range h.all() {
		if f.is(name) {
			if n == 0 {
				return f.value(), true
			}
			n--
		}
	}
	return "", false
}

// Fields returns the fields of that name from the top, or all of them for "".
func (h *Header) Fields(name string) []Field {
	var out []Field
	for f := range h.all() {
		if name == "" || f.is(name) {
			out = append(out, Field{Name: string(f.name()), Value: f.value(), Raw: f.raw})
		}
	}
	return out
}

func (h *Header) all() func(yield func(*rawField) bool) {
	return func(yield func(*rawField) bool) {
		for i := range h.added {
			if !yield(&h.added[i]) {
				return
			}
		}
		for i := range h.fields {
			if !yield(&h.fields[i]) {
				return
			}
		}
	}
}

func (f *rawField) name() []byte { return bytes.TrimRight(f.raw[:f.colon], " \t") }

func (f *rawField) is(name string) bool {
	if name == "" || f.colon < len(name) || lower(f.raw[0]) != lower(name[0]) {
		return false
	}
	own := f.name()
	if len(own) != len(name) {
		return false
	}
	for i := range own {
		if lower(own[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// value unfolds: line ends go, the white space that follows them stays (RFC 5322 section 2.2.3).
func (f *rawField) value() string {
	v := bytes.Trim(f.raw[f.colon+1:], " \t\r\n")
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	out := make([]byte, 0, len(v))
	for line := range bytes.Lines(v) {
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		if whole {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		out = append(out, line...)
	}
	return string(out)
}
