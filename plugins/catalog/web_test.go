package catalog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// site is a folder with packages behind a web server.
type site struct {
	dir     string
	folder  *Place
	url     string
	asked   atomic.Int64
	instead atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func newSite(t *testing.T, packages ...*Package) *site {
	t.Helper()
	s := &site{dir: filepath.Join(t.TempDir(), "packages")}
	s.folder = at(t, s.dir, Options{})
	for _, p := range packages {
		if err := s.folder.Put(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	files := http.StripPrefix("/shared", http.FileServer(http.Dir(s.dir)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if instead := s.instead.Load(); instead != nil && (*instead)(w, r) {
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/shared/"
	return s
}

func TestWebFolder(t *testing.T) {
	p, newer, other := packSample(t, "sample", "1.0.0"), packSample(t, "sample", "1.1.0"), packSample(t, "other", "2.0.0")
	s := newSite(t, p, newer, other)
	place := at(t, s.url, Options{})
	if !place.ReadOnly() || s.folder.ReadOnly() {
		t.Error("which of the two can be written to")
	}
	for _, pinned := range []digest.Digest{"", p.Digest} {
		got, err := place.Get(t.Context(), "sample", "1.0.0", pinned)
		if err != nil || got.Digest != p.Digest {
			t.Errorf("pinned %q: %v", pinned, err)
		}
	}
	if v, err := place.Find(t.Context(), "sample"); err != nil || v != "1.1.0" {
		t.Errorf("%q %v", v, err)
	}
	for name, tc := range map[string]struct {
		id, version string
		pinned      digest.Digest
		want        string
	}{
		"a version that is not there":         {"sample", "3.0.0", "", "this version of the plugin is not there"},
		"a plugin that is not there":          {"none", "1.0.0", "", "this version of the plugin is not there"},
		"a digest that is not there":          {"sample", "1.0.0", digest.FromString("x"), "this version of the plugin is not there"},
		"the digest of another version":       {"sample", "1.0.0", newer.Digest, "it is sample 1.1.0"},
		"the digest of another plugin":        {"sample", "2.0.0", other.Digest, "it is other 2.0.0"},
		"the digest of what is no manifest":   {"sample", "1.0.0", p.blobs[1].desc.Digest, "the manifest cannot be read"},
		"what is no digest":                   {"sample", "1.0.0", "sha256:../../x", "is no sha256"},
		"a digest of a kind that is not ours": {"sample", "1.0.0", digest.SHA512.FromString("x"), "is no sha256"},
		"a name that leads elsewhere":         {"../x", "1.0.0", p.Digest, "no package can be called"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := place.Get(t.Context(), tc.id, tc.version, tc.pinned)
			wants(t, err, tc.want)
		})
	}
	t.Run("is only read", func(t *testing.T) {
		wants(t, place.Put(t.Context(), packSample(t, "sample", "4.0.0")), "a folder of a web server cannot be written to from here")
	})
	t.Run("needs no list of packages for what is pinned", func(t *testing.T) {
		if err := os.Remove(filepath.Join(s.dir, "index.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := place.Get(t.Context(), "sample", "1.0.0", p.Digest); err != nil {
			t.Error(err)
		}
		_, err := place.Get(t.Context(), "sample", "1.0.0", "")
		wants(t, err, "index.json cannot be read")
	})
}

func TestWebFolderNames(t *testing.T) {
	for where, want := range map[string]string{
		"https://plugins.example.org/":             "",
		"https://plugins.example.org:8443/a/b/":    "",
		"http://127.0.0.1:1/a/":                    "",
		"http://plugins.example.org/a/":            "http:// is for web servers on this machine only",
		"ftp://plugins.example.org/a/":             "is named by https://",
		"https:///a/":                              "by host and path only",
		"https://user:word@plugins.example.org/":   "by host and path only",
		"https://plugins.example.org/a?b=/":        "by host and path only",
		"https://plugins.example.org/a#/":          "by host and path only",
		"https://plugins.example.org/%zz/":         "this is no URL",
		"https://plugins.example.org:port/folder/": "this is no URL",
	} {
		_, err := At(where, Options{})
		if want == "" && err != nil {
			t.Errorf("%s: %v", where, err)
		} else if want != "" {
			wants(t, err, want)
		}
	}
}

func TestBadWebServers(t *testing.T) {
	p := packSample(t, "sample", "1.0.0")
	code := "/" + p.blobs[2].desc.Digest.Encoded()
	isCode := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, code) }
	for name, tc := range map[string]struct {
		instead func(w http.ResponseWriter, r *http.Request) bool
		want    string
	}{
		"answers 500": {func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true }, "the web server answers 500 Internal Server Error for"},
		"wants a password": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}, "answers 401 Unauthorized"},
		"has a page for everything": {func(w http.ResponseWriter, r *http.Request) bool { w.Write([]byte("<html>")); return true },
			"the manifest is not what its digest says"},
		"hangs": {func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, "the server neither took nor sent anything for 30ms"},
		"hangs within a layer": {func(w http.ResponseWriter, r *http.Request) bool {
			if isCode(r) {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
			return isCode(r)
		}, "the server neither took nor sent anything for 30ms"},
		"has a manifest without end": {func(w http.ResponseWriter, r *http.Request) bool {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					break
				}
			}
			return true
		}, "has more than 65536 bytes"},
		"says how large it is, and that is too much": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "10737418240")
			return true
		}, "has 10737418240 bytes; the most is 65536"},
		"has a layer without end": {func(w http.ResponseWriter, r *http.Request) bool {
			for isCode(r) && r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					break
				}
			}
			return isCode(r)
		}, "code.tar goes on after the"},
		"has another layer of that size": {func(w http.ResponseWriter, r *http.Request) bool {
			if isCode(r) {
				w.Write(make([]byte, p.blobs[2].desc.Size))
			}
			return isCode(r)
		}, "code.tar is not what its digest says"},
		"breaks off": {func(w http.ResponseWriter, r *http.Request) bool {
			if isCode(r) {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return isCode(r)
		}, "code.tar"},
		"lacks a layer": {func(w http.ResponseWriter, r *http.Request) bool {
			if isCode(r) {
				w.WriteHeader(404)
			}
			return isCode(r)
		}, "there is no blobs/sha256" + code + " in the layout"},
		"leads to another machine in clear": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://a.example/x", http.StatusFound)
			return true
		}, `it leads to "http://a.example", in clear`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, p)
			s.instead.Store(&tc.instead)
			patience := time.Duration(0)
			if strings.HasPrefix(name, "hangs") {
				patience = 30 * time.Millisecond
			}
			_, err := at(t, s.url, Options{Patience: patience}).Get(t.Context(), "sample", "1.0.0", p.Digest)
			wants(t, err, tc.want)
			s.instead.Store(nil)
			if _, err := at(t, s.url, Options{}).Get(t.Context(), "sample", "1.0.0", p.Digest); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
	t.Run("does not say how large files are", func(t *testing.T) {
		s := newSite(t, p)
		streams := func(w http.ResponseWriter, r *http.Request) bool {
			data, err := os.ReadFile(filepath.Join(s.dir, strings.TrimPrefix(r.URL.Path, "/shared/")))
			if err != nil {
				w.WriteHeader(404)
				return true
			}
			w.(http.Flusher).Flush()
			w.Write(data)
			return true
		}
		s.instead.Store(&streams)
		for _, pinned := range []digest.Digest{"", p.Digest} {
			if _, err := at(t, s.url, Options{}).Get(t.Context(), "sample", "1.0.0", pinned); err != nil {
				t.Errorf("pinned %q: %v", pinned, err)
			}
		}
	})
}

