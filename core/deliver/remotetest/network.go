package remotetest

import (
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
)

// Net is a made-up network: servers by address, such as "192.0.2.1:25". Where there is none, connections are refused. A nil
// one never answers.
type Net struct {
	Remotes map[string]*Remote

	mu     sync.Mutex
	dialed []string
}

// Dial connects in memory.
func (n *Net) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, addr)
	n.mu.Unlock()
	r, ok := n.Remotes[addr]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	if r == nil {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	}
	client, server := net.Pipe()
	r.Serve(server)
	return client, nil
}

// Dialed returns the addresses asked for so far, each as often as it was.
func (n *Net) Dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}
