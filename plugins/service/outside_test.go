package service

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/core/resolve/resolvetest"
	"github.com/stagepost/stagepost/hooks"
)

// outside runs do in hook calls, each with one context, as an engine would.
type outside struct {
	t       *testing.T
	c       *Context
	session *message.Session
	content message.Content
	timeout time.Duration
}

func newOutside(t *testing.T, o Options, needs *capability.Needs) *outside {
	return &outside{t, NewHost(o).Context("vip", needs, nil), &message.Session{Life: &message.Life{}}, nil, 30 * time.Second}
}

func (o *outside) in(do func(c *Context)) {
	o.t.Helper()
	handler := func(call *hooks.Call) (*hooks.Verdict, error) {
		o.c.Begin(call)
		defer o.c.Begin(nil)
		do(o.c)
		return nil, nil
	}
	gen, err := hooks.NewGeneration(1, []*hooks.Hook{{Plugin: "vip", Stage: hooks.Data, Handler: hooks.HandlerFunc(handler), Needs: o.c.Needs, Timeout: o.timeout}}, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	view := &hooks.MessageView{Envelope: &message.Envelope{Session: o.session}, Content: o.content}
	if res := gen.Run(&hooks.Call{Stage: hooks.Data, Session: o.session, Message: view}); res.Failed {
		o.t.Fatal("the handler failed")
	}
}

// do calls a function, a method or not.
func do(t *testing.T, c *Context, name string, args ...any) (any, error) {
	t.Helper()
	for _, s := range Services() {
		for _, f := range s.All() {
			if f.Name == name {
				return f.Do(c, args)
			}
		}
	}
	t.Fatalf("there is no %s", name)
	return nil, nil
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, not %q", err, want)
	}
}

// content is a message in memory.
type content struct{ *strings.Reader }

func (c content) Size() int64   { return c.Reader.Size() }
func (c content) Bytes() []byte { return nil }

func secretsIn(t *testing.T, files map[string]string) (Secrets, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return SecretFolder{func() string { return dir }}, dir
}