// A web server with TLS is asked for nothing before its certificate is good.
func TestWebFolderTLS(t *testing.T) {
	p := packSample(t, "sample", "1.0.0")
	dir := t.TempDir()
	if err := at(t, dir, Options{}).Put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.FileServer(http.Dir(dir)))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	if _, err := at(t, s.URL+"/", Options{rig: rig{tls: &tls.Config{RootCAs: roots}}}).Get(t.Context(), "sample", "1.0.0", p.Digest); err != nil {
		t.Error(err)
	}
	_, err := at(t, s.URL+"/", Options{}).Get(t.Context(), "sample", "1.0.0", p.Digest)
	wants(t, err, "certificate")
}

// A server elsewhere leads nobody to what listens on this machine.
func TestLedToThisMachine(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	defer inner.Close()
	outer := httptest.NewTLSServer(http.RedirectHandler(inner.URL+"/x", http.StatusTemporaryRedirect))
	defer outer.Close()
	roots := x509.NewCertPool()
	roots.AddCert(outer.Certificate())
	o := Options{rig: rig{tls: &tls.Config{RootCAs: roots}, dial: func(ctx context.Context, network, hostport string) (net.Conn, error) {
		if hostport == "example.com:443" {
			hostport = outer.Listener.Addr().String()
		}
		return dial(ctx, network, hostport)
	}}}
	for _, where := range []string{"https://example.com/shared/", "https://example.com/shared"} {
		_, err := at(t, where, o).Get(t.Context(), "sample", "1.0.0", "")
		wants(t, err, `it leads to "`+inner.URL+`", on this machine`)
	}
	_, err := Fetch(t.Context(), "https://example.com/index.json", 100, o)
	wants(t, err, `it leads to "`+inner.URL+`", on this machine`)
}

