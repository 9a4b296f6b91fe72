package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// TestFallbackOpensNoNetwork: with relays to fall back to, as without, nobody's DNS leads mail into the own network; the domains do whose MX
// the configuration names, and the relays themselves may lie there.
func TestFallbackOpensNoNetwork(t *testing.T) {
	s := newSite(t, `hostname = "mx.example.org"
data = "data"

[[listener]]
name = "mx"
address = "127.0.0.1:0"
role = "mx"

[plugins]
enable = ["relay", "route"]

[plugin.relay]
networks = ["127.0.0.0/8"]

[plugin.route]
fallback = ["10.0.0.9:25"]

[plugin.route.domains]
"inside.test" = "mx:inside.test"
`)
	var mu sync.Mutex
	var dialed []string
	d, err := startDaemon(t.Context(), s.config, daemonOptions{log: slog.New(slog.DiscardHandler), console: io.Discard,
		resolver: resolvetest.New(t, map[string][]string{
			"stranger.test": {"MX 10 mx.stranger.test"}, "mx.stranger.test": {"A 10.0.0.1", "A 127.0.0.1", "AAAA fd00::1"},
			"inside.test": {"MX 10 mx.inside.test"}, "mx.inside.test": {"A 10.0.0.2"},
		}),
		dial: func(_ context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			dialed = append(dialed, addr)
			mu.Unlock()
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}})
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string][]string{"stranger.test": {"10.0.0.9:25"}, "inside.test": {"10.0.0.2:25", "10.0.0.9:25"}} {
		mu.Lock()
		dialed = nil
		mu.Unlock()
		sendTo(t, d.bound.address("mx"), "", "u@"+domain, "hello\n")
		got := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(dialed)
		}
		within(t, "the relay is tried", func() bool { return slices.Contains(got(), "10.0.0.9:25") })
		if all := got(); !slices.Equal(all, want) {
			t.Errorf("mail for %s went to %q, want %q", domain, all, want)
		}
	}
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}
