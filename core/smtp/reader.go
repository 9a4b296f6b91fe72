package smtp

import (
	"bytes"
	"errors"
	"io"
)

// Defaults of a Reader. RFC 5321 4.5.3.1.4 wants 512 octets for a command line; extensions add to that.
const (
	DefaultMaxLine    = 2 << 10
	DefaultMaxDiscard = 64 << 10
)

// minBuffer holds what may have to wait for its next octet: ".CR" before a possible LF.
const minBuffer = 4

// FaultKind is what was wrong with the framing of what a peer sent.
type FaultKind uint8

const (
	BareLF   FaultKind = iota + 1 // LF without a CR before it
	BareCR                        // CR without a LF after it
	NUL                           // the octet 0
	LongLine                      // line above MaxLine
	TooBig                        // content above its limit
	BadReply                      // reply that breaks the grammar
)

// String returns the kind in words.
func (k FaultKind) String() string {
	switch k {
	case BareLF:
		return "bare LF"
	case BareCR:
		return "bare CR"
	case NUL:
		return "NUL"
	case LongLine:
		return "line too long"
	case TooBig:
		return "message too big"
	case BadReply:
		return "bad reply"
	}
	return "fault"
}

// Fault is the error for octets that break the framing.
type Fault struct {
	Kind   FaultKind
	Offset int64 // of the first octet at fault, in the line or in the content
	Fatal  bool  // nothing more can be read: send Reply, close the connection
	Reply  Reply
}

// Error returns the text of the reply.
func (f *Fault) Error() string { return f.Reply.Error() }

// Unwrap returns the reply, so that errors.As finds it.
func (f *Fault) Unwrap() error { return f.Reply }

// Reader reads lines and content from a connection. It needs a buffer while it reads: see Attach and Detach. It is
// used by one goroutine at a time. After an error of the connection, a passed deadline for instance, it may be asked
// again and goes on where it was.
type Reader struct {
	MaxLine    int // longest line, CRLF included; at most the size of the buffer counts
	MaxDiscard int // a line with more octets than this, CRLF included, ends the connection

	src     io.Reader
	buf     []byte
	r, w    int
	dropped int    // octets already dropped of a line that is too long
	tainted bool   // a bare LF came: all up to the next CRLF is an error
	fatal   *Fault // returned for ever
}

// NewReader returns a Reader without a buffer, with the default limits.
func NewReader(src io.Reader) *Reader {
	return &Reader{MaxLine: DefaultMaxLine, MaxDiscard: DefaultMaxDiscard, src: src}
}

// Attach gives the Reader, which must have nothing buffered, a buffer whose first n octets are input already read.
func (r *Reader) Attach(buf []byte, n int) {
	if len(buf) < minBuffer || r.Buffered() > 0 {
		panic("smtp: Attach needs a usable buffer and a Reader with nothing buffered")
	}
	r.buf, r.r, r.w = buf, 0, n
}

// Detach takes the buffer back. It returns nil, and the Reader keeps its buffer, while input is buffered.
func (r *Reader) Detach() []byte {
	if r.Buffered() > 0 {
		return nil
	}
	buf := r.buf
	r.buf, r.r, r.w = nil, 0, 0
	return buf
}

// Buffered returns how many octets were read from the connection and not used yet.
func (r *Reader) Buffered() int { return r.w - r.r }

// fill adds at least one octet to what is buffered. Slices of the buffer handed out before are no longer valid.
func (r *Reader) fill() error {
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil // an error that came with octets comes again
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// Octets returns up to max of the octets that are buffered, whatever they are, as used; valid until the buffer is filled again.
func (r *Reader) Octets(max int64) []byte {
	b := r.buf[r.r:r.w]
	b = b[:min(int64(len(b)), max)]
	r.r += len(b)
	return b
}

// ReadLine returns the next line without its CRLF; it is valid until the next call. Errors are a *Fault for a line that
// must not be executed, io.EOF at the end between two lines, io.ErrUnexpectedEOF within one, and what the connection
// returns. With a Fault comes the line that it is about, unless that was too long.
//
// Each LF draws exactly one line or one Fault, so a client that ends lines with LF alone is answered at once. After a
// bare LF the text up to the next CRLF, that one included, is a Fault as well: part of it may have been meant as
// something other than a command. A line that is too long is dropped and draws its Fault when it ends.
func (r *Reader) ReadLine() ([]byte, error) {
	if r.fatal != nil {
		return nil, r.fatal
	}
	for seen := 0; ; {
		b := r.buf[r.r:r.w]
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			r.r += seen + i + 1
			return r.endLine(b[:seen+i+1])
		}
		seen = len(b)
		if seen >= min(r.MaxLine, len(r.buf)) {
			// Its last octet stays: it may be the CR of the CRLF.
			r.dropped += seen - 1
			r.r += seen - 1
			seen = 1
		}
		if r.dropped+seen >= r.MaxDiscard {
			return nil, r.flood()
		}
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && r.dropped+seen > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// endLine judges a line that ends in LF, of which octets may have been dropped before.
func (r *Reader) endLine(b []byte) ([]byte, error) {
	size := r.dropped + len(b)
	long := r.dropped > 0 || size > r.MaxLine
	crlf := len(b) > 1 && b[len(b)-2] == '\r'
	tainted := r.tainted
	r.dropped, r.tainted = 0, !crlf
	if size > r.MaxDiscard {
		return nil, r.flood()
	}
	if !crlf {
		return b, lineFault(BareLF, size-1, "line ends with a bare LF, want CRLF")
	}
	if tainted {
		return b, lineFault(BareLF, 0, "line follows one that ended with a bare LF")
	}
	if long {
		return nil, lineFault(LongLine, r.MaxLine, "line too long")
	}
	line := b[:len(b)-2]
	if i := bytes.IndexByte(line, '\r'); i >= 0 {
		return line, lineFault(BareCR, i, "line holds a bare CR")
	}
	if i := bytes.IndexByte(line, 0); i >= 0 {
		return line, lineFault(NUL, i, "line holds a NUL")
	}
	return line, nil
}

func (r *Reader) flood() *Fault {
	r.fatal = lineFault(LongLine, r.MaxLine, "line too long, closing connection")
	r.fatal.Fatal = true
	return r.fatal
}

func lineFault(kind FaultKind, offset int, text string) *Fault {
	return &Fault{Kind: kind, Offset: int64(offset), Reply: NewReply(500, "5.5.2", text)}
}
