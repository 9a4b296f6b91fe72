package web

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/carriertest"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/core/smtp"
)

type content = messagetest.Stored

// broken is a content of which the end cannot be read once it was signed.
type broken struct {
	content
	reads *int
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if *b.reads++; *b.reads > 1 {
		return 0, errors.New("damaged")
	}
	return b.content.ReadAt(p, off)
}

// receiver is a web server by the name of example.com, which its certificate has.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	got   []*http.Request
	body  []string
	dials []string
	roots *x509.CertPool
	dial  func(context.Context) (net.Conn, error)
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func receive(t *testing.T, answer http.HandlerFunc) *receiver { return receiveAt(t, nil, answer) }

// receiveAt has the server listen in memory, where there is such a listener.
func receiveAt(t *testing.T, ln *listener, answer http.HandlerFunc) *receiver {
	r := &receiver{roots: x509.NewCertPool()}
	r.dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", r.Listener.Addr().String())
	}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got, r.body = append(r.got, req), append(r.body, string(body))
		r.mu.Unlock()
		answer(w, req)
	}))
	if ln != nil {
		r.Listener.Close()
		r.Listener, r.dial = ln, ln.dial
	}
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	r.roots.AddCert(r.Certificate())
	return r
}

func (r *receiver) carrier(t *testing.T, change func(*Options)) *Carrier {
	t.Helper()
	o := Options{Name: "hook", Secret: func() ([]byte, error) { return []byte("key"), nil }, TimeLimit: time.Minute, Roots: r.roots, Agent: "stagepost",
		Resolver: resolvetest.New(t, map[string][]string{"example.com": {"A 192.0.2.80"}, "inside.example": {"A 10.0.0.1"}, "loop.example": {"A 127.0.0.1", "AAAA ::1"}}),
		Now:      func() time.Time { return start },
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			r.mu.Lock()
			r.dials = append(r.dials, addr)
			r.mu.Unlock()
			return r.dial(ctx)
		}}
	o.URL, _ = url.Parse("https://example.com/in?box=1")
	if change != nil {
		change(&o)
	}
	c := New(o)
	t.Cleanup(c.Close)
	return c
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func job(t testing.TB, c message.Content, rcpts ...string) *deliver.Job {
	return carriertest.NewJob(t, c, "a@client.example", rcpts...)
}

func said(o message.Outcome) string { return o.Result.String() + " " + o.Reply.Error() }

const text = "Subject: x\r\n\r\n.\r\nlast\r\n"