// What moves is told, whatever kind of place it is.
func TestMoved(t *testing.T) {
	p := packSample(t, "sample", "1.0.0")
	var most, manifest int64
	for _, b := range p.blobs {
		most += b.desc.Size
	}
	manifest = p.manifest.desc.Size
	s := newSite(t, p)
	for name, where := range map[string]string{"folder": filepath.Join(t.TempDir(), "layout"), "file": filepath.Join(t.TempDir(), "layout.tar"), "web": s.url, "registry": ""} {
		t.Run(name, func(t *testing.T) {
			var moved atomic.Int64
			o := Options{Moved: func(n int64) { moved.Add(n) }}
			var place *Place
			if name == "registry" {
				place = newFakeRegistry().serve(t, o)
			} else {
				place = at(t, where, o)
			}
			if !place.ReadOnly() {
				if err := place.Put(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				if n := moved.Swap(0); n < most+manifest {
					t.Errorf("%d bytes were written, and the package has %d", n, most+manifest)
				}
			}
			if _, err := place.Get(t.Context(), "sample", "1.0.0", p.Digest); err != nil {
				t.Fatal(err)
			}
			config := p.blobs[0].desc.Size // nobody reads that
			if n := moved.Load(); n < most+manifest-config {
				t.Errorf("%d bytes were read, and the package has %d", n, most+manifest)
			}
		})
	}
}

// A blob that is damaged in a folder is whole again when its package is put there once more.
func TestPutMendsAFolder(t *testing.T) {
	p := packSample(t, "sample", "1.0.0")
	s := newSite(t, p)
	file := filepath.Join(s.dir, filepath.FromSlash(blobName(p.blobs[2].desc.Digest)))
	for name, spoil := range map[string]func() error{
		"gone":    func() error { return os.Remove(file) },
		"cut":     func() error { return os.Truncate(file, 100) },
		"changed": func() error { return os.WriteFile(file, make([]byte, p.blobs[2].desc.Size), 0o644) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(name, err)
		}
		if _, err := s.folder.Get(t.Context(), "sample", "1.0.0", ""); err == nil {
			t.Errorf("%s: it was read all the same", name)
		}
		if err := s.folder.Put(t.Context(), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.folder.Get(t.Context(), "sample", "1.0.0", ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
