package catalog

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// fakeRegistry is as much of the OCI distribution-spec 1.1 as pushing and pulling need, in memory. It checks what it is sent.
type fakeRegistry struct {
	mu        sync.Mutex
	blobs     map[string][]byte // REPO@DIGEST
	manifests map[string][]byte // REPO@DIGEST
	tags      map[string]string // REPO:TAG to a digest
	asked     []string          // METHOD PATH

	// instead answers in the registry's place where it says so.
	instead func(w http.ResponseWriter, r *http.Request) bool
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{blobs: map[string][]byte{}, manifests: map[string][]byte{}, tags: map[string]string{}}
}

var registryPath = regexp.MustCompile(`^/v2/(.+)/(blobs/uploads|blobs|manifests|tags)/(.*)$`)

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	instead := f.instead
	f.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	m := registryPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	repo, name := m[1], m[3]
	switch call := r.Method + " " + m[2]; call {
	case "POST blobs/uploads":
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	case "PUT blobs/uploads":
		d := digest.Digest(r.URL.Query().Get("digest"))
		if d != digest.FromBytes(body) {
			http.Error(w, `{"errors":[{"code":"DIGEST_INVALID"}]}`, http.StatusBadRequest)
			return
		}
		f.blobs[repo+"@"+string(d)] = body
		w.WriteHeader(http.StatusCreated)
	case "HEAD blobs", "GET blobs":
		f.answer(w, r, f.blobs, repo+"@"+name, "application/octet-stream")
	case "PUT manifests":
		d := digest.FromBytes(body)
		f.manifests[repo+"@"+string(d)] = body
		if name != string(d) {
			f.tags[repo+":"+name] = string(d)
		}
		w.Header().Set("Docker-Content-Digest", string(d))
		w.WriteHeader(http.StatusCreated)
	case "HEAD manifests", "GET manifests":
		if d, ok := f.tags[repo+":"+name]; ok {
			name = d
		}
		w.Header().Set("Docker-Content-Digest", name)
		f.answer(w, r, f.manifests, repo+"@"+name, ocispec.MediaTypeImageManifest)
	case "GET tags":
		var list []string
		for tag := range f.tags {
			if t, ok := strings.CutPrefix(tag, repo+":"); ok {
				list = append(list, strconv.Quote(t))
			}
		}
		if list == nil {
			http.NotFound(w, r)
			return
		}
		slices.Sort(list)
		fmt.Fprintf(w, `{"name":%q,"tags":[%s]}`, repo, strings.Join(list, ","))
	default:
		http.Error(w, call, http.StatusMethodNotAllowed)
	}
}

func (f *fakeRegistry) answer(w http.ResponseWriter, r *http.Request, from map[string][]byte, key, mediaType string) {
	data, ok := from[key]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method == http.MethodGet {
		w.Write(data)
	}
}

// spoil changes what has a digest, wherever it is.
func (f *fakeRegistry) spoil(d digest.Digest, change func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range []map[string][]byte{f.blobs, f.manifests} {
		for key, data := range of {
			if strings.HasSuffix(key, "@"+string(d)) {
				of[key] = change(slices.Clone(data))
			}
		}
	}
}

func (f *fakeRegistry) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

// serve starts a registry on this machine and gives the place that it is.
func (f *fakeRegistry) serve(t testing.TB, o Options) *Place {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return at(t, s.URL+"/shared", o)
}

func at(t testing.TB, where string, o Options) *Place {
	t.Helper()
	if o.Credentials == nil {
		o.Credentials = auth.StaticCredential("", auth.EmptyCredential) // not those of who runs the tests
	}
	if o.rig.wait == 0 {
		o.rig.wait = time.Millisecond
	}
	p, err := At(where, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
