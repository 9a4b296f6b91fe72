package main

import (
	"context"
	"net"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/config"
)

// watching is the server of /metrics and /healthz at the address of [admin].
type watching struct {
	configured string
	net        net.Listener
	server     *admin.Server
}

// watchGrace is for requests that are being answered when the address changes or the server stops.
const watchGrace = time.Second

// listenWatch binds the address of [admin] if it is another one than before; nil: there is nothing to bind.
func (b *bindings) listenWatch(cfg *config.Config) (net.Listener, error) {
	b.mu.Lock()
	was := ""
	if b.watch != nil {
		was = b.watch.configured
	}
	b.mu.Unlock()
	at := cfg.Admin.Address
	if at == "" || at == was {
		return nil, nil
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return nil, cfg.Errorf([]string{"admin", "address"}, "%s", bindError("the address of [admin] cannot be opened at "+at, err, b.mine(at)))
	}
	return ln, nil
}

// swapWatch begins to serve ln, if there is one, and ends what was served at another address than configured.
func (b *bindings) swapWatch(d *daemon, configured string, ln net.Listener) {
	b.mu.Lock()
	old := b.watch
	if ln == nil && old != nil && old.configured == configured {
		b.mu.Unlock()
		return
	}
	b.watch = nil
	if ln != nil {
		w := &watching{configured, ln, admin.NewWatchingServer(d.watched)}
		b.watch = w
		d.group.Go(func() {
			if err := w.server.Serve(ln); err != nil {
				d.log.Error("the address of [admin] failed; metrics cannot be read there", "address", configured, "error", err)
			}
		})
	}
	b.mu.Unlock()
	if old != nil {
		d.group.Go(old.close)
	}
}

// unwatch ends the server at the address of [admin].
func (b *bindings) unwatch() {
	b.mu.Lock()
	old := b.watch
	b.watch = nil
	b.mu.Unlock()
	if old != nil {
		old.close()
	}
}

func (w *watching) close() {
	ctx, cancel := context.WithTimeout(context.Background(), watchGrace)
	defer cancel()
	w.server.Shutdown(ctx) // its only error is that requests were cut off
}

// watched is where [admin] is really bound; "" when it is not.
func (b *bindings) watched() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watch == nil {
		return ""
	}
	return b.watch.net.Addr().String()
}
