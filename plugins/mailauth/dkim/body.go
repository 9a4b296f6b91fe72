package dkim

import "io"

// Both writers keep back line ends until something follows them, since empty lines at the end do not count. Only CRLF is a line
// end; a CR or LF alone, which no message of ours has, is an octet like others.

var emptyLines = []byte("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n")

// kept are line ends that were not passed on yet.
type kept struct {
	ends int
	cr   bool // and a CR behind them, which may begin one more
}

func (k *kept) flush(w io.Writer) error {
	for k.ends > 0 {
		n := min(k.ends, len(emptyLines)/2)
		if _, err := w.Write(emptyLines[:2*n]); err != nil {
			return err
		}
		k.ends -= n
	}
	return nil
}

// simpleBody is RFC 6376 section 3.4.3.
type simpleBody struct {
	out io.Writer
	kept
}

func (s *simpleBody) Write(p []byte) (int, error) {
	whole := len(p)
	for len(p) > 0 {
		switch {
		case s.cr && p[0] == '\n':
			s.cr, p = false, p[1:]
			s.ends++
			continue
		case s.cr:
			if err := s.octets(nil); err != nil {
				return 0, err
			}
		case len(p) >= 2 && p[0] == '\r' && p[1] == '\n':
			p = p[2:]
			s.ends++
			continue
		case len(p) == 1 && p[0] == '\r':
			s.cr = true
			return whole, nil
		}
		end, ends, cr := len(p), 0, false
		if p[end-1] == '\r' {
			end, cr = end-1, true
		}
		for end >= 2 && p[end-2] == '\r' && p[end-1] == '\n' {
			end, ends = end-2, ends+1
		}
		if err := s.octets(p[:end]); err != nil {
			return 0, err
		}
		s.ends, s.cr = ends, cr
		break
	}
	return whole, nil
}

// octets passes on what was kept and then p.
func (s *simpleBody) octets(p []byte) error {
	if err := s.flush(s.out); err != nil {
		return err
	}
	if s.cr {
		s.cr = false
		if _, err := s.out.Write([]byte{'\r'}); err != nil {
			return err
		}
	}
	_, err := s.out.Write(p)
	return err
}

// Close ends the body with one line end, which an empty one has, too.
func (s *simpleBody) Close() error {
	if s.cr {
		if err := s.octets(nil); err != nil {
			return err
		}
	}
	s.ends = 1
	return s.flush(s.out)
}

// relaxedBody is RFC 6376 section 3.4.4.
type relaxedBody struct {
	out io.Writer
	kept
	gap  bool // white space behind the line ends
	some bool // the body is not empty
}

// plain tells octets that stay as they are, whatever stands beside them.
func plain(c byte) bool { return c > ' ' || c != ' ' && c != '\t' && c != '\r' && c != '\n' }

func (r *relaxedBody) Write(p []byte) (int, error) {
	whole := len(p)
	for len(p) > 0 {
		if r.cr && p[0] != '\n' {
			if err := r.octets([]byte{'\r'}); err != nil {
				return 0, err
			}
		}
		if n := r.run(p); n > 0 {
			if err := r.octets(p[:n]); err != nil {
				return 0, err
			}
			p = p[n:]
			continue
		}
		switch {
		case p[0] == '\r':
			r.cr = true
		case p[0] != '\n':
			r.gap = true
		case r.cr:
			r.cr, r.gap = false, false
			r.ends++
		default:
			if err := r.octets(p[:1]); err != nil {
				return 0, err
			}
		}
		p = p[1:]
	}
	return whole, nil
}

// run is how much of p stays as it is: octets with single spaces or line ends between them.
func (r *relaxedBody) run(p []byte) (n int) {
	for n < len(p) {
		switch {
		case plain(p[n]):
			n++
		case p[n] == ' ' && n+1 < len(p) && plain(p[n+1]) && (n > 0 || !r.gap):
			n += 2
		case n > 0 && n+2 < len(p) && p[n] == '\r' && p[n+1] == '\n' && plain(p[n+2]):
			n += 3
		default:
			return n
		}
	}
	return n
}

func (r *relaxedBody) octets(p []byte) error {
	r.cr, r.some = false, true
	if err := r.flush(r.out); err != nil {
		return err
	}
	if r.gap {
		r.gap = false
		if _, err := r.out.Write([]byte{' '}); err != nil {
			return err
		}
	}
	_, err := r.out.Write(p)
	return err
}

// Close ends the body with one line end; an empty one has none.
func (r *relaxedBody) Close() error {
	if r.cr {
		if err := r.octets([]byte{'\r'}); err != nil {
			return err
		}
	}
	if r.ends = 0; r.some {
		r.ends = 1
	}
	return r.flush(r.out)
}
