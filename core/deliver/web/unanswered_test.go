package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/weburl"
)

// listener takes connections in memory.
type listener struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func listen() *listener { return &listener{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (l *listener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 80), Port: 443} }

// TestUnanswered: where the whole message may have come through, nobody knows whether it did. Time passes only where everybody waits.
func TestUnanswered(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answer  func(cancel func(), hang <-chan struct{})
		unknown bool
		want    string
	}{
		{"cut off", func(func(), <-chan struct{}) { panic(http.ErrAbortHandler) }, true, "deferred 451 4.4.2 example.com: EOF"},
		{"silent", func(_ func(), hang <-chan struct{}) { <-hang }, true, "deferred 451 4.4.2 example.com: no answer within 1m0s"},
		{"stopped", func(cancel func(), hang <-chan struct{}) { cancel(); <-hang }, true, "deferred 451 4.4.2 example.com: no answer within 1m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				hang := make(chan struct{})
				defer close(hang)
				r := receiveAt(t, listen(), func(http.ResponseWriter, *http.Request) { tt.answer(cancel, hang) })
				o := r.carrier(t, nil).Carry(ctx, job(t, content(text), "joe@example.org"))[0]
				if said(o) != tt.want || o.Unknown != tt.unknown || o.Away || o.Host != "" {
					t.Errorf("%s: %+v", said(o), o)
				}
			})
		})
	}
}

// TestAnsweredAfterTheEnd: an attempt that is broken off waits for the answer to a message that was sent whole.
func TestAnsweredAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := receiveAt(t, listen(), func(http.ResponseWriter, *http.Request) {
			cancel()
			time.Sleep(30 * time.Second)
		})
		if o := r.carrier(t, nil).Carry(ctx, job(t, content(text), "joe@example.org"))[0]; said(o) != "delivered 250 2.0.0 HTTP 200" {
			t.Errorf("%s: %+v", said(o), o)
		}
	})
}

// TestHalt: a message of which something is left to be sent goes no further, and one that was sent stays so.
func TestHalt(t *testing.T) {
	part, whole, buf := &reader{content: content(text)}, &reader{content: content(text)}, make([]byte, len(text))
	if n, err := part.Read(buf[:4]); n != 4 || err != nil || !part.halt() {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := part.Read(buf); n != 0 || err == nil {
		t.Errorf("%d were read on", n)
	}
	if n, err := whole.Read(buf); n != len(text) || err != nil || whole.halt() {
		t.Errorf("%d, %v", n, err)
	}
}

// TestUnsent: what kept the message from being sent whole is said, and it was not taken.
func TestUnsent(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	one := func(c *Carrier, ctx context.Context, m message.Content) message.Outcome {
		return c.Carry(ctx, job(t, m, "joe@example.org"))[0]
	}
	for name, secret := range map[string]func() ([]byte, error){
		"there is none": func() ([]byte, error) { return nil, errors.New("there is none") },
		"is empty":      func() ([]byte, error) { return nil, nil },
		"not base64":    func() ([]byte, error) { return []byte("whsec_*"), nil },
	} {
		o := one(r.carrier(t, func(o *Options) { o.Secret = secret }), t.Context(), content(text))
		if o.Result != message.Deferred || !o.Away || o.Reply.Enhanced != "4.3.5" || !strings.Contains(said(o), name) || r.count() > 0 {
			t.Errorf("%s: %+v", name, o)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := one(r.carrier(t, nil), ctx, content(text)); o.Unknown || o.Host != "" || o.Reply.Enhanced != "4.3.2" {
		t.Errorf("stopped before: %+v", o)
	}
	if o := one(r.carrier(t, nil), t.Context(), broken{content(text), new(int)}); o.Result != message.Deferred || o.Unknown || !strings.HasPrefix(said(o), "deferred 451 4.3.0 the content cannot be read: damaged") {
		t.Errorf("damaged: %+v", o)
	}
}

// TestPoster: a URL that a plan names leads to a private address only where that was granted, also when there is a connection to it.
func TestPoster(t *testing.T) {
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	o := r.carrier(t, nil).o
	o.Name, o.URL, o.Secret, o.Resolver = "", nil, nil, nil
	p := NewPoster(o)
	t.Cleanup(p.Close)
	j := job(t, content(text), "joe@example.org")
	to := func(url string, private bool, key string) string {
		u, err := weburl.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		var c deliver.Carrier = p.To(u, private, func() ([]byte, error) { return []byte(key), nil })
		return said(c.Carry(t.Context(), j)[0])
	}
	for _, key := range []string{"one", "two"} {
		if got := to("https://127.0.0.1/in", true, key); got != "delivered 250 2.0.0 HTTP 200" {
			t.Errorf("granted: %s", got)
		}
	}
	if got := to("https://127.0.0.1/in", false, "one"); got != `deferred 451 4.3.5 127.0.0.1: 127.0.0.1 has the address 127.0.0.1 (loopback), which the plugin that named it is not granted: write needs = { route = {"127.0.0.1:443"} }` {
		t.Errorf("not granted: %s", got)
	}
	if len(r.got) != 2 || len(r.dials) != 1 || r.got[0].Header.Get("Webhook-Signature") == r.got[1].Header.Get("Webhook-Signature") {
		t.Errorf("%d requests over %d connections, signed %q", len(r.got), len(r.dials), r.got[0].Header.Get("Webhook-Signature"))
	}
}
