package server

import "net"

// source waits for the input of a connection, and has a buffer only when there is some.
type source interface {
	// read returns a buffer of that size with at least one octet of input in it, or an error.
	read(size int) (buf []byte, n int, err error)
	// poll is read without waiting: nil when there is no input yet.
	poll(size int) (buf []byte, n int)
}

// plainSource serves connections that cannot tell when input is there: it has a buffer while it waits.
type plainSource struct {
	conn    net.Conn
	buffers *buffers
}

func (p *plainSource) read(size int) ([]byte, int, error) {
	buf := p.buffers.get(size)
	n, err := p.conn.Read(buf)
	if n == 0 {
		p.buffers.put(buf)
		return nil, 0, err
	}
	return buf, n, nil // an error that came with octets comes again
}

func (p *plainSource) poll(int) ([]byte, int) { return nil, 0 }