// TestPost: the message is the body, the envelope stands in fields, and all is signed so that anybody can check it who has the secret.
func TestPost(t *testing.T) {
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "thanks\x1b") })
	for _, secret := range []string{"key", "whsec_" + base64.StdEncoding.EncodeToString([]byte("key"))} {
		c := r.carrier(t, func(o *Options) { o.Secret = func() ([]byte, error) { return []byte(secret), nil } })
		j := job(t, content(text), "joe@example.org", `"a,b"@example.org`, "jörg@example.org")
		for range 2 {
			for _, o := range c.Carry(t.Context(), j) {
				if said(o) != "delivered 250 2.0.0 HTTP 200: thanks?" || o.Host != "example.com" || o.Reply.Check() != nil {
					t.Errorf("%+v", o)
				}
			}
		}
	}
	if len(r.got) != 4 || r.dials[0] != "192.0.2.80:443" {
		t.Fatalf("%d requests, dialed %q", len(r.got), r.dials)
	}
	mac := hmac.New(sha256.New, []byte("key"))
	id := r.got[0].Header.Get("Webhook-Id")
	mac.Write([]byte(id + ".1772366400." + text))
	for i, q := range r.got {
		h := q.Header
		if q.Method != "POST" || q.URL.RequestURI() != "/in?box=1" || q.Host != "example.com" || r.body[i] != text || q.ContentLength != int64(len(text)) || len(q.TransferEncoding) > 0 {
			t.Errorf("%s %s of %s: %q", q.Method, q.URL, q.Host, r.body[i])
		}
		for name, want := range map[string]string{
			"Content-Type": "message/rfc822", "Stagepost-Sender": "<a@client.example>", "User-Agent": "stagepost", "Stagepost-Message": "0501061000000000",
			"Idempotency-Key": id, "Webhook-Id": id, "Webhook-Timestamp": "1772366400", "Webhook-Signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		} {
			if got := h.Get(name); got != want && name != "Stagepost-Message" || got == "" {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got := h["Stagepost-Recipient"]; !slices.Equal(got, []string{"<joe@example.org>", `<"a,b"@example.org>`, "<jörg@example.org>"}) {
			t.Errorf("recipients %q", got)
		}
	}
}

// TestKeys: the key is the same for the same recipients, and for others another one. Many recipients take several requests.
func TestKeys(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	c := r.carrier(t, nil)
	var many []string
	for i := range maxRcpts + 1 {
		many = append(many, fmt.Sprintf("u%d@example.org", i))
	}
	j := job(t, content(text), many...)
	if out := c.Carry(t.Context(), j); len(out) != len(many) {
		t.Fatalf("%d outcomes", len(out))
	}
	j.Rcpts = j.Rcpts[:maxRcpts]
	c.Carry(t.Context(), j)
	j.Plan.Sender = &smtp.Address{}
	c.Carry(t.Context(), j)
	var keys []string
	for _, q := range r.got {
		keys = append(keys, q.Header.Get("Idempotency-Key"))
	}
	if len(keys) != 4 || keys[0] == keys[1] || keys[0] != keys[2] || keys[0] == keys[3] || len(r.got[1].Header["Stagepost-Recipient"]) != 1 || r.got[3].Header.Get("Stagepost-Sender") != "<>" {
		t.Errorf("keys %q", keys)
	}
}

func TestAnswers(t *testing.T) {
	status, after := 0, ""
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		if status/100 == 3 {
			w.Header().Set("Location", "https://example.com/elsewhere")
		}
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			fmt.Fprint(w, strings.Repeat("why ", 10_000))
		}
	})
	c := r.carrier(t, nil)
	for _, tt := range []struct {
		status int
		after  string
		want   string
		wait   time.Duration
	}{
		{200, "", "delivered 250 2.0.0 HTTP 200", 0}, {202, "60", "delivered 250 2.0.0 HTTP 202", 0}, {204, "", "delivered 250 2.0.0 HTTP 204", 0},
		{301, "", "deferred 451 4.3.0 HTTP 301", 0}, {307, "", "deferred 451 4.3.0 HTTP 307", 0}, {304, "", "deferred 451 4.3.0 HTTP 304", 0},
		{400, "", "failed 554 5.3.0 HTTP 400", 0}, {401, "", "failed 550 5.7.1 HTTP 401", 0}, {403, "", "failed 550 5.7.1 HTTP 403", 0}, {404, "60", "failed 550 5.1.1 HTTP 404", 0},
		{410, "", "failed 550 5.1.1 HTTP 410", 0}, {413, "", "failed 552 5.3.4 HTTP 413", 0}, {422, "", "failed 554 5.3.0 HTTP 422", 0},
		{408, "", "deferred 451 4.3.0 HTTP 408", 0}, {425, "", "deferred 451 4.3.0 HTTP 425", 0}, {429, "120", "deferred 451 4.3.0 HTTP 429", 2 * time.Minute},
		{500, "", "deferred 451 4.3.0 HTTP 500", 0}, {503, "Sun, 01 Mar 2026 13:00:00 GMT", "deferred 451 4.3.0 HTTP 503", time.Hour}, {503, "99999999999999999999", "deferred 451 4.3.0 HTTP 503", 0},
		{503, "4000000000", "deferred 451 4.3.0 HTTP 503", maxAfter}, {503, "Sun, 01 Mar 2020 13:00:00 GMT", "deferred 451 4.3.0 HTTP 503", 0}, {503, "-5", "deferred 451 4.3.0 HTTP 503", 0},
		{502, "", "deferred 451 4.3.0 HTTP 502", 0}, {504, "60", "deferred 451 4.3.0 HTTP 504", time.Minute}, {599, "", "deferred 451 4.3.0 HTTP 599", 0},
	} {
		status, after = tt.status, tt.after
		before := r.count()
		o := c.Carry(t.Context(), job(t, content(text), "joe@example.org"))[0]
		if got := said(o); !strings.HasPrefix(got, tt.want) || o.After != tt.wait || o.Reply.Check() != nil || o.Away || o.Host == "" {
			t.Errorf("%d %q: %s, after %v: %+v", tt.status, tt.after, got, o.After, o)
		}
		unknown := tt.status == 502 || tt.status == 504 // the message came through whole, to whom nobody knows
		if onward := tt.status/100 == 3 || tt.status/100 == 5 && !unknown; o.Unknown != unknown || o.Onward != onward {
			t.Errorf("%d: unknown %v, onward %v", tt.status, o.Unknown, o.Onward)
		}
		if r.count() != before+1 {
			t.Errorf("%d: %d requests", tt.status, r.count()-before)
		}
	}
}

// TestReach: mail goes to no private address and not to this server, by whatever name, unless that is allowed; and the certificate is that of
// the name.
func TestReach(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	for _, tt := range []struct {
		url    string
		change func(*Options)
		want   string
		dials  int
	}{
		{"https://inside.example/", nil, "4.3.5 inside.example: inside.example has the address 10.0.0.1 (private), to which [transport.hook] does not lead", 0},
		{"https://loop.example/", nil, "4.3.5 loop.example: loop.example has the address", 0},
		{"https://localhost/", nil, "4.3.5 localhost: localhost has the address", 0},
		{"https://127.0.0.1/", nil, "4.3.5 127.0.0.1: 127.0.0.1 has the address 127.0.0.1 (loopback)", 0},
		{"https://[::ffff:169.254.169.254]/", nil, "(link-local)", 0},
		{"https://example.com/", func(o *Options) { o.Own = func(a netip.AddrPort) bool { return a.String() == "192.0.2.80:443" } }, "(this server's own)", 0},
		{"https://127.0.0.1/", func(o *Options) { o.Private = true }, "250 2.0.0", 1},
		{"https://loop.example/", func(o *Options) { o.Private = true }, "4.7.5 loop.example: tls: failed to verify certificate", 1},
		{"https://example.com/", func(o *Options) { o.Roots = x509.NewCertPool() }, "4.7.5 example.com: tls: failed to verify certificate", 1},
		{"https://nowhere.example/", nil, "4.4.2 nowhere.example: ", 0},
		{"https://example.com:8443/", nil, "250 2.0.0", 1},
	} {
		r.dials = nil
		c := r.carrier(t, func(o *Options) {
			o.URL, _ = url.Parse(tt.url)
			if tt.change != nil {
				tt.change(o)
			}
		})
		o := c.Carry(t.Context(), job(t, content(text), "joe@example.org"))[0]
		if !strings.Contains(said(o), tt.want) || len(r.dials) != tt.dials || o.Unknown {
			t.Errorf("%s: %s; %+v, dialed %q", tt.url, said(o), o, r.dials)
		}
		if o.Result == message.Deferred && (!o.Away || o.Host != "") {
			t.Errorf("%s: %+v", tt.url, o)
		}
	}
}
