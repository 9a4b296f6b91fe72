package message

import "io"

// Sent is what the next hop gets: the envelope's Prefix followed by c[Skip:].
func (e *Envelope) Sent(c Content) Content {
	if len(e.Prefix) == 0 && e.Skip == 0 {
		return c
	}
	return &sent{prefix: e.Prefix, skip: e.Skip, rest: c}
}

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
	h := Header{limits: DefaultHeaderLimits}
	_, err := h.compose(name, value)
	return err
}
