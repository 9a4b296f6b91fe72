package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
)

// Bounds of http.
const (
	maxRequests   = 20 // in one hook call
	maxRedirects  = 5
	maxURL        = 8 << 10
	maxFields     = 100      // of a request's header
	maxFieldText  = 16 << 10 // bytes of one
	maxResponse   = 1 << 20  // bytes of a body
	maxRespHeader = 64 << 10
	httpSteps     = 6000
)

func httpService() Service {
	return Service{Name: "http", Doc: "Requests by HTTP and HTTPS. A hook may make 20 in one call, and each ends with the hook's time, or after `timeout` seconds. " +
		"Redirects are followed, at most 5, to where the plugin may go, and not from https to http; what was sent as bearer or from a secret does not go to another host. " +
		"No proxy is used, and certificates are checked against those that the system trusts.",
		Funcs: []Func{{
			Name: "http.request", Args: []Arg{{Name: "request", Kind: Map, Of: []string{secretObject, contentObject}}}, Result: "{status: integer, headers: table<string, string>, body: string}", Needs: "http",
			Form: "http.request{url, method, headers, body, bearer, timeout}",
			Doc: "Sends a request and waits for the answer, whatever its status is. `method` is GET, or POST where there is a body; `headers` a table by name; `body` a string, or the content of the message or of one of its parts, sent as it is read, which needs `read = \"body\"` " +
				"(in WebAssembly the number of a content); `bearer` what stands in Authorization. The names of `headers` in the answer are in lower case; a `body` of more than 1 MiB is an error.",
			Call: func(c *Context, args []any) (any, error) { return c.request(args[0].(map[string]any)) },
		}},
	}
}

var httpReach = reach{"http", func(n *capability.Needs) []string { return n.HTTP }}

// client sends the requests of one plugin, as long as what it is granted does not change: a connection that waits for the next
// request was judged by that.
type client struct {
	needs     *capability.Needs
	transport http.RoundTripper
}

// clients is what a plugin's instances share.
type clients struct {
	mu  sync.Mutex
	now client
}

func (c *Context) transport() http.RoundTripper {
	if c.host.Fetch != nil {
		return c.host.Fetch
	}
	s := &c.state.http
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.needs == c.Needs {
		return s.now.transport
	}
	if old, ok := s.now.transport.(*http.Transport); ok {
		old.CloseIdleConnections()
	}
	h, needs := c.host, c.Needs
	s.now = client{needs, &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (conn net.Conn, err error) {
			defer func() { // on a goroutine of the transport's, where a panic would end the server
				if p := recover(); p != nil {
					conn, err = nil, fmt.Errorf("the connection failed: %v", p)
				}
			}()
			t, err := parseTarget(addr)
			if err != nil {
				return nil, err
			}
			return h.dial(ctx, httpReach, needs, t)
		},
		TLSClientConfig:        &tls.Config{RootCAs: h.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTime,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a small answer stays small
		MaxIdleConns:           32,
		MaxIdleConnsPerHost:    8,
		MaxConnsPerHost:        64,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxRespHeader,
	}}
	return s.now.transport
}

// end closes the connections of those needs, if they are the last that were used.
func (s *clients) end(needs *capability.Needs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.now.transport.(*http.Transport); ok && s.now.needs == needs {
		t.CloseIdleConnections()
	}
}

// request is http.request.
func (c *Context) request(args map[string]any) (any, error) {
	if c.requests >= maxRequests {
		return nil, fmt.Errorf("more than %d requests in one hook call", maxRequests)
	}
	c.requests++
	if err := c.spend(httpSteps, 32<<10); err != nil {
		return nil, err
	}
	r, timeout, err := c.newRequest(args)
	if err != nil {
		return nil, err
	}
	defer r.sent.Close()
	ctx := c.call.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	hc := http.Client{Transport: c.transport(), CheckRedirect: r.redirect(c.Needs)}
	resp, err := hc.Do(r.WithContext(ctx))
	if err != nil {
		return nil, requestError(ctx, err)
	}
	defer resp.Body.Close()
	if err := c.spend(maxRespHeader/256, 4<<10); err != nil {
		return nil, err
	}
	var body strings.Builder
	n, err := io.Copy(&body, io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, requestError(ctx, err)
	case n > maxResponse:
		return nil, fmt.Errorf("the answer of %s has more than %d bytes", r.URL.Host, maxResponse)
	}
	headers := map[string]any{}
	for name, values := range resp.Header {
		headers[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, ", "), "\uFFFD")
	}
	if err := c.spend(int(n)/64+10*len(headers), int(n)+200*len(headers)); err != nil {
		return nil, err
	}
	return map[string]any{"status": int64(resp.StatusCode), "headers": headers, "body": body.String()}, nil
}

