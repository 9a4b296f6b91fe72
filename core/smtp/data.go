package smtp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// scan finds the longest start of b that can be passed on in one piece: it ends before the first CR that no LF is known
// to follow, after a CRLF before "." (a dot at the start of b is not looked at), or with b. bol tells that it ends with
// a CRLF; dirty, that it holds a bare LF or a NUL. n is 0 only when b starts with that CR.
//
// A line costs one search for its CR; bare LF and NUL are found by counting over the whole piece.
func scan(b []byte) (n int, bol, dirty bool) {
	lines := 0
	for {
		i := bytes.IndexByte(b[n:], '\r')
		if i < 0 {
			n = len(b)
			break
		}
		n += i
		if n+1 == len(b) || b[n+1] != '\n' {
			break
		}
		lines++
		n += 2
		if n == len(b) || b[n] == '.' {
			bol = true
			break
		}
	}
	dirty = bytes.Count(b[:n], []byte{'\n'}) != lines || bytes.IndexByte(b[:n], 0) >= 0
	return n, bol, dirty
}

// isStray tells whether octet i of a piece found by scan is a bare LF or a NUL.
func isStray(b []byte, i int) bool {
	return b[i] == 0 || b[i] == '\n' && (i == 0 || b[i-1] != '\r')
}

func findStray(b []byte) (int, FaultKind) {
	for i := range b {
		if !isStray(b, i) {
			continue
		}
		if b[i] == 0 {
			return i, NUL
		}
		return i, BareLF
	}
	return -1, 0
}

// DataReader is the content that follows the 354 reply to DATA, without dot-stuffing (RFC 5321 4.5.2). Only CRLF "."
// CRLF ends it, or "." CRLF at its start.
//
// After the first stray CR, LF or NUL, or octet above the size limit, nothing more is handed out, but the rest is read
// up to the true end, so that no part of the content is ever taken for a command. Then the error is a *Fault with the
// reply to give. It is Fatal when the rest was longer than allowed and the end was not reached.
type DataReader struct {
	r          *Reader
	max        int64
	maxDiscard int64
	size       int64 // octets of content so far
	bol        bool  // next octet starts a line
	chunk      []byte
	fault      *Fault
	err        error // how it ended
}

// Data returns a reader of the content that comes next. maxSize bounds it as RFC 1870 counts, without stuffed dots and
// final dot; maxDiscard bounds what is read after a fault. Lines may be of any length. The Reader must not be used for
// anything else before the content has ended with io.EOF or a *Fault.
func (r *Reader) Data(maxSize, maxDiscard int64) *DataReader {
	return &DataReader{r: r, max: maxSize, maxDiscard: maxDiscard, bol: true}
}

// Read reads content. The error is io.EOF after a message without fault.
func (d *DataReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(d.chunk) == 0 {
		chunk, err := d.next()
		if err != nil {
			return 0, err
		}
		d.chunk = chunk
	}
	n := copy(p, d.chunk)
	d.chunk = d.chunk[n:]
	return n, nil
}

// WriteTo writes the content without copying it in between. When w fails, the rest is still to be read: WriteTo
// io.Discard does that.
func (d *DataReader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(d.chunk) == 0 {
			if d.chunk, err = d.next(); err == io.EOF {
				return written, nil
			} else if err != nil {
				return written, err
			}
		}
		n, err := w.Write(d.chunk)
		written += int64(n)
		d.chunk = d.chunk[n:]
		if err == nil && len(d.chunk) > 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return written, err
		}
	}
}

// next returns the next piece of content, never empty, valid until the buffer is filled again.
func (d *DataReader) next() ([]byte, error) {
	for d.err == nil {
		b := d.r.buf[d.r.r:d.r.w]
		dot := d.bol && len(b) > 0 && b[0] == '.'
		switch {
		case dot && bytes.HasPrefix(b, []byte(".\r\n")):
			d.r.r += 3
			d.end()
		case dot && (len(b) > 2 || len(b) == 2 && b[1] != '\r'):
			d.r.r++ // the stuffed dot
			d.bol = false
		case dot || len(b) == 0 || len(b) == 1 && b[0] == '\r':
			if err := d.r.fill(); errors.Is(err, io.EOF) {
				return nil, io.ErrUnexpectedEOF
			} else if err != nil {
				return nil, err
			}
		default:
			n, bol, dirty := scan(b)
			bad, kind := -1, FaultKind(0)
			if n == 0 {
				n, bad, kind = 1, 0, BareCR
			} else if dirty {
				bad, kind = findStray(b[:n])
			}
			d.r.r += n
			d.bol = bol
			if clean := d.judge(b[:n], bad, kind); len(clean) > 0 {
				return clean, nil
			}
		}
	}
	return nil, d.err
}

