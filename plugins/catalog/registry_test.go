package catalog

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// published is a registry with the package sample 1.0.0.
func published(t *testing.T, o Options) (*fakeRegistry, *Place) {
	t.Helper()
	f := newFakeRegistry()
	place := f.serve(t, o)
	if err := place.Put(t.Context(), packSample(t, "sample", "1.0.0")); err != nil {
		t.Fatal(err)
	}
	return f, place
}

func TestBadRegistries(t *testing.T) {
	blob := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
	}
	for name, tc := range map[string]struct {
		patience time.Duration
		instead  func(w http.ResponseWriter, r *http.Request) bool
		want     string
	}{
		"answers 500": {0, func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true }, "500"},
		"answers 500 with words": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(500)
			fmt.Fprintf(w, `{"errors":[{"code":"X","message":"a\nb\u001b[31m%s"}]}`, strings.Repeat("long ", 1000))
			return true
		}, "response status code 500"},
		"hangs before it answers": {30 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
			"the server neither took nor sent anything for 30ms"},
		"hangs within a layer": {30 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) bool {
			if !blob(r) {
				return false
			}
			w.Header().Set("Content-Length", "184")
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, "the server neither took nor sent anything for 30ms"},
		"breaks off": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if !blob(r) {
				return false
			}
			w.Header().Set("Content-Length", "184")
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "plugin.json cannot be read: the server broke off in the middle"},
		"gives another size": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				w.Write([]byte("x"))
			}
			return blob(r)
		}, "plugin.json cannot be read: GET"},
		"never ends": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if !blob(r) {
				return false
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		}, "plugin.json goes on after the 184 bytes"},
		"leads to another machine in clear": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				http.Redirect(w, r, "http://a.example/x", http.StatusTemporaryRedirect)
			}
			return blob(r)
		}, `it leads to "http://a.example", in clear`},
		"leads in a circle": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if blob(r) {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			}
			return blob(r)
		}, "more than 5 redirects"},
		"wants a name": {0, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, "basic credential not found"},
		"has a manifest without end": {0, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("a", 64))
			w.Header().Set("Content-Length", strconv.Itoa(10<<30))
			return true
		}, "the manifest is said to have 10737418240 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f, place := published(t, Options{})
			place = at(t, place.label, Options{Patience: tc.patience})
			f.mu.Lock()
			f.instead = tc.instead
			f.mu.Unlock()
			_, err := place.Get(t.Context(), "sample", "1.0.0", "")
			wants(t, err, tc.want)
			if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "\x1b")) {
				t.Errorf("%q", err)
			}
		})
	}
	t.Run("takes nothing", func(t *testing.T) {
		f, over := newFakeRegistry(), make(chan struct{})
		place := f.serve(t, Options{Patience: 30 * time.Millisecond})
		t.Cleanup(func() { close(over) }) // a server that does not read does not see that the client has gone
		f.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				<-over
				return true
			}
			return false
		}
		wants(t, place.Put(t.Context(), packSample(t, "sample", "1.0.0")), "the server neither took nor sent anything")
		if len(f.tags) > 0 {
			t.Error(f.tags)
		}
	})
	t.Run("is slower than there is time", func(t *testing.T) {
		f := newFakeRegistry()
		place := f.serve(t, Options{Limit: 30 * time.Millisecond})
		f.instead = func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		_, err := place.Get(t.Context(), "sample", "1.0.0", "")
		wants(t, err, "it took longer than 30ms")
	})
	t.Run("fails once", func(t *testing.T) {
		f, place := published(t, Options{})
		fails := 2
		f.mu.Lock()
		f.instead = func(w http.ResponseWriter, r *http.Request) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			if fails--; fails >= 0 {
				w.WriteHeader(503)
			}
			return fails >= 0
		}
		f.mu.Unlock()
		if _, err := place.Get(t.Context(), "sample", "1.0.0", ""); err != nil {
			t.Error(err)
		}
	})
	t.Run("has tags without end", func(t *testing.T) {
		f, place := published(t, Options{})
		f.mu.Lock()
		f.instead = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") {
				return false
			}
			w.Header().Set("Link", `</v2/shared/sample/tags/list?last=x>; rel="next"`)
			fmt.Fprint(w, `{"tags":["1.0.0"]}`)
			return true
		}
		f.mu.Unlock()
		_, err := place.Find(t.Context(), "sample")
		wants(t, err, "exceeded 100 pages")
	})
	t.Run("is not there", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, err = at(t, "http://"+l.Addr().String()+"/x", Options{}).Get(t.Context(), "sample", "1.0.0", "")
		wants(t, err, "connect")
	})
}

