package message

import (
	"bytes"
	"io"
	"slices"
)

// Sent is what the next hop gets: the envelope's Prefix followed by c[Skip:], without what is a recipient's own.
func (e *Envelope) Sent(c Content) Content { return e.sent(c, nil) }

// SentTo is the copy of one recipient, by its place in Rcpts.
func (e *Envelope) SentTo(c Content, rcpt int) Content { return e.sent(c, e.Rcpts[rcpt].Prefix) }

func (e *Envelope) sent(c Content, own []byte) Content {
	prefix := e.Prefix
	if len(own) > 0 {
		prefix = slices.Concat(own, prefix)
	}
	if len(prefix) == 0 && e.Skip == 0 {
		return c
	}
	return &sent{prefix: prefix, skip: e.Skip, rest: c}
}

// SameCopy tells whether two recipients, by their places in Rcpts, get the same bytes and so may share a transaction.
func (e *Envelope) SameCopy(a, b int) bool { return bytes.Equal(e.Rcpts[a].Prefix, e.Rcpts[b].Prefix) }

type sent struct {
	prefix []byte
	skip   int64
	rest   Content
}

func (s *sent) Size() int64   { return int64(len(s.prefix)) + s.rest.Size() - s.skip }
func (s *sent) Bytes() []byte { return nil }

func (s *sent) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(s.prefix)) {
		n = copy(p, s.prefix[off:])
		if n == len(p) {
			return n, nil
		}
	}
	m, err := s.rest.ReadAt(p[n:], off+int64(n)-int64(len(s.prefix))+s.skip)
	if err == io.EOF && n+m == len(p) {
		err = nil
	}
	return n + m, err
}

// CheckField tells why name and value cannot be a header field; see Header.Add.
func CheckField(name, value string) error {
	_, err := ComposeField(name, value)
	return err
}

// ComposeField makes a header field, with its line end; see Header.Add.
func ComposeField(name, value string) ([]byte, error) {
	f, err := new(Header).compose(name, value)
	return f.raw, err
}
