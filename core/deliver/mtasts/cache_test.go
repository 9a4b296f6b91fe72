package mtasts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/certs/certstest"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
)

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// world has the domain y.test with a policy host, at 192.0.2.80.
type world struct {
	*resolvetest.Resolver
	opts   Options
	policy atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int32
	log    *bytes.Buffer
}

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx.y.test\r\nmax_age: 604800\r\n"

func newWorld(t *testing.T, cert func(ca *certstest.CA) tls.Certificate) *world {
	long := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(90 * 24 * time.Hour) }
	ca := certstest.New(t, "authority", long)
	if cert == nil {
		cert = func(ca *certstest.CA) tls.Certificate {
			return ca.Issue(t, long, "mta-sts.y.test")
		}
	}
	w := &world{log: &bytes.Buffer{}, Resolver: resolvetest.New(t, map[string][]string{
		"_mta-sts.y.test": {`TXT "v=STSv1; id=1"`},
		"mta-sts.y.test":  {"A 192.0.2.80"},
	})}
	w.serve(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(rw, good)
	})
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		if r.Host != "mta-sts.y.test" || r.URL.Path != "/.well-known/mta-sts.txt" || r.Method != http.MethodGet {
			t.Errorf("asked for %s %s%s", r.Method, r.Host, r.URL)
		}
		(*w.policy.Load())(rw, r)
	})}
	own := cert(ca)
	var mu sync.Mutex
	var ends []net.Conn // of connections, on the server's side
	// The server is there once it is asked. Its connections end before it does: it holds a lock while it says good-bye on them, and in memory that
	// waits for the other side, while time stands still for who waits for a lock.
	start := sync.OnceFunc(func() {
		var serving sync.WaitGroup
		serving.Go(func() { server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{own}})) })
		t.Cleanup(func() {
			mu.Lock()
			for _, c := range ends {
				c.Close()
			}
			mu.Unlock()
			server.Close()
			serving.Wait()
			time.Sleep(10 * time.Second)
		})
	})
	w.opts = Options{Resolver: w.Resolver, Folder: t.TempDir(), Roots: ca.Pool(), Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
			if addr != "192.0.2.80:443" {
				return nil, fmt.Errorf("nobody is at %s", addr)
			}
			start()
			client, server := net.Pipe()
			mu.Lock()
			ends = append(ends, server)
			mu.Unlock()
			select {
			case l.conns <- server:
				return client, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
	return w
}

func (w *world) serve(h http.HandlerFunc) { w.policy.Store(&h) }

func (w *world) say(contentType, text string) {
	w.serve(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", contentType)
		io.WriteString(rw, text)
	})
}

