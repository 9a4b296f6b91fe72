package esmtp

import (
	"bytes"
	"strings"

	"github.com/stagepost/stagepost/core/smtp"
)

// Chunk is the argument of BDAT (RFC 3030 section 2).
type Chunk struct {
	Size int64 // octets that follow the command; one that exceeds an int64 is the largest
	Last bool
}

// ParseChunk parses the argument of BDAT. After an error, which is a Reply, nobody knows where the next command begins: the
// connection must be closed.
func ParseChunk(arg string) (Chunk, error) {
	octets, marker, marked := strings.Cut(arg, " ")
	n, err := size(octets)
	if err != nil || marked && !strings.EqualFold(marker, "LAST") {
		return Chunk{}, bad("syntax error, want BDAT size [LAST]; closing connection")
	}
	return Chunk{n, marked}, nil
}

// LineCheck finds the first stray CR, LF or NUL of a content that comes in pieces: BDAT counts octets, so such a one cannot
// end the content, but what is not BINARYMIME must be lines (RFC 3030 section 3). The zero value is at the start.
type LineCheck struct {
	size int64 // octets so far
	cr   bool  // the last one is a CR whose LF may come
	open bool  // the last line has no CRLF yet
}

// Take looks at the next piece. After a fault it is not to be used again.
func (c *LineCheck) Take(b []byte) *smtp.Fault {
	if len(b) == 0 {
		return nil
	}
	i := 0
	if c.cr {
		if b[0] != '\n' {
			return smtp.StrayFault(smtp.BareCR, c.size-1)
		}
		i = 1
	}
	nul := bytes.IndexByte(b, 0)
	before := b
	if nul >= 0 {
		before = b[:nul]
	}
	c.cr, c.open = false, b[len(b)-1] != '\n'
	for i < len(before) {
		line, _, ends := bytes.Cut(before[i:], []byte{'\n'})
		switch cr := bytes.IndexByte(line, '\r'); {
		case cr >= 0 && cr < len(line)-1, cr >= 0 && !ends && nul >= 0:
			return smtp.StrayFault(smtp.BareCR, c.size+int64(i+cr))
		case cr < 0 && ends:
			return smtp.StrayFault(smtp.BareLF, c.size+int64(i+len(line)))
		case cr >= 0 && !ends:
			c.cr = true
		}
		i += len(line) + 1
	}
	if nul >= 0 {
		return smtp.StrayFault(smtp.NUL, c.size+int64(nul))
	}
	c.size += int64(len(b))
	return nil
}

// End looks at the end of the content. open says that its last line has no CRLF.
func (c *LineCheck) End() (open bool, fault *smtp.Fault) {
	if c.cr {
		fault = smtp.StrayFault(smtp.BareCR, c.size-1)
	}
	return c.open, fault
}
