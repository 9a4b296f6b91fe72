package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stagepost/stagepost/core/admin"
	"github.com/stagepost/stagepost/core/certs"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/server"
)

// bindings are the listeners that are open, and the address of [admin]. A reload opens what is new, then closes what is gone; what
// did not change is not touched, and no session ends.
type bindings struct {
	mu    sync.Mutex
	open  []*binding
	watch *watching // nil: nobody asked for it

	machine machine
}

type binding struct {
	listener config.Listener
	net      net.Listener
	stop     context.CancelFunc
}

// prepare opens the listeners of next that are not in old. commit begins to serve them and closes those that are gone; abort
// closes what was opened.
func (b *bindings) prepare(d *daemon, old []config.Listener, cfg *config.Config) (commit, abort func(), err error) {
	next := cfg.Listeners
	var opened []*binding
	var watch net.Listener
	abort = func() {
		for _, o := range opened {
			o.net.Close()
		}
		if watch != nil {
			watch.Close()
		}
	}
	for i, l := range next {
		if known(old, l) {
			continue
		}
		ln, err := b.listen(l, next)
		if err != nil {
			return nil, abort, cfg.Errorf([]string{"listener", config.Index(i), "address"}, "%s", bindError(fmt.Sprintf("the listener %q cannot be opened at %s", l.Name, l.Address), err, b.mine(l.Address)))
		}
		opened = append(opened, &binding{listener: l, net: ln})
	}
	if watch, err = b.listenWatch(cfg); err != nil {
		return nil, abort, err
	}
	return func() {
		b.swapWatch(d, cfg.Admin.Address, watch)
		b.mu.Lock()
		defer b.mu.Unlock()
		kept := opened
		for _, o := range b.open {
			if known(next, o.listener) {
				kept = append(kept, o)
			} else {
				o.stop()
			}
		}
		for _, o := range opened {
			ctx, cancel := context.WithCancel(context.Background())
			o.stop = cancel
			d.group.Go(func() {
				defer cancel()
				d.smtp.Serve(ctx, o.net, serving(&o.listener, d.plugins.Certificates))
			})
		}
		b.open = kept
	}, abort, nil
}

// known tells whether a listener is among others, with all that is set of it.
func known(others []config.Listener, l config.Listener) bool {
	return slices.ContainsFunc(others, func(o config.Listener) bool { return reflect.DeepEqual(o, l) })
}

// serving is what the server is told of a listener.
func serving(l *config.Listener, set func() *certs.Set) *server.Listener {
	return &server.Listener{Name: l.Name, Role: message.Role(l.Role), TLS: encryption(l, set), Without: l.Without, Auth: l.Auth, AuthInClear: l.AuthWithoutTLS,
		GreetingDelay: l.GreetingDelay, Proxies: l.ProxyProtocol, XClient: l.XClient, RejectAtRcpt: l.RejectAt == "rcpt"}
}

// listen binds an address. Where a listener has it that is not in next, so that only the name or role changes, the socket is
// passed on, and no connection is refused in between.
func (b *bindings) listen(l config.Listener, next []config.Listener) (net.Listener, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.open {
		if o.listener.Address == l.Address && !known(next, o.listener) {
			f, err := o.net.(*net.TCPListener).File()
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return net.FileListener(f)
		}
	}
	lc := net.ListenConfig{KeepAlive: -1} // deadlines end what is dead; this saves system calls for each connection
	return lc.Listen(context.Background(), "tcp", l.Address)
}

// mine tells whether this server listens at the port of an address already.
func (b *bindings) mine(address string) bool {
	_, port, _ := net.SplitHostPort(address)
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.open, func(o *binding) bool {
		_, own, _ := net.SplitHostPort(o.listener.Address)
		return own == port
	})
}

// bindError says what to do about an address that cannot be had.
func bindError(what string, err error, mine bool) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && mine:
		hint = "; this server itself listens at that port under another address, so only a restart can change it"
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "; another program listens there: stop it, or choose another address"
	case errors.Is(err, syscall.EACCES):
		hint = "; ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "; this machine does not have that address"
	}
	return fmt.Errorf("%s: %w%s", what, err, hint)
}

// status lists the listeners.
func (b *bindings) status(smtp *server.Server) []admin.Listener {
	open := map[string]int{}
	for _, t := range smtp.Board.Listeners() {
		open[t.Name] += int(t.Open.Load())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]admin.Listener, 0, len(b.open))
	for _, o := range b.open {
		out = append(out, admin.Listener{Name: o.listener.Name, Address: o.net.Addr().String(), Role: o.listener.Role, TLS: o.listener.TLS, Sessions: open[o.listener.Name]})
	}
	return out
}

// address is where a listener is really bound.
func (b *bindings) address(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.open {
		if o.listener.Name == name {
			return o.net.Addr().String()
		}
	}
	return ""
}

// liveResolver asks the resolver that the configuration in force names.
type liveResolver struct {
	now    atomic.Pointer[resolve.Resolver]
	counts *dnsCounts
}

func newLiveResolver() *liveResolver { return &liveResolver{counts: newDNSCounts()} }

// dnsCounts are of all lookups, those too that the cache answered.
type dnsCounts struct {
	lookups *observe.Counters
	took    *observe.Histogram
}

func newDNSCounts() *dnsCounts {
	return &dnsCounts{
		observe.NewCounters("found", "no_data", "no_domain", "error"),
		observe.NewTimes(100*time.Microsecond, 2*time.Millisecond, 20*time.Millisecond, 200*time.Millisecond, time.Second, 5*time.Second, 20*time.Second),
	}
}

func (l *liveResolver) use(r resolve.Resolver) { l.now.Store(&r) }

// Lookup implements resolve.Resolver.
func (l *liveResolver) Lookup(ctx context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	began := time.Now()
	a, err := (*l.now.Load()).Lookup(ctx, name, t)
	l.counts.took.Took(time.Since(began))
	if err != nil {
		l.counts.lookups.Add(3)
	} else {
		l.counts.lookups.Add(int(a.Status))
	}
	return a, err
}

func sameResolver(a, b *config.Config) bool {
	return slices.Equal(a.Resolver.Servers, b.Resolver.Servers) && a.Resolver.Timeout == b.Resolver.Timeout && a.Resolver.Trusted == b.Resolver.Trusted
}