func (w *world) open(t *testing.T) *Cache {
	c, err := New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (f Found) String() string {
	s := "none"
	if f.Policy != nil {
		s = f.Policy.Mode + " " + f.ID
	}
	return strings.TrimSpace(s + " " + string(f.Problem))
}

func expect(t *testing.T, c *Cache, want string) {
	t.Helper()
	if f := c.Lookup(t.Context(), "y.test"); f.String() != want {
		t.Errorf("found %q (%s), want %q", f, f.Why, want)
	}
}

func TestFetch(t *testing.T) {
	var client = func(h http.HandlerFunc) func(*world) { return func(w *world) { w.serve(h) } }
	for _, c := range []struct {
		name string
		do   func(*world)
		cert func(*certstest.CA) tls.Certificate
		want string
	}{
		{name: "good", want: "enforce 1"},
		{name: "no record", do: func(w *world) { w.Set("_mta-sts.y.test") }, want: "none"},
		{name: "the DNS does not tell", do: func(w *world) { w.Set("_mta-sts.y.test", "!servfail") }, want: "none"},
		{name: "a bad record", do: func(w *world) { w.Set("_mta-sts.y.test", `TXT "v=STSv1; id=a-b"`) }, want: "none sts-policy-invalid"},
		{name: "no host", do: func(w *world) { w.Set("mta-sts.y.test") }, want: "none sts-policy-fetch-error"},
		{name: "a private address", do: func(w *world) { w.Set("mta-sts.y.test", "A 10.0.0.1") }, want: "none sts-policy-fetch-error"},
		{name: "this host", do: func(w *world) { w.Set("mta-sts.y.test", "A 127.0.0.1", "AAAA ::1") }, want: "none sts-policy-fetch-error"},
		{name: "a private address a moment later", do: func(w *world) {
			w.opts.Resolver = &resolvetest.Turning{First: w.Resolver, Then: resolvetest.New(t, map[string][]string{
				"_mta-sts.y.test": {`TXT "v=STSv1; id=1"`}, "mta-sts.y.test": {"A 10.0.0.1"}})}
		}, want: "enforce 1"},
		{name: "a redirect", do: client(func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://mta-sts.y.test/.well-known/mta-sts.txt", http.StatusMovedPermanently)
		}), want: "none sts-policy-fetch-error"},
		{name: "not found", do: client(http.NotFound), want: "none sts-policy-fetch-error"},
		{name: "another 2xx", do: client(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			rw.WriteHeader(http.StatusAccepted)
			io.WriteString(rw, good)
		}), want: "none sts-policy-fetch-error"},
		{name: "HTML", do: func(w *world) { w.say("text/html", good) }, want: "none sts-policy-invalid"},
		{name: "no type", do: client(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header()["Content-Type"] = nil
			io.WriteString(rw, good)
		}), want: "none sts-policy-invalid"},
		{name: "64 KiB", do: func(w *world) {
			w.say("text/plain", good+"x: "+strings.Repeat("x", maxPolicy-len(good)-len("x: \n"))+"\n")
		}, want: "enforce 1"},
		{name: "an octet more", do: func(w *world) {
			w.say("text/plain", good+"x: "+strings.Repeat("x", maxPolicy-len(good)-len("x: \n")+1)+"\n")
		}, want: "none sts-policy-invalid"},
		{name: "endless", do: client(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			for {
				if _, err := io.WriteString(rw, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}), want: "none sts-policy-invalid"},
		{name: "an endless header", do: client(func(rw http.ResponseWriter, _ *http.Request) {
			nc, _, err := rw.(http.Hijacker).Hijack()
			for err == nil {
				_, err = io.WriteString(nc, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1000)+"\r\n")
			}
		}), want: "none sts-policy-fetch-error"},
		{name: "no policy", do: func(w *world) { w.say("text/plain", "hello") }, want: "none sts-policy-invalid"},
		{name: "silent", do: client(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), want: "none sts-policy-fetch-error"},
		{name: "slow", do: client(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			for i := range good {
				if _, err := io.WriteString(rw, good[i:i+1]); err != nil {
					return
				}
				rw.(http.Flusher).Flush()
				time.Sleep(2 * time.Second)
			}
		}), want: "none sts-policy-fetch-error"},
		{name: "another name", cert: func(ca *certstest.CA) tls.Certificate { return ca.Issue(t, nil, "y.test") }, want: "none sts-webpki-invalid"},
		{name: "a wildcard", cert: func(ca *certstest.CA) tls.Certificate { return ca.Issue(t, nil, "*.y.test") }, want: "enforce 1"},
		{name: "an unknown authority", cert: func(*certstest.CA) tls.Certificate {
			return certstest.New(t, "other").Issue(t, nil, "mta-sts.y.test")
		}, want: "none sts-webpki-invalid"},
		{name: "expired", cert: func(ca *certstest.CA) tls.Certificate {
			return ca.Issue(t, func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
			}, "mta-sts.y.test")
		}, want: "none sts-webpki-invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.cert)
				if c.do != nil {
					c.do(w)
				}
				cache := w.open(t)
				began := time.Now()
				expect(t, cache, c.want)
				if took := time.Since(began); took > fetchTime {
					t.Errorf("it took %v", took)
				}
				n := w.asked.Load()
				expect(t, cache, c.want)
				if w.asked.Load() != n {
					t.Error("it was fetched again at once")
				}
			})
		})
	}
}

// What was fetched once counts until it expires, whatever happens, also over a restart; a new id brings the new one.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.open(t)
		expect(t, c, "enforce 1")
		w.serve(http.NotFound)
		expect(t, c, "enforce 1")
		w.Set("_mta-sts.y.test")
		expect(t, c, "enforce 1")
		w.Set("_mta-sts.y.test", "!servfail")
		expect(t, c, "enforce 1")
		w.Set("_mta-sts.y.test", `TXT "v=STSv1; id=2"`)
		expect(t, c, "enforce 1 sts-policy-fetch-error")
		if !strings.Contains(w.log.String(), "domain=y.test") {
			t.Errorf("the log has %q", w.log)
		}
		c.Close()

		c = w.open(t)
		expect(t, c, "enforce 1 sts-policy-fetch-error")
		n := w.asked.Load()
		expect(t, c, "enforce 1 sts-policy-fetch-error")
		if w.asked.Load() != n {
			t.Error("it was fetched again within the pause")
		}
		w.say("text/plain", strings.Replace(good, "enforce", "none", 1))
		expect(t, c, "enforce 1 sts-policy-fetch-error")
		time.Sleep(pause)
		expect(t, c, "none 2")
		w.say("text/plain", good)
		w.Set("_mta-sts.y.test", `TXT "v=STSv1; id=3"`)
		expect(t, c, "enforce 3")
		w.Set("_mta-sts.y.test")
		time.Sleep(7*24*time.Hour - time.Minute)
		expect(t, c, "enforce 3")
		time.Sleep(time.Minute)
		expect(t, c, "none")
		c.Patrol(t.Context())
		if files, _ := os.ReadDir(w.opts.Folder); len(files) != 0 {
			t.Errorf("%d files are left", len(files))
		}
	})
}

