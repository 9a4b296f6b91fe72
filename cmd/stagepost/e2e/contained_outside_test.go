package e2e

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// outside is a server that plugins connect to. It says what it has to say, then a byte now and then for ever, and reads no more than tells it
// that it was asked.
func outside(t *testing.T, says string, drip time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		l.Close()
	})
	serve := func(conn net.Conn) {
		defer conn.Close()
		var err error
		if strings.HasPrefix(says, "HTTP/") { // not before it is asked
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil {
			_, err = conn.Write([]byte(says))
		}
		for err == nil {
			select {
			case <-done:
				return
			case <-time.After(drip):
				if says != "" {
					_, err = conn.Write([]byte("x"))
				}
			}
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// hangingAttacks are those of S13 by http and net, in both runtimes: the other side takes the connection and says nothing, or never comes
// to an end, or does not read.
func hangingAttacks(t *testing.T) (list []attack) {
	t.Helper()
	const drip = 20 * time.Millisecond
	silent, header, body, line := outside(t, "", time.Second), outside(t, "HTTP/1.1 200 OK\r\nX-Long: ", drip),
		outside(t, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", drip), outside(t, "220 ", drip)
	url := func(address string) []any { return []any{map[string]any{"url": "http://" + address + "/"}} }
	open := func(address string) called { return called{"net.open", []any{address}} }
	const luaGet = `http.request { url = "http://%s/" }`
	for _, k := range []struct {
		name, address string
		lua           string // with the address once
		steps         []called
	}{
		{"http_silent", silent, luaGet, []called{{"http.request", url(silent)}}},
		{"http_header", header, luaGet, []called{{"http.request", url(header)}}},
		{"http_body", body, luaGet, []called{{"http.request", url(body)}}},
		{"http_again", silent, `while true do pcall(http.request, { url = "http://%s/", timeout = 0.05 }) end`, []called{{"http.request", []any{map[string]any{"url": "http://" + silent + "/", "timeout": 0.05}}}}},
		{"net_silent", silent, `net.open(%q):line()`, []called{open(silent), {"net.line", []any{int64(1)}}}},
		{"net_line", line, `net.open(%q):line()`, []called{open(line), {"net.line", []any{int64(1)}}}},
		{"net_read", line, `net.open(%q):read(100000)`, []called{open(line), {"net.read", []any{int64(1), int64(100000)}}}},
		{"net_tls", silent, `net.open(%q, { tls = true })`, []called{{"net.open", []any{silent, map[string]any{"tls": true}}}}},
		{"net_unread", silent, `local c, s = net.open(%q), ("x"):rep(100000) while true do c:send(s) end`, []called{open(silent), {"net.send", []any{int64(1), string(make([]byte, 100000))}}}},
	} {
		lua := attack{name: "s13_" + k.name, runtime: "lua", want: "in time", stage: "rcpt", timeout: 300 * time.Millisecond}
		lua.files = luaFiles(fmt.Sprintf("plugin { id = \"attack\", needs = { http = { %q }, net = { %q } }, hook = { rcpt = { when = { listener = { \"attack\" } }, timeout = \"300ms\" } } }\n\n"+
			"function on.rcpt(r)\n  %s\nend\n", k.address, k.address, fmt.Sprintf(k.lua, k.address)))
		wasm := lua
		if wasm.runtime = "wasm"; k.name == "net_unread" { // what it hands over is charged, too, and comes to its end first
			wasm.want = "ran out of memory"
		}
		wasm.files = map[string]string{
			wasmFolder + "/plugin.wasm": loopOf(t, k.steps),
			wasmFolder + "/plugin.toml": fmt.Sprintf("id = \"attack\"\nversion = \"1.0.0\"\nneeds = { http = [%q], net = [%q] }\n\n[hook.rcpt]\nwhen = { listener = [\"attack\"] }\ntimeout = \"300ms\"\n", k.address, k.address),
		}
		list = append(list, lua, wasm)
	}
	return list
}

// called is one call of a service.
type called struct {
	name string
	args []any
}

// loopOf is a module that calls services in turn, the last of them for ever, whatever they answer.
func loopOf(t testing.TB, steps []called) string {
	t.Helper()
	text, body, at := "memory 4\n", "", 2000
	for i, s := range steps {
		raw := cbor(t, s.args)
		text += fmt.Sprintf("data %d %s\ndata %d %s\n", at, strconv.Quote(s.name), at+100, strconv.Quote(raw))
		call := fmt.Sprintf("i32.const %d i32.const %d i32.const %d i32.const %d call svc drop ", at, len(s.name), at+100, len(raw))
		if at += 100 + len(raw); i == len(steps)-1 {
			call = "loop " + call + "br 0 end "
		}
		body += call
	}
	code, err := asm.Plugin(text + "export func stagepost_hook i32 -> i64\n" + body + "i64.const 0\n")
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}