func TestSecret(t *testing.T) {
	files, dir := secretsIn(t, map[string]string{"dkim/example.org": "key\n", "api": "token", "big": strings.Repeat("x", MaxSecret+1), "open": "x", "other/x": "y"})
	if err := errors.Join(os.Chmod(filepath.Join(dir, "open"), 0o640), os.Symlink("/etc/hostname", filepath.Join(dir, "out")), os.Symlink("api", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	o := newOutside(t, Options{Secrets: files}, &capability.Needs{Secrets: []string{"dkim/*", "api", "big", "open", "out", "link", "none"}})
	o.in(func(c *Context) {
		s, err := do(t, c, "secret", "dkim/example.org")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%s", s)} {
			if strings.Contains(text, "key") {
				t.Errorf("it is printed: %s", text)
			}
		}
		want, err := do(t, c, "hash.hmac", "sha256", "key", "text")
		for _, key := range []any{s, map[string]any{"secret": "dkim/example.org"}} {
			if got, err2 := do(t, c, "hash.hmac", "sha256", key, "text"); err != nil || err2 != nil || got != want {
				t.Errorf("hmac with %T: %v %v, %v", key, got, want, err2)
			}
		}
		if got, err := do(t, c, "secret", "none"); got != nil || err != nil {
			t.Errorf("none: %v, %v", got, err)
		}
		if got, err := do(t, c, "secret", "link"); err != nil || textOf(got) != "token" {
			t.Errorf("a link within the folder: %v", err)
		}
		for name, want := range map[string]string{
			"other/x": `secret: the secret "other/x" is not granted: ask with needs = { secrets = {"other/x"} }`, "big": "larger than 65536 bytes",
			"open": "open may be read or written by others than its owner (0640); run: chmod 600 ", "out": "secret: ", "dkim": "cannot", "../api": "cannot name a secret", "dkim/": "cannot name", "": "cannot name",
		} {
			if name == "dkim" {
				continue // not granted by dkim/*
			}
			_, err := do(t, c, "secret", name)
			wantError(t, err, want)
		}
		_, err = do(t, c, "hash.hmac", "sha256", map[string]any{"secret": "other/x"}, "text")
		wantError(t, err, "not granted")
		_, err = do(t, c, "hash.hmac", "sha256", map[string]any{"sekret": "api"}, "text")
		wantError(t, err, "key is a table; it must be of type string|secret")
		_, err = do(t, c, "json.encode", s)
		wantError(t, err, "value is a secret; it must be of type any")
		_, err = do(t, c, "json.encode", map[string]any{"a": s})
		wantError(t, err, "a secret has no form in JSON")
	})
	if err := os.WriteFile(filepath.Join(dir, "api"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.in(func(c *Context) {
		if s, err := do(t, c, "secret", "api"); err != nil || textOf(s) != "changed" {
			t.Errorf("after a change: %v", err)
		}
	})
	for _, none := range []Secrets{nil, SecretFolder{func() string { return "" }}} {
		newOutside(t, Options{Secrets: none}, o.c.Needs).in(func(c *Context) {
			_, err := do(t, c, "secret", "api")
			wantError(t, err, "the configuration names no folder for them, in [secrets]")
		})
	}
}

func hostOf(url string) string { _, rest, _ := strings.Cut(url, "://"); return rest }

func TestHTTP(t *testing.T) {
	type seen struct{ method, path, body, auth, field, length string }
	var mu sync.Mutex
	var got seen
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = seen{r.Method, r.URL.RequestURI(), string(body), r.Header.Get("Authorization"), r.Header.Get("X-Key"), fmt.Sprint(r.ContentLength)}
		mu.Unlock()
		switch r.URL.Path {
		case "/big":
			w.Write(make([]byte, maxResponse+1))
		case "/full":
			w.Write(make([]byte, maxResponse))
		case "/head":
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxRespHeader))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("short"))
		default:
			w.Header().Add("X-Two", "a")
			w.Header().Add("X-Two", "b")
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "short and stout")
		}
	}))
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	files, _ := secretsIn(t, map[string]string{"token": "s3cret\n", "crlf": "a\r\nb"})
	o := newOutside(t, Options{Roots: roots, Secrets: files}, &capability.Needs{HTTP: []string{hostOf(srv.URL), "*:443"}, Secrets: []string{"*"}, Read: capability.ReadBody})
	o.content = content{strings.NewReader("Subject: x\r\n\r\nbody\r\n")}
	ask := func(c *Context, more map[string]any) (any, error) {
		args := map[string]any{"url": srv.URL + "/x?y=1"}
		for k, v := range more {
			args[k] = v
		}
		return do(t, c, "http.request", args)
	}
	for _, c := range []struct {
		name string
		more map[string]any
		want seen
	}{
		{"get", nil, seen{"GET", "/x?y=1", "", "", "", "0"}},
		{"post", map[string]any{"body": "text", "bearer": "open"}, seen{"POST", "/x?y=1", "text", "Bearer open", "", "4"}},
		{"secret", map[string]any{"method": "PUT", "body": "b", "bearer": &Secret{"token", []byte("s3cret")}, "headers": map[string]any{"X-Key": map[string]any{"secret": "token"}}, "timeout": 5.5},
			seen{"PUT", "/x?y=1", "b", "Bearer s3cret", "s3cret", "1"}},
		{"content", map[string]any{"body": int64(0)}, seen{"POST", "/x?y=1", "Subject: x\r\n\r\nbody\r\n", "", "", "20"}},
		{"content of lua", map[string]any{"body": content{strings.NewReader("part")}, "headers": map[string]any{"X-Key": int64(7)}}, seen{"POST", "/x?y=1", "part", "", "7", "4"}},
		{"empty", map[string]any{"body": "", "headers": []any{}}, seen{"POST", "/x?y=1", "", "", "", "0"}},
	} {
		o.in(func(ctx *Context) {
			v, err := ask(ctx, c.more)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				return
			}
			m := v.(map[string]any)
			if got != c.want || m["status"] != int64(418) || m["body"] != "short and stout" || m["headers"].(map[string]any)["x-two"] != "a, b" {
				t.Errorf("%s: the server got %+v, the answer is %v", c.name, got, m)
			}
		})
	}
	for _, c := range []struct {
		more map[string]any
		want string
	}{
		{map[string]any{"url": srv.URL + "/big"}, "has more than 1048576 bytes"},
		{map[string]any{"url": srv.URL + "/head"}, "header"},
		{map[string]any{"url": srv.URL + "/cut"}, "unexpected EOF"},
		{map[string]any{"urk": "x"}, `a request has no "urk"; did you mean url?`},
		{map[string]any{"url": int64(1)}, "url is missing"},
		{map[string]any{"url": "ftp://a.example:443/"}, `"ftp" is neither https nor http`},
		{map[string]any{"url": "https://u:p@a.example/"}, "do not stand in the url"},
		{map[string]any{"url": "https:///x"}, "is not host:port"},
		{map[string]any{"url": "https://a.example:80/"}, `http.request: a connection to a.example:80 is not granted: ask with needs = { http = {"a.example:80"} }`},
		{map[string]any{"method": "CONNECT"}, `method is "CONNECT"`},
		{map[string]any{"method": "G T"}, `method is "G T"`},
		{map[string]any{"timeout": "5s"}, `timeout is "5s"; it is a number of seconds`},
		{map[string]any{"body": int64(3)}, "there is no content 3 here"},
		{map[string]any{"body": true}, "body is true; it is a string, or content of the message"},
		{map[string]any{"headers": map[string]any{"Host": "x"}}, "the header Host is not for plugins to set"},
		{map[string]any{"headers": map[string]any{"transfer-encoding": "x"}}, "the header Transfer-Encoding is not for plugins to set"},
		{map[string]any{"headers": map[string]any{"X-A": "a\r\nX-B: c"}}, "the header X-A cannot be sent"},
		{map[string]any{"headers": map[string]any{"X\r\nA": "a"}}, "cannot name a header"},
		{map[string]any{"bearer": map[string]any{"secret": "crlf"}}, "the header Authorization cannot be sent"},
		{map[string]any{"bearer": map[string]any{"secret": "none"}}, `there is no secret "none"`},
	} {
		o.in(func(ctx *Context) {
			_, err := ask(ctx, c.more)
			wantError(t, err, c.want)
		})
	}
	o.in(func(ctx *Context) {
		if v, err := ask(ctx, map[string]any{"url": srv.URL + "/full"}); err != nil || len(v.(map[string]any)["body"].(string)) != maxResponse {
			t.Errorf("the largest answer: %v", err)
		}
		for range maxRequests - 1 {
			ask(ctx, nil)
		}
		_, err := ask(ctx, nil)
		wantError(t, err, "more than 20 requests in one hook call")
	})
	o.c.Needs.Read = capability.ReadHeaders
	o.in(func(ctx *Context) {
		_, err := ask(ctx, map[string]any{"body": int64(0)})
		wantError(t, err, "reading the body is not granted")
	})
}

