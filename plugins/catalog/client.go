package catalog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// Bounds of connections to registries and web servers.
const (
	dialTime     = 10 * time.Second
	tlsTime      = 10 * time.Second
	maxRedirects = 5
	retries      = 3
)

// rig is what tests change.
type rig struct {
	tls  *tls.Config
	dial func(ctx context.Context, network, hostport string) (net.Conn, error)
	wait time.Duration // before the first retry
}

// newClient makes the client that speaks to the registry or web server at host. Proxies are those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
func newClient(host string, o Options) *http.Client {
	if o.rig.dial == nil {
		o.rig.dial = dial
	}
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	base := &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:            o.rig.dial,
		TLSHandshakeTimeout:    tlsTime,
		TLSClientConfig:        o.rig.tls,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	patience, wait := o.Patience, o.rig.wait
	if patience <= 0 {
		patience = time.Minute
	}
	if wait <= 0 {
		wait = 250 * time.Millisecond
	}
	policy := &retry.GenericPolicy{
		Retryable: retry.DefaultPredicate,
		Backoff:   retry.ExponentialBackoff(wait, 2, 0.1),
		MinWait:   wait,
		MaxWait:   20 * wait,
		MaxRetry:  retries,
	}
	return &http.Client{
		Transport: &retry.Transport{Base: patient{guarded{base, loopback(host)}, patience, o.Moved}, Policy: func() retry.Policy { return policy }},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return nil
		},
	}
}

// dial connects; localhost is this machine, whatever a resolver says (RFC 6761 section 6.3).
func dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTime}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || host != "localhost" {
		return d.DialContext(ctx, network, hostport)
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		conn, err = d.DialContext(ctx, network, net.JoinHostPort("::1", port))
	}
	return conn, err
}

// hostOf is the host of HOST[:PORT].
func hostOf(hostport string) string {
	u := url.URL{Host: hostport}
	return u.Hostname()
}

// loopback tells names and addresses of this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// guarded refuses requests in clear to other machines, and requests to this one for a server that is another, wherever it sends the client: by a
// redirect, for a token, with an upload. What listens on this machine trusts who asks.
type guarded struct {
	next http.RoundTripper
	here bool // the server is on this machine
}

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	switch here, to := loopback(r.URL.Hostname()), shown(r.URL.Scheme+"://"+r.URL.Host); {
	case here && !g.here:
		return nil, fmt.Errorf("it leads to %s, on this machine; a server that is elsewhere is not followed there", to)
	case !here && r.URL.Scheme != "https":
		return nil, fmt.Errorf("it leads to %s, in clear; only this machine is spoken to without TLS", to)
	}
	return g.next.RoundTrip(r)
}

// patient gives up a request on which nothing has moved for a time, in either direction. A request has no other bound of its own, since
// packages are large and lines slow.
type patient struct {
	next  http.RoundTripper
	time  time.Duration
	moved func(n int64) // nil: nobody wants to know
}

var (
	errStalled = errors.New("the server neither took nor sent anything")
	errBroken  = errors.New("the server broke off in the middle")
)

// Unavailable is the error when a server does not answer, or not well. Another time it may.
type Unavailable struct{ Err error }

func (u *Unavailable) Error() string { return u.Err.Error() }

// Unwrap gives the cause.
func (u *Unavailable) Unwrap() error { return u.Err }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	w := &watch{time: p.time, cancel: cancel, tell: p.moved}
	w.timer = time.AfterFunc(p.time, func() { cancel(&Unavailable{fmt.Errorf("%w for %s", errStalled, p.time)}) })
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &moving{r.Body, w, ctx, false}
	}
	resp, err := p.next.RoundTrip(r)
	if err != nil {
		w.end()
		return nil, because(ctx, err)
	}
	w.moved(0)
	resp.Body = &moving{resp.Body, w, ctx, true}
	return resp, nil
}

// because gives the reason why a request was given up in the place of the words of the standard library.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// watch has the time that is left for something to move.
type watch struct {
	time   time.Duration
	cancel context.CancelCauseFunc
	tell   func(n int64)
	mu     sync.Mutex
	timer  *time.Timer
	over   bool
}

func (w *watch) moved(n int) {
	if w.tell != nil && n > 0 {
		w.tell(int64(n))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.timer.Reset(w.time)
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
	w.cancel(nil)
}

// moving is a body whose bytes are movement.
type moving struct {
	io.ReadCloser
	watch *watch
	ctx   context.Context
	last  bool // with it the exchange ends
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if n > 0 {
		m.watch.moved(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if err = because(m.ctx, err); errors.Is(err, io.ErrUnexpectedEOF) {
			err = errBroken
		}
		err = &Unavailable{err}
	}
	return n, err
}

func (m *moving) Close() error {
	err := m.ReadCloser.Close()
	if m.last {
		m.watch.end()
	}
	return err
}
