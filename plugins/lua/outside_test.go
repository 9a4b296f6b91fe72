package lua

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// elsewhere answers requests with what was sent, and knows one secret.
type elsewhere struct{}

func (elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s %q %s", r.Method, body, r.Header.Get("Authorization"))
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func (elsewhere) Secret(name string) ([]byte, bool, error) {
	return []byte("s3cret"), name == "api", nil
}

// outsideCall runs a handler at data and gives what its record says.
func outsideCall(t *testing.T, o service.Options, needs, code string) string {
	t.Helper()
	src := `plugin { id = "p", version = "1.0.0", needs = { read = "body", ` + needs + " } }\nfunction on.data(m)\n" + code + "\nend\n"
	man, img, err := Open(Files{Main: "p.lua", Texts: map[string][]byte{"p.lua": []byte(src)}, Path: func(f string) string { return "plugins/" + f }})
	if err != nil {
		t.Fatal(err)
	}
	o.Log = slog.New(slog.DiscardHandler)
	p, err := Load(PluginOptions{Name: "p", Image: img, Manifest: man, Host: service.NewHost(o)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, rec := testCall(t, hooks.Data)
	generationOf(t, p).Run(c)
	return rec.steps[0].Detail
}

// TestObjectsOfServices: content and secrets are handed on as they are, and a secret shows itself nowhere.
func TestObjectsOfServices(t *testing.T) {
	o := service.Options{Fetch: elsewhere{}, Secrets: elsewhere{}}
	const needs = `http = {"*"}, secrets = {"*"}, inject = true`
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte("x"))
	for _, c := range []struct{ code, want string }{
		{`return reject(http.request{url = "https://a.example/", body = m.content, bearer = secret "api"}.body)`, `POST "Subject: one\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody\r\n" Bearer s3cret`},
		{`inject{sender = "", rcpts = {"u@example.org"}, content = m.content}`, "inject: the server takes no mail yet"},
		{`return reject(hash.hmac("sha256", secret "api", "x"))`, fmt.Sprintf("%x", mac.Sum(nil))},
		{`return reject(tostring(secret "none") .. " " .. tostring(secret "api"))`, "nil secret"},
		{`return reject("x" .. secret "api")`, "plugins/p.lua:3: "},
		{`return reject(json.encode{secret "api"})`, "plugins/p.lua:3: json.encode: a userdata cannot be kept"},
		{`m.my.x = secret "api"`, "plugins/p.lua:3: "},
		{`log.info("x", {s = secret "api"})`, "plugins/p.lua:3: log.info: s: a userdata cannot be kept"},
		{`return reject(tostring((secret "api").text))`, "plugins/p.lua:3: secret has no field \"text\""},
	} {
		got := outsideCall(t, o, needs, c.code)
		if !strings.Contains(got, c.want) || strings.Contains(got, "s3cret") != strings.Contains(c.want, "s3cret") {
			t.Errorf("%s\n got: %s\nwant: %s", c.code, got, c.want)
		}
	}
}

// TestOutsideAttacks (S12, S13): a plugin reaches nothing that it is not granted, at a line, and ends in time whatever the other side
// does not do.
func TestOutsideAttacks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and nothing more
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := l.Addr().String()
	for _, c := range []struct{ needs, code, want string }{
		{`http = {"*"}`, `http.request{url = "http://` + silent + `/"}`, "plugins/p.lua:3: http.request: " + silent + " has the address 127.0.0.1 (loopback), which is not granted"},
		{`http = {"*"}`, `http.request{url = "http://169.254.169.254/"}`, "(link-local), which is not granted"},
		{`net = {"*"}`, `net.open("` + silent + `")`, "plugins/p.lua:3: net.open: " + silent + " has the address 127.0.0.1 (loopback), which is not granted"},
		{`net = {"other.example:25"}`, `net.open("` + silent + `")`, `is not granted: ask with needs = { net = {"` + silent + `"} }`},
		{`net = {"` + silent + `"}`, `net.open("` + silent + `"):line()`, "plugins/p.lua:3: net.line: no answer in time"},
		{`net = {"` + silent + `"}`, `local c = net.open("` + silent + `") while true do pcall(c.line, c) end`, "time"},
		{`net = {"` + silent + `"}`, `while true do net.open("` + silent + `") end`, "more than 8 connections in one hook call"},
		{`net = {"` + silent + `"}`, `net.open("` + silent + `").line("x")`, "line is a method of connection"},
		{`http = {"` + silent + `"}`, `http.request{url = "http://` + silent + `/"}`, "plugins/p.lua:3: http.request: no answer in time"},
	} {
		if got := outsideCall(t, service.Options{}, c.needs, c.code); !strings.Contains(got, c.want) {
			t.Errorf("%s\n got: %s\nwant: %s", c.code, got, c.want)
		}
	}
}