// What is there is not sent again: the layers that two versions share go over the line once.
func TestOnlyWhatIsNotThereIsSent(t *testing.T) {
	f, place := published(t, Options{})
	before := f.count("PUT /v2/shared/sample/blobs/")
	if err := place.Put(t.Context(), packSample(t, "sample", "1.0.1")); err != nil {
		t.Fatal(err)
	}
	if before != 6 || f.count("PUT /v2/shared/sample/blobs/") != 8 { // its summary and its code are new
		t.Errorf("%d, then %d", before, f.count("PUT /v2/shared/sample/blobs/"))
	}
}

// A registry with TLS and a user, whose credentials docker login has kept; tokens come from a server of its own.
func TestCredentials(t *testing.T) {
	f := newFakeRegistry()
	s := httptest.NewTLSServer(f)
	defer s.Close()
	f.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if user, key, _ := r.BasicAuth(); user != "postmaster" || key != "sesame" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			fmt.Fprint(w, `{"token":"abc"}`)
			return true
		}
		if r.Header.Get("Authorization") == "Bearer abc" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x",scope="repository:shared/sample:pull,push"`, s.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	host := strings.TrimPrefix(s.URL, "https://")
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("postmaster:sesame")))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	place, err := At(s.URL+"/shared", Options{rig: rig{tls: &tls.Config{RootCAs: roots}, wait: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	p := packSample(t, "sample", "1.0.0")
	if err := place.Put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, err := place.Get(t.Context(), "sample", "1.0.0", p.Digest); err != nil || got.Digest != p.Digest {
		t.Error(err)
	}
	if f.count("GET /token") == 0 {
		t.Error("nobody asked for a token")
	}
	_, err = at(t, s.URL+"/shared", Options{}).Get(t.Context(), "sample", "1.0.0", "")
	wants(t, err, "certificate")

	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = At(s.URL+"/shared", Options{})
	wants(t, err, "the credentials cannot be read")
}

// A registry elsewhere is reached by the proxy of the environment, and this machine is not.
func TestProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				asked <- r.Method + " " + r.Host
			}
			fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			conn.Close()
		}
	}()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "http://"+l.Addr().String())
	}
	for _, name := range []string{"NO_PROXY", "no_proxy", "REQUEST_METHOD"} {
		t.Setenv(name, "")
	}
	_, err = at(t, "https://registry.example/shared", Options{}).Get(t.Context(), "sample", "1.0.0", "")
	wants(t, err, "Forbidden")
	if got := <-asked; got != "CONNECT registry.example:443" {
		t.Error(got)
	}
	if _, place := published(t, Options{}); place == nil {
		t.Error("this machine is asked by a proxy")
	}
	t.Setenv("NO_PROXY", "registry.example")
	t.Setenv("no_proxy", "registry.example")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("so that no name is looked up"))
	if _, err = at(t, "https://registry.example/shared", Options{}).Get(ctx, "sample", "1.0.0", ""); err == nil {
		t.Error("there is no such registry")
	}
	if len(asked) > 0 {
		t.Error(<-asked)
	}
}

func TestThisMachine(t *testing.T) {
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "localhost.example": false,
		"10.0.0.1": false, "0.0.0.0": false, "::": false, "127.1": false, "": false, "a.example": false} {
		if loopback(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
	f, _ := published(t, Options{})
	s := httptest.NewServer(f)
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	if _, err := at(t, "http://localhost:"+port+"/shared", Options{}).Get(t.Context(), "sample", "1.0.0", ""); err != nil {
		t.Error(err)
	}
	if !slices.Equal([]string{hostOf("[::1]:5000"), hostOf("a.example"), hostOf("a.example:1")}, []string{"::1", "a.example", "a.example"}) {
		t.Error("the host of a name with a port")
	}
}