// judge counts a piece whose first stray octet is at bad (-1 for none) and returns what of it may be handed out.
func (d *DataReader) judge(b []byte, bad int, kind FaultKind) (clean []byte) {
	start := d.size
	d.size += int64(len(b))
	if d.fault == nil {
		clean = b
		if bad >= 0 {
			clean = b[:bad]
		}
		if start+int64(len(clean)) > d.max {
			clean = clean[:d.max-start]
			d.fault = &Fault{Kind: TooBig, Offset: d.max, Reply: NewReply(552, "5.3.4", "message exceeds the size limit")}
		} else if bad >= 0 {
			d.fault = StrayFault(kind, start+int64(bad))
		}
	}
	if d.fault != nil && d.size-d.fault.Offset > d.maxDiscard {
		d.fault.Fatal = true
		d.r.fatal = d.fault
		d.err = d.fault
	}
	return clean
}

// StrayFault is the Fault of a content that holds such an octet at that offset.
func StrayFault(kind FaultKind, at int64) *Fault {
	return &Fault{Kind: kind, Offset: at, Reply: NewReply(550, "5.5.2",
		"message holds a "+kind.String()+" at octet "+strconv.FormatInt(at, 10)+", lines must end with CRLF")}
}

func (d *DataReader) end() {
	d.err = io.EOF
	if d.fault != nil {
		d.err = d.fault
	}
}

// DataWriter sends content after the 354 reply to DATA: it stuffs dots and ends the message. Whatever it is given, the
// wire holds no CR without LF, no LF without CR, no NUL, and one CRLF "." CRLF.
//
// A stray CR, LF or NUL is replaced by a space. Made a CRLF instead, it could turn the tail of a header field into a
// field of its own, or into the end of the header; and the size that MAIL declared would no longer be true. Content
// with LF line ends must be converted where it comes from; this is the last guard, not a converter.
type DataWriter struct {
	w      io.Writer
	bol    bool // next octet starts a line
	cr     bool // a CR waits for its LF
	strays int64
}

// NewDataWriter returns a writer of one message. It makes small writes where dots are stuffed: w should be buffered,
// and it is not flushed.
func NewDataWriter(w io.Writer) *DataWriter { return &DataWriter{w: w, bol: true} }

// Strays returns how many octets were replaced.
func (d *DataWriter) Strays() int64 { return d.strays }

// Write sends content, which may be cut anywhere. After an error the connection is of no use.
func (d *DataWriter) Write(p []byte) (int, error) {
	b := p
	if d.cr && len(b) > 0 {
		d.cr = false
		var err error
		if b[0] == '\n' {
			b = b[1:]
			d.bol = true
			_, err = io.WriteString(d.w, "\r\n")
		} else {
			err = d.stray()
		}
		if err != nil {
			return 0, err
		}
	}
	for len(b) > 0 {
		if d.bol && b[0] == '.' {
			if _, err := io.WriteString(d.w, "."); err != nil {
				return len(p) - len(b), err
			}
		}
		n, bol, dirty := scan(b)
		var err error
		switch {
		case n > 0:
			d.bol = bol
			if dirty {
				err = d.clean(b[:n])
			} else {
				_, err = d.w.Write(b[:n])
			}
		case len(b) == 1:
			n = 1
			d.cr = true
		default:
			n = 1
			err = d.stray()
		}
		if err != nil {
			return len(p) - len(b), err
		}
		b = b[n:]
	}
	return len(p), nil
}

// Close ends the message, with a CRLF if its last line has none. Not to call it is the only way to abandon a message
// that was begun; the connection must then be closed.
func (d *DataWriter) Close() error {
	if d.cr {
		d.cr = false
		if err := d.stray(); err != nil {
			return err
		}
	}
	end := "\r\n.\r\n"
	if d.bol {
		end = ".\r\n"
	}
	_, err := io.WriteString(d.w, end)
	return err
}

func (d *DataWriter) stray() error {
	d.strays++
	d.bol = false
	_, err := io.WriteString(d.w, " ")
	return err
}

// clean writes a piece found by scan with its strays replaced.
func (d *DataWriter) clean(b []byte) error {
	fixed := bytes.Clone(b)
	for i := range b {
		if isStray(b, i) {
			fixed[i] = ' '
			d.strays++
		}
	}
	_, err := d.w.Write(fixed)
	return err
}
