package deliver

import (
	"net"
	"net/netip"
	"testing"
)

// On Linux all of 127/8 is the loopback interface's.
func TestDialFrom(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := dialFrom(t.Context(), netip.MustParseAddr("127.0.0.77"), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if from := there.RemoteAddr().(*net.TCPAddr); from.IP.String() != "127.0.0.77" || from.Port == 0 {
		t.Errorf("the connection comes from %s", from)
	}
}
