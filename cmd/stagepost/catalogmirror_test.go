package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// hosted is a catalog behind a web server.
type hosted struct {
	*publisher
	url     string
	asked   atomic.Int64
	instead atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

// newHosted has vip 1.0.0 and 1.1.0, and other 1.0.0.
func newHosted(t *testing.T) *hosted {
	t.Helper()
	h := &hosted{publisher: newPublisher(t)}
	h.plugin("other", "1.0.0", "")
	h.want(h.publish("vip", "other"), 0)
	h.plugin("vip", "1.1.0", "")
	h.want(h.publish("vip"), 0, "serial 2")
	files := http.FileServer(http.Dir(h.path("site")))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		if instead := h.instead.Load(); instead == nil || !(*instead)(w, r) {
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	h.url = s.URL
	h.trust("")
	return h
}

// trust writes the trust.toml of who copies.
func (h *hosted) trust(more string) {
	h.write("trust.toml", trustLines("main", h.url+"/index.json", []string{"*"}, []string{h.key.Key().String()})+more)
}

func (h *hosted) mirror(to string, args ...string) result {
	h.t.Helper()
	if !strings.Contains(to, "://") {
		to = h.path(to)
	}
	return h.run(append([]string{"catalog", "mirror", to}, args...)...)
}

// versions are what a place has of what the index lists.
func (h *hosted) versions(where string) (out []string) {
	h.t.Helper()
	place, err := catalog.At(where, catalog.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range h.index(h.key).Entries {
		if _, err := place.Get(h.t.Context(), e.ID, e.Version, e.Digest); err == nil {
			out = append(out, e.ID+"@"+e.Version)
		}
	}
	return out
}

func TestCatalogMirror(t *testing.T) {
	all := []string{"other@1.0.0", "vip@1.0.0", "vip@1.1.0"}
	h := newHosted(t)
	r := h.mirror("copy")
	h.want(r, 0, "copied 3 versions (", "0 were there already", "serial 2", "mirror = [\"copy/packages\"]")
	if got := h.versions(h.path("copy/packages")); !slices.Equal(got, all) {
		t.Error(got)
	}
	site, dup := h.files("site"), h.files("copy")
	if site["index.json"] != dup["index.json"] || site["index.json.minisig"] != dup["index.json.minisig"] {
		t.Error("the index is another one")
	}

	before := h.asked.Load()
	h.want(h.mirror("copy"), 0, "copied 0 versions", "3 were there already")
	if n := h.asked.Load() - before; n != 2 {
		t.Errorf("%d requests for what is there", n)
	}

	// The lines that it prints are enough for who has nothing but the copy.
	lines := r.out[strings.LastIndex(r.out, "[[index]]"):]
	of, err := trust.Parse(h.path("trust.toml"), []byte(lines))
	if err != nil {
		t.Fatal(err)
	}
	list := index.Open(of, t.TempDir(), catalog.Options{}, h.app.now)
	if err := list.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := list.Find("vip", "")
	if err != nil || f.Entry.Version != "1.1.0" || f.Signer != h.key.Key() {
		t.Fatalf("%+v %v", f, err)
	}
	before = h.asked.Load()
	if _, err := list.Get(t.Context(), f); err != nil || h.asked.Load() != before {
		t.Errorf("%v, %d requests", err, h.asked.Load()-before)
	}

	// An update brings what is new, and mends what was damaged.
	h.plugin("vip", "1.2.0", "")
	h.want(h.publish("vip"), 0)
	code := largest(t, h.path("copy/packages/blobs/sha256"))
	if err := os.WriteFile(code, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.want(h.mirror("copy"), 0, "serial 3")
	if got := h.versions(h.path("copy/packages")); !slices.Equal(got, append(all, "vip@1.2.0")) {
		t.Error(got)
	}

	h.want(h.mirror("only", "vip@1.0.0", "other"), 0, "copied 2 versions")
	if got := h.versions(h.path("only/packages")); !slices.Equal(got, all[:2]) {
		t.Error(got)
	}
	h.want(h.mirror("new", "--newest"), 0, "copied 2 versions")
	h.want(h.mirror("new", "vip@1.0.0", "vip", "--newest"), 0, "copied 1 version (", "1 were there already")
	if got := h.versions(h.path("new/packages")); !slices.Equal(got, []string{"other@1.0.0", "vip@1.0.0", "vip@1.2.0"}) {
		t.Error(got)
	}
	h.want(h.mirror("one/copy.tar"), 0, "copied 4 versions", "place = \"one/copy.json\"", "mirror = [\"one/copy.tar\"]")
	if got := h.versions(h.path("one/copy.tar")); len(got) != 4 {
		t.Error(got)
	}
	h.want(h.mirror("one/copy.tar", "vip"), 0, "copied 0 versions", "3 were there already")

	r = h.mirror("copy", "--json")
	var m mirrored
	if err := json.Unmarshal([]byte(r.out), &m); err != nil || r.code != 0 || m.Copied != 0 || m.There != 4 || m.Serial != 3 || m.LeftOut == nil || !strings.Contains(m.Trust, "[[index]]") {
		t.Errorf("%v %s%s", err, r.out, r.err)
	}
}

// largest is the largest file in a folder.
func largest(t *testing.T, dir string) (file string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var most int64 = -1
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Size() > most {
			file, most = filepath.Join(dir, e.Name()), info.Size()
		}
	}
	return file
}

// What fails half-way leaves the index of the copy as it was, and the same command goes on.
func TestCatalogMirrorGoesOn(t *testing.T) {
	h := newHosted(t)
	h.want(h.mirror("copy", "other"), 0, "copied 1 version")
	before := h.files("copy")["index.json"]
	h.plugin("vip", "1.2.0", "")
	h.want(h.publish("vip"), 0)
	left := 12
	fails := func(w http.ResponseWriter, r *http.Request) bool {
		if left--; left < 0 {
			w.WriteHeader(http.StatusForbidden)
		}
		return left < 0
	}
	h.instead.Store(&fails)
	h.want(h.mirror("copy"), exitUnavailable, "answers", "403", "in the copy; go on with the same command")
	if h.files("copy")["index.json"] != before {
		t.Error("there is a new index")
	}
	h.instead.Store(nil)
	h.want(h.mirror("copy"), 0, "serial 3")
	if got := h.versions(h.path("copy/packages")); len(got) != 4 {
		t.Error(got)
	}
}

func TestCatalogMirrorRefuses(t *testing.T) {
	blob := func(h *hosted, id, version string) string {
		for _, e := range h.index(h.key).Entries {
			if e.ID == id && e.Version == version {
				return "site/packages/blobs/sha256/" + e.Digest.Encoded()
			}
		}
		h.t.Fatal("there is none")
		return ""
	}
	for name, tc := range map[string]struct {
		change func(h *hosted)
		args   []string
		code   int
		want   string
	}{
		"a package was tampered with": {func(h *hosted) { h.write(blob(h, "vip", "1.0.0"), "{}") }, nil, exitData, "vip 1.0.0: the manifest is not what its digest says"},
		"a package is gone":           {func(h *hosted) { os.Remove(h.path(blob(h, "vip", "1.0.0"))) }, nil, exitData, "vip 1.0.0"},
		"the index was tampered with": {func(h *hosted) {
			h.write("site/index.json", strings.Replace(h.files("site")["index.json"], "refuses one", "refuses any", 1))
		},
			nil, exitData, "damaged or tampered with"},
		"another key": {func(h *hosted) {
			h.write("trust.toml", trustLines("main", h.url+"/index.json", []string{"*"}, []string{h.newKey("x").Key().String()}))
		}, nil, exitData, "not with one that is trusted"},
		"an index that has expired":   {func(h *hosted) { h.app.now = func() time.Time { return noon.Add(91 * 24 * time.Hour) } }, nil, exitData, "it expired on"},
		"no trust.toml":               {func(h *hosted) { os.Remove(h.path("trust.toml")) }, nil, exitConfig, "which says whose plugins to trust"},
		"a plugin that is not there":  {func(*hosted) {}, []string{"none"}, exitData, "the index main has no none"},
		"a version that is not there": {func(*hosted) {}, []string{"vip@9.0.0"}, exitData, "the index main has no vip@9.0.0"},
		"a version that is revoked": {func(h *hosted) {
			h.trust(fmt.Sprintf("[revoked]\npackages = [%q]\n", h.index(h.key).Entries[1].Digest))
		}, []string{"vip@1.0.0"}, exitData, "is revoked"},
		"a key that is revoked": {func(h *hosted) { h.trust(fmt.Sprintf("[revoked]\nkeys = [%q]\n", h.key.Key())) }, nil, exitData, "is revoked"},
		"somebody else signed a package": {func(h *hosted) { h.trust(fmt.Sprintf("[namespace.vip]\nkeys = [%q]\n", h.newKey("x").Key())) },
			nil, exitData, "vip 1.0.0"},
		"which index": {func(h *hosted) {
			h.write("trust.toml", trustLines("first", "x.json", []string{"a*"}, []string{h.key.Key().String()})+trustLines("main", h.url+"/index.json", []string{"*"}, []string{h.key.Key().String()}))
		}, nil, exitUsage, "name one with --from: first, main"},
		"no such index": {func(*hosted) {}, []string{"--from", "second"}, exitUsage, "has no index \"second\""},
		"a copy of another index": {func(h *hosted) {
			h.write("copy/index.json", strings.Replace(h.files("site")["index.json"], `"main"`, `"second"`, 1))
		}, nil, exitData, "is a copy of the index second"},
		"a copy that is newer": {func(h *hosted) {
			h.write("copy/index.json", strings.Replace(h.files("site")["index.json"], `"serial":2`, `"serial":3`, 1))
		}, nil, exitData, "somebody may be replaying an old one"},
		"what is no copy": {func(h *hosted) { h.write("copy/index.json", "{}") }, nil, exitData, "is there and no index"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHosted(t)
			tc.change(h)
			before := map[string]string{}
			if exists(os.DirFS(h.dir), "copy") {
				before = h.files("copy")
			}
			h.want(h.mirror("copy", tc.args...), tc.code, tc.want)
			after := map[string]string{}
			if exists(os.DirFS(h.dir), "copy") {
				after = h.files("copy")
			}
			maps.DeleteFunc(after, func(name, _ string) bool { return strings.HasPrefix(name, "packages/") })
			if !maps.Equal(before, after) {
				t.Error("there is another index in the copy")
			}
		})
	}
	h := newHosted(t)
	h.want(h.mirror("https://registry.example.org/plugins"), exitUsage, "say with --index where it is written")
	h.want(h.mirror("https://plugins.example.org/x/", "--index", h.path("x.json")), exitUsage, "cannot be written to from here")
	h.want(h.run("catalog", "mirror"), exitUsage, "at least 1 arg")
	h.want(h.run("catalog", "mirror", ""), exitUsage, "TO is empty")
}

// What does not count for this server is left out, and said.
func TestCatalogMirrorLeavesOut(t *testing.T) {
	h := newHosted(t)
	h.write("trust.toml", trustLines("own", "own.json", []string{"oth*"}, []string{h.key.Key().String()})+
		trustLines("main", h.url+"/index.json", []string{"*"}, []string{h.key.Key().String()})+fmt.Sprintf("[revoked]\npackages = [%q]\n", h.index(h.key).Entries[1].Digest))
	h.want(h.mirror("copy", "--from", "main"), 0, "left out: other 1.0.0: the id belongs to the index own", "left out: vip 1.0.0: the package sha256:", "copied 1 version (")
	if got := h.versions(h.path("copy/packages")); !slices.Equal(got, []string{"vip@1.1.0"}) {
		t.Error(got)
	}
	h.want(h.mirror("newest", "--from", "main", "--newest"), 0, "left out: other", "copied 1 version (")

	// A yanked version is copied, for those who have it locked, but is the newest of nothing.
	h.trust("")
	h.want(h.publish("--yank", "vip@1.1.0=bad", "--yank", "other@1.0.0=bad"), 0)
	h.want(h.mirror("all"), 0, "copied 3 versions")
	h.want(h.mirror("few", "--newest"), 0, "copied 1 version (", "left out: index main: there is no version left: other 1.0.0 was yanked")
	if got := h.versions(h.path("few/packages")); !slices.Equal(got, []string{"vip@1.0.0"}) {
		t.Error(got)
	}
}
