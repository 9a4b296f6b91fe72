package message

import "slices"

// Clone returns a copy for another goroutine: it shares with f only values, which never change.
func (f *Facts) Clone() Facts { return Facts{slices.Clone(f.entries), f.bytes} }

// Clone returns a copy for another goroutine.
func (s *Session) Clone() *Session {
	c := *s
	c.Groups, c.History, c.Facts = slices.Clone(s.Groups), slices.Clone(s.History), s.Facts.Clone()
	return &c
}

// Clone returns a copy for another goroutine, with the same Params, which never change.
func (r *Rcpt) Clone() *Rcpt {
	c := *r
	c.Facts = r.Facts.Clone()
	return &c
}

// Clone returns a copy for another goroutine, with copies of the recipients but the same Session, Plan and Notice.
func (e *Envelope) Clone() *Envelope {
	c := *e
	c.Facts, c.Rcpts = e.Facts.Clone(), make([]*Rcpt, len(e.Rcpts))
	for i, r := range e.Rcpts {
		c.Rcpts[i] = r.Clone()
	}
	return &c
}
