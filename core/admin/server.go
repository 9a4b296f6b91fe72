package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Server serves handlers: on a control socket, or at the address of [admin].
type Server struct {
	http  *http.Server
	conns int // at once; 0: requests are bounded, connections are not
}

// NewServer makes a server of all handlers, for the control socket. It does nothing until Serve.
func NewServer(o Options) *Server {
	s := newServer(o, Handler(o))
	s.http.ReadHeaderTimeout = 5 * time.Second // a ReadTimeout would end the context of a request that takes longer to answer
	s.http.IdleTimeout = time.Minute
	return s
}

// NewWatchingServer makes a server of /metrics and /healthz, which anybody who reaches the address may ask.
func NewWatchingServer(o Options) *Server {
	s := newServer(o, Watching(o))
	s.http.ReadTimeout = 10 * time.Second
	s.http.WriteTimeout = writeTime
	s.http.IdleTimeout = 2 * time.Minute // longer than between two scrapes
	s.conns = maxRequests
	return s
}

func newServer(o Options, h http.Handler) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{http: &http.Server{Handler: h, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn)}}
}

// Serve answers until Shutdown, which makes it return nil.
func (s *Server) Serve(l net.Listener) error {
	if s.conns > 0 {
		l = netutil.LimitListener(l, s.conns)
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown closes the listener, waits for the requests that are being answered, and cuts them off when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}
