package dockerregistry

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Front passes requests on to a registry, counts them and what is answered, and answers in the registry's place where it is told to.
type Front struct {
	URL      string
	Requests atomic.Int64
	Bytes    atomic.Int64 // of answers, without headers

	server  *http.Server
	proxy   *httputil.ReverseProxy
	mu      sync.Mutex
	instead func(w http.ResponseWriter, r *http.Request) bool
}

// Before opens a front before the server at an address of this machine.
func Before(address string) (*Front, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Front{URL: "http://" + l.Addr().String()}
	to := &url.URL{Scheme: "http", Host: address}
	quiet := log.New(io.Discard, "", 0) // clients that break off are what is tested
	f.proxy = &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Host = p.In.Host }, FlushInterval: -1, ErrorLog: quiet}
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet}
	go f.server.Serve(l)
	return f, nil
}

// Close ends the front, and what goes through it.
func (f *Front) Close() { f.server.Close() }

// Instead has answer asked before the registry is; it says whether it has answered. nil ends that.
func (f *Front) Instead(answer func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead = answer
}

func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.Requests.Add(1)
	f.mu.Lock()
	instead := f.instead
	f.mu.Unlock()
	if counted := (&counting{w, &f.Bytes}); instead == nil || !instead(counted, r) {
		f.proxy.ServeHTTP(counted, r)
	}
}

// counting counts the bytes of answers.
type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }
