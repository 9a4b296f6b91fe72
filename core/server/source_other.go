//go:build !unix

package server

import "net"

// newSource returns the source that fits the connection.
func newSource(conn net.Conn, b *buffers) source { return &plainSource{conn, b} }
