package catalog

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFetch: a file is the same from a path and from a web server, and bounded in both.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("some text"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	for name, where := range map[string]func(string) string{
		"path": func(file string) string { return filepath.Join(dir, file) },
		"web":  func(file string) string { return server.URL + "/" + file },
	} {
		t.Run(name, func(t *testing.T) {
			var moved atomic.Int64
			data, err := Fetch(t.Context(), where("index.json"), 9, Options{Moved: func(n int64) { moved.Add(n) }})
			if err != nil || string(data) != "some text" {
				t.Errorf("%q, %v", data, err)
			}
			if name == "web" && moved.Load() != 9 {
				t.Errorf("%d bytes moved", moved.Load())
			}
			data, err = Fetch(t.Context(), where("index.json"), 8, Options{})
			wants(t, err, where("index.json")+": ")
			wants(t, err, map[string]string{"path": "it has more than 8 bytes, the most that is read", "web": "index.json has 9 bytes; the most is 8"}[name])
			if data != nil {
				t.Errorf("%q", data)
			}
			_, err = Fetch(t.Context(), where("none"), 8, Options{})
			wants(t, err, where("none")+": ")
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is a %T: %v", err, err)
			}
		})
	}
	_, err := Fetch(t.Context(), dir, 8, Options{})
	wants(t, err, dir+": is not a regular file but a folder")
}

// TestBadFetches: a server that does not give the file is told of in one line.
func TestBadFetches(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				break
			}
		}
	}
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"answers 500":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, "the web server answers 500 Internal Server Error for index.json"},
		"answers 206":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(206) }, "the web server answers 206 Partial Content for index.json"},
		"wants a password": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, "the web server answers 401 Unauthorized for index.json"},
		"hangs":            {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "the server neither took nor sent anything for 30ms"},
		"hangs half-way": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "the server neither took nor sent anything for 30ms"},
		"never ends": {endless, "index.json has more than 1000 bytes"},
		"has 10 GB":  {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "10737418240") }, "index.json has 10737418240 bytes; the most is 1000"},
		"breaks off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "index.json: the server broke off in the middle"},
		"leads elsewhere in clear": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://a.example/x", http.StatusFound)
		}, `it leads to "http://a.example", in clear`},
		"leads round": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "more than 5 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(tc.answer)
			defer s.Close()
			o := Options{rig: rig{wait: time.Millisecond}}
			if strings.HasPrefix(name, "hangs") {
				o.Patience = 30 * time.Millisecond
			}
			data, err := Fetch(t.Context(), s.URL+"/index.json", 1000, o)
			wants(t, err, s.URL+"/index.json: ")
			wants(t, err, tc.want)
			if data != nil && err == nil {
				t.Errorf("%q", data)
			}
		})
	}
	for where, want := range map[string]string{
		"http://plugins.example.org/index.json":         "http:// is for web servers on this machine only",
		"ftp://plugins.example.org/index.json":          "is named by https://",
		"https:///index.json":                           "by host and path only",
		"https://plugins.example.org/":                  "it is no URL of a file, which would be https://plugins.example.org/index.json",
		"https://plugins.example.org":                   "by host and path only",
		"https://user:word@plugins.example.org/x.json":  "by host and path only",
		"https://plugins.example.org/index.json?x=y":    "it is no URL of a file",
		"https://plugins.example.org/index.json?x=y/z":  "by host and path only",
		"https://plugins.example.org/index.json#x":      "it is no URL of a file",
		"https://plugins.example.org:port/a/index.json": "this is no URL",
	} {
		_, err := Fetch(t.Context(), where, 1000, Options{})
		wants(t, err, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it was given up"))
	_, err := Fetch(ctx, "http://127.0.0.1:9/index.json", 1000, Options{})
	wants(t, err, "http://127.0.0.1:9/index.json: it was given up")
}

// TestBeside: what an index calls its places.
func TestBeside(t *testing.T) {
	folder := t.TempDir()
	for _, tc := range []struct{ base, ref, want string }{
		{"https://a.example/x/index.json", "packages/", "https://a.example/x/packages/"},
		{"https://a.example/x/index.json", "../packages/", "https://a.example/packages/"},
		{"https://a.example/x/index.json", "../../../../packages/", "https://a.example/packages/"},
		{"https://a.example/x/index.json", "/packages/", "https://a.example/packages/"},
		{"https://a.example/x/index.json", "layout.tar", "https://a.example/x/layout.tar"},
		{"https://a.example/x/index.json", "https://b.example/y", "https://b.example/y"},
		{"https://a.example/x/index.json", "a:b", ""},
		{filepath.Join(folder, "index.json"), "packages/", filepath.Join(folder, "packages")},
		{filepath.Join(folder, "index.json"), "../x/layout.tar", filepath.Join(filepath.Dir(folder), "x", "layout.tar")},
		{filepath.Join(folder, "index.json"), "/srv/packages", "/srv/packages"},
		{filepath.Join(folder, "index.json"), "https://b.example/y/", "https://b.example/y/"},
		{"index.json", "", ""},
		{"index.json", "a b", ""},
		{"index.json", "a\\b", ""},
		{"index.json", "a?b", ""},
		{"index.json", "a#b", ""},
		{"index.json", "a%2fb", ""},
		{"index.json", "//b.example/y", ""},
		{"index.json", "\x1b[2J", ""},
		{"index.json", "ä", ""},
	} {
		got, err := Beside(tc.base, tc.ref)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s beside %s is %q, %v; want %q", tc.ref, tc.base, got, err, tc.want)
		}
	}
	for where, want := range map[string]bool{
		"/srv/x": true, "x": true, "http://127.0.0.1:5000/x": true, "https://localhost/x": true, "https://[::1]/x": true, "https://[::ffff:127.0.0.1]/x": true,
		"https://a.example/x": false, "https://192.0.2.1/x": false, "https://localhost.example/x": false,
	} {
		if Local(where) != want {
			t.Errorf("%s: %v", where, !want)
		}
	}
}

// FuzzBeside: what an index on a web server calls a place is on that server, or a URL of its own.
func FuzzBeside(f *testing.F) {
	for _, ref := range []string{"packages/", "../../x", "https://b.example/y", "//b.example", "/x", "a:b", "\\\\b.example\\x"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		got, err := Beside("https://a.example/x/index.json", ref)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil && !strings.Contains(ref, "://") {
			t.Fatalf("%q: %v", got, err)
		}
		if !strings.Contains(ref, "://") && (u.Scheme != "https" || u.Host != "a.example") {
			t.Fatalf("%q is %q", ref, got)
		}
	})
}