// spokeFirst begins the error of net/http, which has no other word for it, where a server spoke before the request was on its way.
const spokeFirst = "readLoopPeekFailLocked: "

// requestError says why there is no answer, without what net/http puts before it.
func requestError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if strings.HasPrefix(err.Error(), spokeFirst) {
		return errors.New("the server spoke before it was asked")
	}
	return plainNet(err)
}

// request is one that is about to be sent, with the names of the fields that are for the first host only.
type request struct {
	*http.Request
	sent    *body
	private []string
}

// redirect judges where a server sends the client.
func (r *request) redirect(needs *capability.Needs) func(next *http.Request, via []*http.Request) error {
	return func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		t, err := targetOf(next.URL)
		if err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
		if next.URL.Scheme != "https" && via[0].URL.Scheme == "https" {
			return fmt.Errorf("redirect from https to http, to %s", t)
		}
		if err := httpReach.granted(needs, t); err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
		if first, err := targetOf(via[0].URL); err != nil || first != t {
			for _, name := range append([]string{"Authorization", "Cookie", "Referer"}, r.private...) {
				next.Header.Del(name)
			}
		}
		return nil
	}
}

func targetOf(u *url.URL) (target, error) {
	if u.Scheme != "https" && u.Scheme != "http" {
		return target{}, fmt.Errorf("%q is neither https nor http", cut(u.Scheme))
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return parseTarget(net.JoinHostPort(u.Hostname(), port))
}

var requestKeys = []string{"url", "method", "headers", "body", "bearer", "timeout"}

// newRequest reads the arguments.
func (c *Context) newRequest(args map[string]any) (*request, time.Duration, error) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !slices.Contains(requestKeys, name) {
			hint := "; there are " + strings.Join(requestKeys, ", ")
			if near := config.Nearest(name, requestKeys); near != "" {
				hint = "; did you mean " + near + "?"
			}
			return nil, 0, fmt.Errorf("a request has no %q%s", cut(name), hint)
		}
	}
	text, _ := args["url"].(string)
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, 0, errors.New(`url is missing; write http.request{url = "https://api.example.org/"}`)
	case len(text) > maxURL:
		return nil, 0, fmt.Errorf("the url is longer than %d bytes", maxURL)
	case err != nil || u.Opaque != "":
		return nil, 0, fmt.Errorf("%q is not a URL", cut(text))
	case u.User != nil:
		return nil, 0, errors.New("a name and password do not stand in the url; give them in headers or bearer")
	}
	t, err := targetOf(u)
	if err != nil {
		return nil, 0, err
	}
	if err := httpReach.granted(c.Needs, t); err != nil {
		return nil, 0, err
	}
	size, body, err := c.body(args["body"])
	if err != nil {
		return nil, 0, err
	}
	method, err := methodOf(args["method"], args["body"] != nil)
	if err != nil {
		return nil, 0, err
	}
	hr, err := http.NewRequest(method, u.String(), body)
	if err != nil {
		return nil, 0, err
	}
	r := &request{Request: hr, sent: body}
	if hr.ContentLength = size; size == 0 {
		hr.Body = nil
	}
	hr.Header.Set("User-Agent", "stagepost")
	if err := c.headers(r, args["headers"]); err != nil {
		return nil, 0, err
	}
	if b := args["bearer"]; b != nil {
		if err := c.field(r, "Authorization", "Bearer ", b); err != nil {
			return nil, 0, err
		}
	}
	timeout, err := timeoutOf(args["timeout"])
	return r, timeout, err
}

