//go:build !unix

package idle

import "net"

// New returns the Source that fits the connection.
func New(conn net.Conn, b *Buffers) Source { return &plain{conn, b} }