// TestRedirects (S12): a redirect leads only where the plugin may go, and takes nothing secret to another host.
func TestRedirects(t *testing.T) {
	var fields atomic.Value
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fields.Store(r.Header.Get("Authorization") + r.Header.Get("X-Key") + r.Header.Get("Cookie") + r.Header.Get("Referer"))
		io.WriteString(w, "second")
	}))
	defer second.Close()
	to := ""
	var first *httptest.Server
	hops := 0
	first = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/again" && hops > 0 {
			hops--
			http.Redirect(w, r, "/again", http.StatusFound)
			return
		}
		if r.URL.Path == "/again" {
			io.WriteString(w, r.Header.Get("X-Key"))
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	}))
	defer first.Close()
	files, _ := secretsIn(t, map[string]string{"token": "s3cret"})
	ask := func(needs []string, path string) (any, error) {
		o := newOutside(t, Options{Secrets: files, Resolver: resolvetest.New(t, map[string][]string{"inside.example": {"A 127.0.0.1"}})}, &capability.Needs{HTTP: append(needs, hostOf(first.URL)), Secrets: []string{"*"}})
		var v any
		var err error
		o.in(func(c *Context) {
			v, err = do(t, c, "http.request", map[string]any{"url": first.URL + path, "bearer": "open", "headers": map[string]any{"X-Key": map[string]any{"secret": "token"}, "Cookie": "c"}})
		})
		return v, err
	}
	_, port, _ := net.SplitHostPort(hostOf(second.URL))
	for _, c := range []struct {
		to    string
		needs []string
		want  string
	}{
		{second.URL, nil, "redirect: a connection to " + hostOf(second.URL) + " is not granted"},
		{second.URL, []string{"*:*"}, "loopback"},
		{"http://inside.example:" + port, []string{"*:*"}, "inside.example:" + port + " has the address 127.0.0.1 (loopback), which is not granted: ask with needs = { http = {\"inside.example:" + port + "\"} }"},
		{"http://localhost:" + port, []string{"*:*"}, "loopback"},
		{"http://[::ffff:127.0.0.1]:" + port, []string{"*:*"}, "loopback"},
		{"http://169.254.169.254/latest/meta-data/", []string{"*"}, "169.254.169.254 (link-local)"},
		{"http://127.1:" + port, []string{"*:*"}, "127.1"},
		{"file:///etc/passwd", []string{"*"}, `"file" is neither https nor http`},
	} {
		to = c.to
		_, err := ask(c.needs, "/")
		wantError(t, err, c.want)
	}
	to = second.URL
	if v, err := ask([]string{hostOf(second.URL)}, "/"); err != nil || v.(map[string]any)["body"] != "second" || fields.Load() != "" {
		t.Errorf("a redirect that is granted: %v, %v; it took along %q", v, err, fields.Load())
	}
	hops = maxRedirects
	if v, err := ask(nil, "/again"); err != nil || v.(map[string]any)["body"] != "s3cret" {
		t.Errorf("%d redirects on one host: %v, %v", maxRedirects, v, err)
	}
	hops = maxRedirects + 1
	_, err := ask(nil, "/again")
	wantError(t, err, "more than 5 redirects")
}