func methodOf(v any, body bool) (string, error) {
	switch m, ok := v.(string); {
	case v == nil && body:
		return http.MethodPost, nil
	case v == nil:
		return http.MethodGet, nil
	case !ok || !httpguts.ValidHeaderFieldName(m) || len(m) > 32 || m != strings.ToUpper(m) || m == http.MethodConnect || m == http.MethodTrace:
		return "", fmt.Errorf("method is %s; it is a word such as POST", describe(v))
	default:
		return m, nil
	}
}

func timeoutOf(v any) (time.Duration, error) {
	seconds, ok := v.(float64)
	if n, whole := v.(int64); whole {
		seconds, ok = float64(n), true
	}
	switch {
	case v == nil:
		return 0, nil
	case !ok || !(seconds > 0 && seconds <= 600):
		return 0, fmt.Errorf("timeout is %s; it is a number of seconds, at most 600", describe(v))
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// describe quotes a value for a message.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", cut(v))
	case int64, float64, bool:
		return fmt.Sprint(v)
	}
	return TypeName(v)
}

// body gives what is sent, and its size. Content is read as it is sent, never held.
func (c *Context) body(v any) (int64, *body, error) {
	switch v := v.(type) {
	case nil:
		return 0, &body{r: strings.NewReader("")}, nil
	case string:
		return int64(len(v)), &body{r: strings.NewReader(v)}, c.spend(len(v)/64, 0)
	case []byte:
		return int64(len(v)), &body{r: bytes.NewReader(v)}, c.spend(len(v)/64, 0)
	}
	content, err := c.content(v)
	if err != nil {
		return 0, nil, err
	}
	if content == nil {
		return 0, nil, fmt.Errorf("body is %s; it is a string, or content of the message", describe(v))
	}
	return content.Size(), &body{r: io.NewSectionReader(content, 0, content.Size())}, nil
}

// body is what a request sends. net/http may still read when the answer is there, but the content must not be read when the call
// is over.
type body struct {
	mu   sync.Mutex
	r    io.Reader
	over bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, io.ErrClosedPipe
	}
	return b.r.Read(p)
}

// Close waits for a Read that is under way; none follows.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	return nil
}

// ownFields are those that the connection is run by.
var ownFields = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer", "Expect", "Proxy-Authorization", "Proxy-Connection"}

func (c *Context) headers(r *request, v any) error {
	if list, ok := v.([]any); ok && len(list) == 0 {
		v = nil // an empty table
	}
	fields, ok := v.(map[string]any)
	switch {
	case v == nil:
		return nil
	case !ok:
		return fmt.Errorf("headers is %s; it is a table by name", describe(v))
	case len(fields) > maxFields:
		return fmt.Errorf("%d headers are too many; the most is %d", len(fields), maxFields)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch canonical := http.CanonicalHeaderKey(name); {
		case len(name) > 128 || !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("%q cannot name a header", cut(name))
		case slices.Contains(ownFields, canonical):
			return fmt.Errorf("the header %s is not for plugins to set", canonical)
		}
		if err := c.field(r, name, "", fields[name]); err != nil {
			return err
		}
	}
	return nil
}

// field sets a field of the header to a string, a number or a secret.
func (c *Context) field(r *request, name, before string, v any) error {
	t, err := c.thing([]string{secretObject}, v)
	if err != nil {
		return err
	}
	text := ""
	switch v := v.(type) {
	case string:
		text = v
	case int64, float64:
		text = fmt.Sprint(v)
	default:
		if t == nil {
			return fmt.Errorf("the header %s is %s; it is a string, a number or a secret", name, describe(v))
		}
	}
	if t != nil {
		text = textOf(t)
		r.private = append(r.private, name)
	}
	if len(text) > maxFieldText || !httpguts.ValidHeaderFieldValue(text) { // the text is not told: it may be secret
		return fmt.Errorf("the header %s cannot be sent: its text has line ends or other control characters, or is longer than %d bytes", name, maxFieldText)
	}
	r.Header.Set(name, before+text)
	return nil
}
