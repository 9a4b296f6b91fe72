package message

import "slices"

// Owners gets of each Facts in a copy the one that it was made of.
type Owners map[*Facts]*Facts

// Clone returns a copy for another goroutine: it shares with f only values, which never change.
func (f *Facts) Clone() Facts { return Facts{slices.Clone(f.entries), f.bytes} }

// Clone returns a copy for another goroutine.
func (s *Session) Clone(o Owners) *Session {
	c := *s
	c.Groups, c.History, c.Facts = slices.Clone(s.Groups), slices.Clone(s.History), s.Facts.Clone()
	o[&c.Facts] = &s.Facts
	return &c
}

// Clone returns a copy for another goroutine, with the same Params, which never change.
func (r *Rcpt) Clone(o Owners) *Rcpt {
	c := *r
	c.Facts = r.Facts.Clone()
	o[&c.Facts] = &r.Facts
	return &c
}

// Clone returns a copy for another goroutine, with copies of the recipients but the same Session, Plan, Notice and Injected.
func (e *Envelope) Clone(o Owners) *Envelope {
	c := *e
	c.Facts, c.Rcpts = e.Facts.Clone(), make([]*Rcpt, len(e.Rcpts))
	o[&c.Facts] = &e.Facts
	for i, r := range e.Rcpts {
		c.Rcpts[i] = r.Clone(o)
	}
	return &c
}