// TestAddresses (S12): the address that was judged is the one that is connected to, whatever the DNS says a moment later, and private
// addresses and the server's own are reached only where they are granted.
func TestAddresses(t *testing.T) {
	control := filepath.Join(t.TempDir(), "control.sock")
	other := control + "-also"
	if err := errors.Join(os.WriteFile(control, nil, 0o600), os.Symlink(control, other)); err != nil {
		t.Fatal(err)
	}
	zone := map[string][]string{
		"public.example": {"A 192.0.2.1"}, "inside.example": {"A 10.0.0.1", "A 192.0.2.2"}, "loop.example": {"AAAA ::1"}, "meta.example": {"A 169.254.169.254"},
		"mapped.example": {"AAAA ::ffff:127.0.0.1"}, "nat.example": {"AAAA 64:ff9b::a00:1"}, "self.example": {"A 192.0.2.200"}, "none.example": {"TXT x"}, "dead.example": {"!servfail"},
	}
	refused := errors.New("refused")
	for _, c := range []struct {
		where  string
		needs  []string
		given  []string // what the operator grants; nil: all
		dialed string
		want   string
	}{
		{"public.example:99", []string{"*:99"}, nil, "192.0.2.1:99", "refused"},
		{"PUBLIC.example.:99", []string{"*:99"}, nil, "192.0.2.1:99", "refused"},
		{"public.example:98", []string{"*:99"}, nil, "", "a connection to public.example:98 is not granted: ask with needs = { net = {\"public.example:98\"} }"},
		{"public.example:99", []string{"*:99"}, []string{"other.example:99"}, "", "the operator's grant leaves it out"},
		{"inside.example:99", []string{"*:99"}, nil, "192.0.2.2:99", "refused"}, // of its addresses, the public one
		{"inside.example:99", []string{"inside.example:99"}, nil, "10.0.0.1:99 192.0.2.2:99", "refused"},
		{"inside.example:99", []string{"*:99", "private"}, nil, "10.0.0.1:99 192.0.2.2:99", "refused"},
		{"loop.example:99", []string{"*:99", "private"}, []string{"*:99"}, "", "loop.example:99 has the address ::1 (loopback), which is not granted: the plugin asks for it, and the operator's grant leaves it out"},
		{"loop.example:99", []string{"*:99", "private"}, []string{"loop.example:99"}, "[::1]:99", "refused"},
		// networks: the address counts, whatever the name, and a private one is named by them
		{"public.example:99", []string{"192.0.2.0/24:99"}, nil, "192.0.2.1:99", "refused"},
		{"public.example:98", []string{"192.0.2.0/24:99"}, nil, "", "a connection to public.example:98 is not granted: ask with needs"},
		{"public.example:99", []string{"198.51.100.0/24:99"}, nil, "", "public.example:99 has the address 192.0.2.1, which is not granted: ask with needs"},
		{"192.0.2.1:99", []string{"192.0.2.0/24:99"}, nil, "192.0.2.1:99", "refused"},
		{"192.0.3.1:99", []string{"192.0.2.0/24:99"}, nil, "", "a connection to 192.0.3.1:99 is not granted"},
		{"inside.example:99", []string{"10.0.0.0/8:99"}, nil, "10.0.0.1:99", "refused"}, // of its addresses, the one within
		{"inside.example:99", []string{"10.0.0.0/8:99", "*:99"}, nil, "10.0.0.1:99 192.0.2.2:99", "refused"},
		{"inside.example:99", []string{"10.0.0.0/8:99"}, []string{"*:99"}, "", "10.0.0.1 (private), which is not granted: the plugin asks for it, and the operator's grant leaves it out"},
		{"inside.example:99", []string{"inside.example:99"}, []string{"10.0.0.0/8:99"}, "10.0.0.1:99", "refused"},
		{"public.example:99", []string{"192.0.2.0/24:99"}, []string{"192.0.2.128/25:99"}, "", "192.0.2.1, which is not granted: the plugin asks for it"},
		{"loop.example:25", []string{"[::1/128]:25"}, nil, "[::1]:25", "refused"},
		{"[2001:db8::7]:25", []string{"[2001:db8::/32]:25"}, nil, "[2001:db8::7]:25", "refused"},
		{"mapped.example:25", []string{"127.0.0.0/8:25"}, nil, "127.0.0.1:25", "refused"},
		{"nat.example:25", []string{"10.0.0.0/8:25"}, nil, "", "(private)"}, // it stands for one, and is none
		{"[fe80::1%lo]:25", []string{"[fe80::/10]:25"}, nil, "", "is not granted"},
		{"self.example:25", []string{"192.0.2.0/24:25"}, nil, "192.0.2.200:25", "refused"},
		{"meta.example:80", []string{"*"}, nil, "", "link-local"},
		{"mapped.example:80", []string{"*"}, nil, "", "loopback"},
		{"nat.example:80", []string{"*"}, nil, "", "private"},
		{"self.example:25", []string{"*"}, nil, "", "(this server's own)"},
		{"self.example:25", []string{"*", "private"}, nil, "192.0.2.200:25", "refused"},
		{"127.0.0.1:25", []string{"*"}, nil, "", "loopback"},
		{"localhost:25", []string{"*"}, nil, "", "loopback"},
		{"[::]:25", []string{"*"}, nil, "", "this host"},
		{"[fe80::1%lo]:25", []string{"*"}, nil, "", "link-local"},
		{"0x7f000001:25", []string{"*"}, nil, "", "no address"},
		{"none.example:25", []string{"*"}, nil, "", "no address"},
		{"dead.example:25", []string{"*"}, nil, "", "dead.example"},
		{"public.example", []string{"*"}, nil, "", "is not host:port"},
		{"public.example:0", []string{"*"}, nil, "", "is not host:port"},
		{"pub lic:25", []string{"*"}, nil, "", "is not the name of a host"},
		{"unix:/run/x", []string{"*"}, nil, "", `ask with needs = { net = {"unix:/run/x"} }`},
		{"unix:/run/x", []string{"unix:/run/x"}, nil, "/run/x", "refused"},
		{"unix:/run/x", []string{"unix:/run/x"}, []string{"*"}, "", "the operator's grant leaves it out"},
		{"unix:/run/x", []string{"unix:*"}, nil, "/run/x", "refused"},
		{"unix:/run/x", []string{"unix:*"}, []string{"unix:/run/x"}, "/run/x", "refused"},
		{"unix:/run/x", []string{"unix:*"}, []string{"unix:/run/y"}, "", "the operator's grant leaves it out"},
		{"unix:" + control, []string{"unix:*"}, nil, "", "own control socket"},
		{"unix:" + other, []string{"unix:*", "unix:" + control}, nil, "", "own control socket"},
		{"unix:x", []string{"unix:*"}, nil, "", "is not a socket of this machine"},
		{"unix:*", []string{"unix:*"}, nil, "", "is not a socket of this machine"},
	} {
		var dialed []string
		r := resolvetest.New(t, zone)
		o := newOutside(t, Options{Control: control, Own: func(a netip.AddrPort) bool { return a == netip.MustParseAddrPort("192.0.2.200:25") }, Resolver: r,
			Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
				dialed = append(dialed, addr)
				return nil, refused
			}}, &capability.Needs{Net: c.needs})
		if c.given != nil {
			o.c.Needs.Given, o.c.Needs.Asked = &capability.Needs{Net: c.given}, &capability.Needs{Net: c.needs}
		}
		o.in(func(ctx *Context) {
			_, err := do(t, ctx, "net.open", c.where)
			wantError(t, err, c.want)
		})
		if got := strings.Join(dialed, " "); got != c.dialed {
			t.Errorf("%s with %q and %q: connections to %q, not %q", c.where, c.needs, c.given, got, c.dialed)
		}
	}
}

