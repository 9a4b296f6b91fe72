package dnszone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Server serves a zone by UDP and TCP on one port.
type Server struct {
	zone    atomic.Pointer[Zone]
	queries atomic.Int64
	spoils  atomic.Pointer[func(query *dns.Msg, answer []byte) [][]byte]
	udp     *dns.Server
	tcp     *dns.Server
	done    sync.WaitGroup
}

// Serve starts a server on an address such as "127.0.0.1:0"; port 0 takes a free one.
func Serve(address string, zone *Zone) (*Server, error) {
	pc, l, err := listen(address)
	if err != nil {
		return nil, fmt.Errorf("DNS server: %w", err)
	}
	s := &Server{}
	s.zone.Store(zone)
	handler := dns.HandlerFunc(s.serve)
	var started sync.WaitGroup
	started.Add(2)
	s.udp = &dns.Server{PacketConn: pc, Handler: handler, NotifyStartedFunc: started.Done}
	s.tcp = &dns.Server{Listener: l, Handler: handler, NotifyStartedFunc: started.Done}
	s.done.Go(func() { s.udp.ActivateAndServe() })
	s.done.Go(func() { s.tcp.ActivateAndServe() })
	started.Wait() // Shutdown has no effect on a server that has not started
	return s, nil
}

// listen takes the same port for UDP and TCP; a free one of the first may be taken in the second.
func listen(address string) (net.PacketConn, net.Listener, error) {
	var failed error
	for range 10 {
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, nil, err
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l, nil
		}
		failed = err
		pc.Close()
	}
	return nil, nil, failed
}

func (s *Server) serve(w dns.ResponseWriter, query *dns.Msg) {
	s.queries.Add(1)
	m := s.zone.Load().Answer(query)
	if m == nil {
		return
	}
	if opt := query.IsEdns0(); opt != nil {
		m.SetEdns0(1232, false)
	}
	size := dns.MaxMsgSize
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		size = dns.MinMsgSize
		if opt := query.IsEdns0(); opt != nil {
			size = min(max(size, int(opt.UDPSize())), 1232)
		}
	}
	m.Truncate(size)
	packets := [][]byte{nil}
	var err error
	if packets[0], err = m.Pack(); err != nil {
		return
	}
	if spoil := s.spoils.Load(); spoil != nil {
		packets = (*spoil)(query, packets[0])
	}
	for _, p := range packets {
		w.Write(p) // a client that went away is no matter
	}
}

// Spoil has each answer pass through f, which returns the packets to be sent.
func (s *Server) Spoil(f func(query *dns.Msg, answer []byte) [][]byte) { s.spoils.Store(&f) }

// Addr is the host and port that is served.
func (s *Server) Addr() string { return s.udp.PacketConn.LocalAddr().String() }

// Use changes the zone.
func (s *Server) Use(zone *Zone) { s.zone.Store(zone) }

// Queries counts the questions that came.
func (s *Server) Queries() int64 { return s.queries.Load() }

// Close stops the server and waits for its goroutines, up to 5 s.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := errors.Join(s.udp.ShutdownContext(ctx), s.tcp.ShutdownContext(ctx))
	if err == nil {
		s.done.Wait()
	}
	return err
}