// A policy is fetched again every day, so that one whose domain is not mailed to does not run out.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.open(t)
		expect(t, c, "enforce 1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Run(ctx); close(done) }()
		time.Sleep(6 * 24 * time.Hour)
		if n := w.asked.Load(); n < 6 || n > 7 {
			t.Errorf("it was fetched %d times in 6 days", n)
		}
		w.serve(http.NotFound)
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if n := w.asked.Load(); n < 30 || n > 60 {
			t.Errorf("it was tried %d times, once an hour while it fails", n)
		}
		expect(t, c, "enforce 1")
		w.say("text/plain", good)
		time.Sleep(4 * 24 * time.Hour)
		expect(t, c, "enforce 1")
		cancel()
		<-done
	})
}

// TestHandshakeThatHangs: a policy host that takes connections and says nothing holds none of them for longer than a fetch may take.
func TestHandshakeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var open atomic.Int32
		w.opts.Dial = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			open.Add(1)
			go func() {
				io.Copy(io.Discard, server)
				server.Close()
				open.Add(-1)
			}()
			return client, nil
		}
		c := w.open(t)
		expect(t, c, "none sts-policy-fetch-error")
		time.Sleep(time.Second)
		synctest.Wait()
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// Many that wait for one domain fetch once; who does not wait any longer goes without.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		text := *w.policy.Load()
		w.serve(func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			text(rw, r)
		})
		c := w.open(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { expect(t, c, "enforce 1") })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if f := c.Lookup(ctx, "y.test"); f.Policy != nil {
			t.Errorf("found %v before it was there", f)
		}
		cancel()
		all.Wait()
		if n := w.asked.Load(); n != 1 {
			t.Errorf("fetched %d times", n)
		}
	})
}

// What does not fit is forgotten, in memory and on disk.
func TestBounds(t *testing.T) {
	w := newWorld(t, nil)
	c := w.open(t)
	p := &Policy{Mode: Enforce, MaxAge: time.Hour}
	for range 2000 {
		p.MX = append(p.MX, strings.Repeat("x", 40)+".example")
	}
	var one int
	for i := range 100 {
		e := &entry{Domain: fmt.Sprintf("d%d.test", i), ID: "1", Fetched: time.Now(), Policy: p}
		one = e.slots()
		c.keep(e)
		c.save(e)
	}
	if c.used > maxSlots || c.Len() != maxSlots/one {
		t.Errorf("%d policies of %d slots take %d", c.Len(), one, c.used)
	}
	files, err := os.ReadDir(w.opts.Folder)
	if err != nil || len(files) != c.Len() {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// Files that are not what they should be are removed, and nothing else happens.
func TestBadFiles(t *testing.T) {
	w := newWorld(t, nil)
	for name, text := range map[string]string{
		"y.test": `{"domain":"z.test","id":"1","policy":{"mode":"enforce"}}`, "a.test": `{`, "b.test": ``, "c.test": `{"domain":"c.test"}`,
		"d.test": `{"domain":"d.test","policy":{"max_age":-1}}`, ".new-1": `{`, "no domain": `{}`, "e.test": strings.Repeat("x", maxFile+10),
		"f.test": `{"domain":"f.test","id":"9","fetched":"2999-01-01T00:00:00Z","policy":{"mode":"enforce","mx":["a"],"max_age":1000000000}}`,
	} {
		if err := os.WriteFile(filepath.Join(w.opts.Folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := w.open(t)
	files, err := os.ReadDir(w.opts.Folder)
	if err != nil || len(files) != 1 || c.Len() != 1 {
		t.Errorf("%d files, %d policies, %v", len(files), c.Len(), err)
	}
	if e := c.entries["f.test"].Value.(*entry); e.Fetched.After(time.Now()) {
		t.Errorf("fetched in the future: %v", e.Fetched)
	}
}

type broken struct{}

func (broken) Lookup(_ context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if t == resolve.TypeTXT {
		return resolve.Answer{Records: []resolve.Record{resolve.Text("v=STSv1; id=1")}}, nil
	}
	panic("a mistake")
}

func TestPanickingResolver(t *testing.T) {
	w := newWorld(t, nil)
	w.opts.Resolver = broken{}
	expect(t, w.open(t), "none sts-policy-fetch-error")
}

func TestFolderThatCannotBe(t *testing.T) {
	w := newWorld(t, nil)
	w.opts.Folder = filepath.Join(w.opts.Folder, "file")
	if err := os.WriteFile(w.opts.Folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(w.opts); err == nil {
		t.Error("a file is taken for a folder")
	} else if e := (*os.PathError)(nil); !errors.As(err, &e) {
		t.Error(err)
	}
}
