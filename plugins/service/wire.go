package service

import (
	"errors"
	"io"
)

// wire reads a message with the line ends of the wire (RFC 5321 section 2.3.8), and fails at what cannot be sent.
type wire struct {
	r   io.Reader
	in  []byte
	out []byte // what was read and is not given yet
	cr  bool   // the last octet was a CR, which is not in out
	end bool   // the last octet given ends a line
	err error
}

func (w *wire) Read(p []byte) (int, error) {
	if w.in == nil {
		w.in = make([]byte, 16<<10)
	}
	for len(w.out) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		n, err := w.r.Read(w.in)
		w.out = w.out[:0]
		if w.err = w.take(w.in[:n]); w.err == nil {
			w.err = err
		}
		if w.err == io.EOF && w.cr {
			w.err = errBareCR
		} else if w.err == io.EOF && !w.end {
			w.out = append(w.out, "\r\n"...)
		}
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

var errBareCR = errors.New("it has a carriage return that ends no line")

func (w *wire) take(b []byte) error {
	for _, c := range b {
		switch {
		case c == '\n':
			w.out, w.cr, w.end = append(w.out, "\r\n"...), false, true
		case w.cr:
			return errBareCR
		case c == '\r':
			w.cr = true
		case c == 0:
			return errors.New("it has a NUL, which no message may have")
		default:
			w.out, w.end = append(w.out, c), false
		}
	}
	return nil
}
