package gate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stagepost/stagepost/core/proxy"
)

// Arrival is a connection with the addresses that count: its own, or those that a proxy told. They are not valid for what is no
// TCP connection.
type Arrival struct {
	net.Conn
	From, To netip.AddrPort
}

// Arrived is a connection with its own addresses.
func Arrived(conn net.Conn) Arrival {
	return Arrival{conn, addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())}
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// Door is where connections arrive.
type Door struct {
	Listener net.Listener
	Name     string         // in the log
	Proxies  []netip.Prefix // from there, and only from there, each connection has to begin with a PROXY header
	Log      *slog.Logger
	Admit    func(Arrival) // may be called by many goroutines at once; must not wait
	Lost     func(Reason)  // a connection was closed without a word: Header, or Descriptors where too many wait for one
	Quit     <-chan struct{}

	waiting atomic.Int64
}

// Bounds of waiting for PROXY headers.
const (
	headerWait  = 5 * time.Second
	mostWaiting = 1000 // connections at once
)

// Accept accepts connections until the listener is closed, and returns the error that says so. It goes on after any other, such
// as too many open files, with pauses that grow to a second.
func (g *Gate) Accept(ctx context.Context, d *Door) error {
	told := false
	for pause := time.Duration(0); ; {
		conn, err := d.Listener.Accept()
		if err == nil {
			pause, told = 0, false
			g.receive(d, Arrived(conn))
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if !told && g.Tell() {
			told = true
			d.Log.Error("cannot accept connections, will go on trying", "listener", d.Name, "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		case <-d.Quit:
		}
	}
}

// receive takes the header from a connection where there has to be one. Whether there has, its own address alone decides.
func (g *Gate) receive(d *Door, a Arrival) {
	if ip := a.From.Addr(); !slices.ContainsFunc(d.Proxies, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) }) {
		d.Admit(a)
		return
	}
	if d.waiting.Add(1) > mostWaiting || g.Reading().Reached() == Descriptors {
		d.waiting.Add(-1)
		a.Close()
		d.Lost(Descriptors)
		return
	}
	go func() {
		a.SetReadDeadline(time.Now().Add(headerWait))
		h, err := proxy.Read(a.Conn)
		d.waiting.Add(-1)
		if err != nil {
			a.Close()
			d.Lost(Header)
			if g.Tell() {
				d.Log.Warn("a proxy's connection is closed: its header did not come, or not as it should", "ip", a.From.Addr().String(), "listener", d.Name, "error", err)
			}
			return
		}
		a.SetReadDeadline(time.Time{})
		if h.From.IsValid() {
			a.From, a.To = h.From, h.To
		}
		d.Admit(a)
	}()
}
