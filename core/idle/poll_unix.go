//go:build unix

package idle

import (
	"io"
	"net"
	"syscall"
)

// New returns the Source that fits the connection.
func New(conn net.Conn, b *Buffers) Source {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			r := &polled{raw: raw, buffers: b}
			r.tryFunc = r.try
			return r
		}
	}
	return &plain{conn, b}
}

// polled takes a buffer only when the poller says that there is input.
type polled struct {
	raw     syscall.RawConn
	buffers *Buffers
	tryFunc func(fd uintptr) bool // try, made once

	size   int
	nowait bool
	buf    []byte
	n      int
	err    error
}

// try reads. It has to, the first time too: the poller reports only what comes after the call that waits began, so input that
// was there before would be waited for in vain.
func (r *polled) try(fd uintptr) (done bool) {
	buf := r.buffers.Get(r.size)
	for {
		n, err := syscall.Read(int(fd), buf)
		if err == syscall.EINTR {
			continue
		}
		if n > 0 {
			r.buf, r.n = buf, n
			return true
		}
		r.buffers.Put(buf)
		if err == syscall.EAGAIN {
			return r.nowait
		}
		if r.err = err; err == nil {
			r.err = io.EOF
		}
		return true
	}
}

func (r *polled) Read(size int) ([]byte, int, error) {
	r.size, r.nowait, r.buf, r.n, r.err = size, false, nil, 0, nil
	if err := r.raw.Read(r.tryFunc); err != nil {
		return nil, 0, err
	}
	buf := r.buf
	r.buf = nil
	return buf, r.n, r.err
}

func (r *polled) Poll(size int) ([]byte, int) {
	r.size, r.nowait, r.buf, r.n, r.err = size, true, nil, 0, nil
	r.raw.Read(r.tryFunc) // an error comes again at Read
	buf := r.buf
	r.buf = nil
	return buf, r.n
}
