// Package idle is a connection that waits without holding a buffer.
//
// Most sessions of a mail server wait most of the time. A read that waits needs a buffer to read into, and with thousands of
// sessions those buffers are most of what the server holds. So a Source waits first and takes its buffer, from a pool, only
// when there is input: on plain TCP by trying to read each time the poller says so. Connections that cannot be asked this way
// have a buffer while they wait.
package idle

import "net"

// Source waits for the input of a connection. It is used by one goroutine at a time. Deadlines are those of the connection.
type Source interface {
	// Read returns a buffer of that size with at least one octet of input in it, or an error. The buffer is lent by the Buffers
	// that the Source was made with, and goes back there.
	Read(size int) (buf []byte, n int, err error)
	// Poll is Read without waiting: nil when there is no input yet.
	Poll(size int) (buf []byte, n int)
}

// plain serves connections that cannot tell when input is there: it has a buffer while it waits.
type plain struct {
	conn    net.Conn
	buffers *Buffers
}

func (p *plain) Read(size int) ([]byte, int, error) {
	buf := p.buffers.Get(size)
	n, err := p.conn.Read(buf)
	if n == 0 {
		p.buffers.Put(buf)
		return nil, 0, err
	}
	return buf, n, nil // an error that came with octets comes again
}

func (p *plain) Poll(int) ([]byte, int) { return nil, 0 }
