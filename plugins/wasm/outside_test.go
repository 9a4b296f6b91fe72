package wasm

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
)

// TestConnection: a connection is a number, with which functions of the service are called.
func TestConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for in := bufio.NewScanner(conn); in.Scan(); {
			io.WriteString(conn, "re "+in.Text()+"\r\n")
		}
	}()
	addr := l.Addr().String()
	within(t, hooks.Connect, func(g *guest) {
		g.in.services.Needs = &capability.Needs{Net: []string{addr}}
		n := g.svc("net.open", addr)
		if _, ok := n.(int64); !ok {
			t.Fatalf("net.open gives %#v (%s)", n, g.in.told)
		}
		if got := g.svc("net.send", n, "hello\n"); got != nil {
			t.Errorf("net.send: %v (%s)", got, g.in.told)
		}
		if got := g.svc("net.line", n); got != "re hello" {
			t.Errorf("net.line: %v (%s)", got, g.in.told)
		}
		if got := g.svc("net.line", int64(99)); got != ErrFailed || !strings.Contains(g.in.told, "connection is a number; it must be of type connection") {
			t.Errorf("a number that is no connection: %v (%s)", got, g.in.told)
		}
	})
}

// TestOutsideAttacks (S12, S13): a plugin reaches nothing that it is not granted, and ends in time whatever the other side does not do.
func TestOutsideAttacks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and nothing more
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := l.Addr().String()
	get := func(url string) []any { return []any{map[string]any{"url": url}} }
	for _, c := range []struct {
		needs capability.Needs
		name  string
		args  []any
		want  string
	}{
		{capability.Needs{}, "net.open", []any{silent}, "net.open: it is not granted: ask with needs = { net = "},
		{capability.Needs{}, "secret", []any{"api"}, "secret: it is not granted"},
		{capability.Needs{HTTP: []string{"*"}}, "http.request", get("http://" + silent), "has the address 127.0.0.1 (loopback), which is not granted"},
		{capability.Needs{HTTP: []string{"*"}}, "http.request", get("http://169.254.169.254/"), "(link-local), which is not granted"},
		{capability.Needs{Net: []string{"*"}}, "net.open", []any{silent}, "(loopback), which is not granted"},
		{capability.Needs{HTTP: []string{silent}}, "http.request", get("http://" + silent), "http.request: no answer in time"},
		{capability.Needs{Net: []string{silent}}, "net.open", []any{silent, map[string]any{"tls": true}}, "net.open: " + silent + ": TLS: no answer in time"},
	} {
		withinTime(t, hooks.Connect, 200*time.Millisecond, func(g *guest) {
			g.in.services.Needs = &c.needs
			if got := g.svc(c.name, c.args...); got != ErrFailed || !strings.Contains(g.in.told, c.want) {
				t.Errorf("%s%v: %v\n told: %s\n want: %s", c.name, c.args, got, g.in.told, c.want)
			}
		})
	}
	withinTime(t, hooks.Connect, 200*time.Millisecond, func(g *guest) {
		g.in.services.Needs = &capability.Needs{Net: []string{silent}}
		n := g.svc("net.open", silent)
		if got := g.svc("net.line", n); got != ErrFailed || !strings.Contains(g.in.told, "net.line: no answer in time") {
			t.Errorf("net.line: %v (%s)", got, g.in.told)
		}
	})
}
