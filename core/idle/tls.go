package idle

import (
	"crypto/tls"
	"net"
)

// TLS puts TLS, in the server's role, on a connection whose Source is given and has returned all that it read. The connection that it
// gives back, and no longer conn, is read and written, and closed by whoever uses the Source; the handshake has not been made.
//
// A tls.Conn that waits for input needs a buffer for it, as any connection does. So the Source asks it only for what it can have without
// waiting, and waits for octets of the connection below: with nothing but what TLS itself holds.
func TLS(conn net.Conn, below Source, b *Buffers, config *tls.Config) (*tls.Conn, Source) {
	w := &wire{Conn: conn, source: below, buffers: b}
	s := &secure{conn: tls.Server(w, config), wire: w}
	return s.conn, s
}

// wire is the connection below TLS.
type wire struct {
	net.Conn
	source  Source
	buffers *Buffers
	buf     []byte // with octets that came when they were waited for
	r, n    int
	nowait  bool
	dry     bool // TLS asked for octets and got none: nothing that it holds is a whole record
}

// Read gives TLS what is there, and waits for it unless told not to.
func (w *wire) Read(p []byte) (int, error) {
	if w.buf == nil && w.nowait {
		w.dry = true
		return 0, nothing{}
	}
	w.dry = false
	if w.buf == nil {
		return w.Conn.Read(p)
	}
	n := copy(p, w.buf[w.r:w.n])
	if w.r += n; w.r == w.n {
		w.drop()
	}
	return n, nil
}

func (w *wire) drop() {
	w.buffers.Put(w.buf)
	w.buf, w.r, w.n = nil, 0, 0
}

// Close gives the buffer back, too.
func (w *wire) Close() error {
	w.drop()
	return w.Conn.Close()
}

// nothing is the error of a read that does not wait. It is temporary, since TLS gives up after any other.
type nothing struct{}

var _ net.Error = nothing{}

func (nothing) Error() string   { return "there is no input yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// secure is the Source of a TLS connection.
type secure struct {
	conn *tls.Conn
	wire *wire
}

// Read implements Source.
func (s *secure) Read(size int) ([]byte, int, error) {
	for {
		if buf, n, err := s.take(size); buf != nil || err != nil {
			return buf, n, err
		}
		shed(s.conn)
		buf, n, err := s.wire.source.Read(size)
		if err != nil {
			return nil, 0, err
		}
		s.wire.buf, s.wire.n, s.wire.dry = buf, n, false
	}
}

// Poll implements Source.
func (s *secure) Poll(size int) ([]byte, int) {
	for {
		if buf, n, err := s.take(size); buf != nil || err != nil {
			return buf, n // an error comes again at Read
		}
		buf, n := s.wire.source.Poll(size)
		if buf == nil {
			return nil, 0
		}
		s.wire.buf, s.wire.n, s.wire.dry = buf, n, false
	}
}

// take gives what is there without waiting: of a record that TLS had begun to hand out, and of those that are whole.
func (s *secure) take(size int) ([]byte, int, error) {
	if s.wire.dry {
		return nil, 0, nil
	}
	buf := s.wire.buffers.Get(size)
	s.wire.nowait = true
	n, err := s.conn.Read(buf)
	s.wire.nowait = false
	if n > 0 {
		return buf, n, nil
	}
	s.wire.buffers.Put(buf)
	if err == (nothing{}) {
		err = nil
	}
	return nil, 0, err
}
