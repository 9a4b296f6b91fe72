//go:build unix

package server

import (
	"io"
	"net"
	"syscall"
)

// newSource returns the source that fits the connection.
func newSource(conn net.Conn, b *buffers) source {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			r := &rawSource{raw: raw, buffers: b}
			r.tryFunc = r.try
			return r
		}
	}
	return &plainSource{conn, b}
}

// rawSource takes a buffer only when the poller says that there is input.
type rawSource struct {
	raw     syscall.RawConn
	buffers *buffers
	tryFunc func(fd uintptr) bool // try, made once

	size   int
	nowait bool
	buf    []byte
	n      int
	err    error
}

// try reads. It has to, the first time too: the poller reports only what comes after the call that waits began, so input that
// was there before would be waited for in vain.
func (r *rawSource) try(fd uintptr) (done bool) {
	buf := r.buffers.get(r.size)
	for {
		n, err := syscall.Read(int(fd), buf)
		if err == syscall.EINTR {
			continue
		}
		if n > 0 {
			r.buf, r.n = buf, n
			return true
		}
		r.buffers.put(buf)
		if err == syscall.EAGAIN {
			return r.nowait
		}
		if r.err = err; err == nil {
			r.err = io.EOF
		}
		return true
	}
}

func (r *rawSource) read(size int) ([]byte, int, error) {
	r.size, r.nowait, r.buf, r.n, r.err = size, false, nil, 0, nil
	if err := r.raw.Read(r.tryFunc); err != nil {
		return nil, 0, err
	}
	buf := r.buf
	r.buf = nil
	return buf, r.n, r.err
}

func (r *rawSource) poll(size int) ([]byte, int) {
	r.size, r.nowait, r.buf, r.n, r.err = size, true, nil, 0, nil
	r.raw.Read(r.tryFunc) // an error comes again at read
	buf := r.buf
	r.buf = nil
	return buf, r.n
}
