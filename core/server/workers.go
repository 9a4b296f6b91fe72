package server

import "sync/atomic"

// workers are the goroutines that serve sessions whose clients are talking. Some that have nothing to do are kept: their
// stacks have grown to what commands and plugins need, and growing one anew for each session or command is a large part of
// what a short session costs.
type workers struct {
	ready  chan *session // to those that are kept
	spares atomic.Int32
}

// maxSpares bounds how many are kept.
const maxSpares = 64

// run lets a worker go on with s.
func (srv *Server) run(s *session) {
	select {
	case srv.workers.ready <- s:
	default:
		go srv.work(s)
	}
}

func (srv *Server) work(s *session) {
	for {
		s.serve()
		if srv.workers.spares.Add(1) > maxSpares {
			srv.workers.spares.Add(-1)
			return
		}
		select {
		case s = <-srv.workers.ready:
			srv.workers.spares.Add(-1)
		case <-srv.ctx.Done():
			return
		}
	}
}
