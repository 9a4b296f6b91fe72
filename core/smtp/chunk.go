package smtp

import (
	"math"
	"strconv"
	"strings"
)

// Chunk is the argument of BDAT (RFC 3030 section 2).
type Chunk struct {
	Size int64 // octets that follow the command; one that exceeds an int64 is the largest
	Last bool
}

// ParseChunk parses the argument of BDAT. After an error, which is a Reply, nobody knows where the next command begins: the
// connection must be closed.
func ParseChunk(arg string) (Chunk, error) {
	size, marker, marked := strings.Cut(arg, " ")
	if !isDigits(size) || len(size) > 20 || marked && !strings.EqualFold(marker, "LAST") {
		return Chunk{}, NewReply(501, "5.5.4", "syntax error, want BDAT size [LAST]; closing connection")
	}
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil {
		n = math.MaxInt64
	}
	return Chunk{int64(n), marked}, nil
}

// Octets returns up to max of the octets that are buffered, whatever they are, as used; valid until the buffer is filled again.
func (r *Reader) Octets(max int64) []byte {
	b := r.buf[r.r:r.w]
	if int64(len(b)) > max {
		b = b[:max]
	}
	r.r += len(b)
	return b
}

// LineCheck finds the first stray CR, LF or NUL of a content that comes in pieces: BDAT counts octets, so such a one cannot
// end the content, but what is not BINARYMIME must be lines (RFC 3030 section 3). The zero value is at the start.
type LineCheck struct {
	size int64 // octets so far
	cr   bool  // the last one is a CR whose LF may come
	open bool  // the last line has no CRLF yet
}

// Take looks at the next piece. After a fault it is not to be used again.
func (c *LineCheck) Take(b []byte) *Fault {
	if len(b) == 0 {
		return nil
	}
	i := 0
	if c.cr {
		if b[0] != '\n' {
			return strayFault(BareCR, c.size-1)
		}
		i = 1
	}
	c.cr, c.open = false, b[len(b)-1] != '\n'
	for i < len(b) {
		n, _, dirty := scan(b[i:])
		switch {
		case dirty:
			bad, kind := findStray(b[i : i+n])
			return strayFault(kind, c.size+int64(i+bad))
		case n > 0:
		case i+1 < len(b):
			return strayFault(BareCR, c.size+int64(i))
		default:
			c.cr, n = true, 1
		}
		i += n
	}
	c.size += int64(len(b))
	return nil
}

// End looks at the end of the content. open says that its last line has no CRLF.
func (c *LineCheck) End() (open bool, fault *Fault) {
	if c.cr {
		fault = strayFault(BareCR, c.size-1)
	}
	return c.open, fault
}
