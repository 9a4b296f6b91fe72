package deliver

import "syscall"

// ipBindAddressNoPort is IP_BIND_ADDRESS_NO_PORT of ip(7).
const ipBindAddressNoPort = 24

// portLater lets the system choose the port when the connection is made, when it knows to where: one that is chosen before, at
// bind, is taken for all destinations, and there are 28,000. Where that cannot be said it works all the same.
func portLater(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1) })
}
