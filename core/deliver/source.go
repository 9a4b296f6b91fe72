package deliver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"

	"github.com/stagepost/stagepost/core/smtp"
)

// Source is where connections begin.
type Source struct {
	Addrs []netip.Addr // of this machine; those of a family take turns
	Helo  string       // name to greet with, unless a plan says another; empty: the server's
}

// open opens a connection: of its own address where a source is named. What is wrong with that is a failure that says nothing of
// the host.
func (s *Sender) open(ctx context.Context, h hop, name string, from *Source) (net.Conn, *failure, error) {
	if h.socket != "" {
		c, err := s.dial(ctx, "unix", h.socket)
		return c, nil, err
	}
	if name == "" {
		c, err := s.dial(ctx, "tcp", h.addr.String())
		return c, nil, err
	}
	local, ok := s.localAddr(from, h.addr.Addr().Unmap().Is4())
	if !ok {
		return nil, failed(451, "4.4.1", "the source "+name+" has no address of this family"), nil
	}
	c, err := s.dialFrom(ctx, local, h.addr.String())
	if call := (*os.SyscallError)(nil); errors.As(err, &call) && call.Syscall == "bind" {
		return nil, &failure{reply: smtp.NewReply(451, "4.3.5", "the address "+local.String()+" of the source "+name+" cannot be used: "+cause(err))}, nil
	}
	return c, nil, err
}

// localAddr is the next address of a family.
func (s *Sender) localAddr(from *Source, four bool) (netip.Addr, bool) {
	n := uint32(0)
	for _, a := range from.Addrs {
		if a.Is4() == four {
			n++
		}
	}
	if n == 0 {
		return netip.Addr{}, false
	}
	turn := s.turn.Add(1) % n
	for _, a := range from.Addrs {
		if a.Is4() == four {
			if turn == 0 {
				return a, true
			}
			turn--
		}
	}
	return netip.Addr{}, false
}

func dialFrom(ctx context.Context, from netip.Addr, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: portLater}
	return d.DialContext(ctx, "tcp", addr)
}