// TestRebinding: a plugin's connection goes to the address that was judged, though the DNS gives another one a moment later.
func TestRebinding(t *testing.T) {
	zone := func(ip string) resolve.Resolver {
		return resolvetest.New(t, map[string][]string{"turning.example": {"A " + ip}})
	}
	refused := errors.New("refused")
	for _, c := range []struct{ first, then, dialed, want string }{
		{"192.0.2.1", "127.0.0.1", "192.0.2.1:80", "refused"},
		{"127.0.0.1", "192.0.2.1", "", "loopback"},
	} {
		for call, arg := range map[string]any{"net.open": "turning.example:80", "http.request": map[string]any{"url": "http://turning.example/"}} {
			var dialed []string
			o := newOutside(t, Options{Resolver: &resolvetest.Turning{First: zone(c.first), Then: zone(c.then)},
				Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
					dialed = append(dialed, addr)
					return nil, refused
				}}, &capability.Needs{Net: []string{"*"}, HTTP: []string{"*"}})
			o.in(func(ctx *Context) {
				_, err := do(t, ctx, call, arg)
				wantError(t, err, c.want)
			})
			if got := strings.Join(dialed, " "); got != c.dialed {
				t.Errorf("%s, %s and then %s: connections to %q, not %q", call, c.first, c.then, got, c.dialed)
			}
		}
	}
}
