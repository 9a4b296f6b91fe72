package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// TestInstallWeb: an index and its packages on a web server, and what servers do wrong.
func TestInstallWeb(t *testing.T) {
	t.Parallel()
	m := newMarket(t, withPlugins)
	m.publish("acme", "1.0.0", modest, deferer)
	files := http.FileServer(http.Dir(m.dir))
	var wrong atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := wrong.Load(); h != nil {
			(*h)(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	be := func(h http.HandlerFunc) { wrong.Store(&h) }
	m.write("trust.toml", m.trusting("main", server.URL+"/index.json", m.key))
	before := m.kept()
	install := []string{"plugin", "install", "acme", "--accept", m.hash["acme@1.0.0"]}

	be(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	m.want(m.run(install...), exitUnavailable, "index main: ", "418")
	be(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	m.want(m.run(append(install, "--timeout", "50ms")...), exitTemporary, "it took longer than 50ms; allow more with --timeout")
	be(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>log in first</html>")) })
	m.want(m.run(install...), exitData, "the four lines that minisign writes")
	be(func(w http.ResponseWriter, r *http.Request) { // half of each file
		w.Header().Set("Content-Length", "1000")
		w.Write([]byte("untrusted"))
	})
	m.want(m.run(install...), exitUnavailable, "index main: ")
	if m.kept() != before {
		t.Errorf("something was installed: %s", m.kept())
	}

	wrong.Store(nil)
	m.want(m.run("plugin", "info", "acme"), 0, "lies at     "+server.URL+"/packages/\n")
	m.want(m.run(install...), 0, "acme 1.0.0 is installed\n")

	// the index is fresh enough, and what it names is not to be had: the newer one is not installed
	m.publish("acme", "1.1.0", modest, deferer)
	m.want(m.run("plugin", "search"), 0, "1.1.0")
	before = m.kept()
	be(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	m.want(m.run("plugin", "update"), exitUnavailable, "warning: index main: ", "the one that is kept is used on", "418")
	server.Close()
	m.want(m.run("plugin", "update"), exitUnavailable, "connection refused")
	if m.kept() != before {
		t.Errorf("something changed: %s", m.kept())
	}
}
