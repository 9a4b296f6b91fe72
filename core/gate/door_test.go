package gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener gives the connections that are put into it; nil is an error that goes away.
type fakeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	asked  atomic.Int64
}

func (l *fakeListener) Accept() (net.Conn, error) {
	l.asked.Add(1)
	select {
	case conn := <-l.conns:
		if conn == nil {
			return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error   { close(l.closed); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// fakeConn comes from an address.
type fakeConn struct {
	net.Conn
	from netip.AddrPort
}

func (c *fakeConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.from) }
func (c *fakeConn) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("203.0.113.1:25"))
}

// doorRig is a door whose proxies are 192.0.2.0/24 and 2001:db8::/32.
type doorRig struct {
	*rig
	door     *Door
	listener *fakeListener
	admitted chan Arrival
	lost     chan Reason
	log      strings.Builder
	done     chan error
}

func newDoorRig(t *testing.T) *doorRig {
	r := &doorRig{rig: newRig(), listener: &fakeListener{conns: make(chan net.Conn), closed: make(chan struct{})},
		admitted: make(chan Arrival, 2000), lost: make(chan Reason, 2000), done: make(chan error, 1)}
	r.door = &Door{Listener: r.listener, Name: "mx", Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Admit:   func(a Arrival) { r.admitted <- a }, Lost: func(why Reason) { r.lost <- why }}
	go func() { r.done <- r.Accept(context.Background(), r.door) }()
	return r
}

func (r *doorRig) arrive(from string) net.Conn {
	client, server := net.Pipe()
	r.listener.conns <- &fakeConn{server, netip.MustParseAddrPort(from)}
	return client
}

func (r *doorRig) close(t *testing.T) {
	r.listener.Close()
	if err := <-r.done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

func TestWhoSendsHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDoorRig(t)
		header := "PROXY TCP4 198.51.100.7 203.0.113.9 4711 2525\r\n"
		for _, c := range []struct{ name, from, sends, is, at, rest string }{
			{"a proxy", "192.0.2.10:1000", header + "EHLO x\r\n", "198.51.100.7:4711", "203.0.113.9:2525", "EHLO x\r\n"},
			{"a proxy by IPv6", "[2001:db8::1]:1000", header, "198.51.100.7:4711", "203.0.113.9:2525", ""},
			{"a proxy by a mapped address", "[::ffff:192.0.2.10]:1000", header, "198.51.100.7:4711", "203.0.113.9:2525", ""},
			{"a proxy for itself", "192.0.2.10:1000", "PROXY UNKNOWN\r\n", "192.0.2.10:1000", "203.0.113.1:25", ""},
			{"somebody else", "198.51.100.66:1000", header, "198.51.100.66:1000", "203.0.113.1:25", header},
			{"somebody else who is silent", "198.51.100.66:1000", "", "198.51.100.66:1000", "203.0.113.1:25", ""},
		} {
			client := r.arrive(c.from)
			go func() {
				io.WriteString(client, c.sends)
				client.Close()
			}()
			a := <-r.admitted
			if a.From.String() != c.is || a.To.String() != c.at {
				t.Errorf("%s: from %s to %s, want %s, %s", c.name, a.From, a.To, c.is, c.at)
			}
			time.Sleep(time.Minute) // the deadline was the header's alone
			if rest, err := io.ReadAll(a); err != nil || string(rest) != c.rest {
				t.Errorf("%s: the session has %q, %v, want %q", c.name, rest, err, c.rest)
			}
			a.Close()
		}
		r.close(t)
	})
}

func TestNoHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name, sends string
			after       time.Duration
		}{
			{"nothing", "", 5 * time.Second},
			{"half of one", "PROXY TCP4 198.51.100.7 ", 5 * time.Second},
			{"half of version 2", "\r\n\r\n\x00\r\nQUIT\n\x21", 5 * time.Second},
			{"no header", "EHLO client.example\r\n", 0},
			{"a bad length", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", 0},
		} {
			r := newDoorRig(t)
			began := time.Now()
			client := r.arrive("192.0.2.10:1000")
			go io.WriteString(client, c.sends)
			if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
				t.Errorf("%s: the client is told %q, %v", c.name, got, err)
			}
			if took := time.Since(began); took != c.after {
				t.Errorf("%s: closed after %s, want %s", c.name, took, c.after)
			}
			if why := <-r.lost; why != Header {
				t.Errorf("%s: %d", c.name, why)
			}
			client.Close()
			synctest.Wait()
			r.close(t)
			if !strings.Contains(r.log.String(), "ip=192.0.2.10") || len(r.admitted) > 0 {
				t.Errorf("%s: %d admitted; log: %s", c.name, len(r.admitted), r.log.String())
			}
		}
	})
}

// Those that wait for a header have a bound of their own, and do not keep others from coming in.
func TestManyWithoutHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDoorRig(t)
		var all []net.Conn
		for range mostWaiting {
			all = append(all, r.arrive("192.0.2.10:1000"))
		}
		all = append(all, r.arrive("192.0.2.10:1001"))
		if why := <-r.lost; why != Descriptors {
			t.Errorf("one too many: %d", why)
		}
		all = append(all, r.arrive("198.51.100.66:1000"))
		if a := <-r.admitted; a.From.Port() != 1000 {
			t.Errorf("%v", a.From)
		}
		time.Sleep(headerWait)
		synctest.Wait()
		if n := r.door.waiting.Load(); n != 0 || len(r.lost) != mostWaiting {
			t.Errorf("%d wait, %d were lost", n, len(r.lost))
		}
		r.next = Reading{Files: 1000, FileLimit: 1000}
		r.now = r.now.Add(time.Hour)
		all = append(all, r.arrive("192.0.2.10:1002"))
		synctest.Wait()
		if len(r.lost) != mostWaiting+1 || r.door.waiting.Load() != 0 {
			t.Errorf("with few file descriptors: %d were lost, %d wait", len(r.lost), r.door.waiting.Load())
		}
		for _, conn := range all {
			conn.Close()
		}
		r.close(t)
	})
}

// Accepting goes on after errors, does not spin, and says so once.
func TestErrorsOfAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDoorRig(t)
		began := time.Now()
		for range 20 {
			r.listener.conns <- nil
		}
		client := r.arrive("198.51.100.66:1000")
		<-r.admitted
		if took := time.Since(began); took < 10*time.Second || r.listener.asked.Load() > 22 {
			t.Errorf("20 errors took %s, with %d calls", took, r.listener.asked.Load())
		}
		client.Close()
		r.close(t)
		if n := strings.Count(r.log.String(), "cannot accept"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
