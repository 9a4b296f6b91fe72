package dockerregistry

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Tunnel is a proxy of the kind that HTTPS_PROXY names: it takes CONNECT for names that it knows.
type Tunnel struct {
	Address string

	server *http.Server
	user   string
	secret string
	to     map[string]string
	mu     sync.Mutex
	asked  []string
	open   map[net.Conn]bool
}

// NewTunnel opens a proxy that leads names (HOST:PORT) to addresses. With a user, it asks for that one's secret.
func NewTunnel(to map[string]string, user, secret string) (*Tunnel, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &Tunnel{Address: l.Addr().String(), user: user, secret: secret, to: to, open: map[net.Conn]bool{}}
	t.server = &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second}
	go t.server.Serve(l)
	return t, nil
}

// Close ends the proxy and all that goes through it.
func (t *Tunnel) Close() {
	t.server.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.open {
		c.Close()
	}
}

// Asked is what the proxy was asked for, as METHOD HOST.
func (t *Tunnel) Asked() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.asked...)
}

func (t *Tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	t.asked = append(t.asked, r.Method+" "+r.Host)
	t.mu.Unlock()
	if t.user != "" {
		as := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if user, secret, _ := as.BasicAuth(); user != t.user || secret != t.secret {
			w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
	}
	address, known := t.to[r.Host]
	if r.Method != http.MethodConnect || !known {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	there, err := net.Dial("tcp", address)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, in, err := http.NewResponseController(w).Hijack()
	if err != nil {
		there.Close()
		return
	}
	t.mu.Lock()
	t.open[here], t.open[there] = true, true
	t.mu.Unlock()
	io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	over := make(chan struct{}, 2)
	pass := func(to io.Writer, from io.Reader) {
		io.Copy(to, from) // ends when either side does
		over <- struct{}{}
	}
	go pass(there, in)
	go pass(here, there)
	<-over
	here.Close()
	there.Close()
	<-over
	t.mu.Lock()
	delete(t.open, here)
	delete(t.open, there)
	t.mu.Unlock()
}
