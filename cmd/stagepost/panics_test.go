package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// faulty is an outside that panics for one name and one address, as a fault in the server would.
type faulty struct{}

const (
	faultyName    = "faulty.example"
	faultyAddress = "203.0.113.9"
)

func (faulty) Lookup(_ context.Context, name string, t resolve.Type) (resolve.Answer, error) {
	if strings.TrimSuffix(name, ".") == faultyName {
		panic("a fault in the resolver")
	}
	return resolve.Answer{Name: name, Status: resolve.NoDomain}, nil
}

func (faulty) dial(_ context.Context, _, addr string) (net.Conn, error) {
	if strings.HasPrefix(addr, faultyAddress+":") {
		panic("a fault in the dialer")
	}
	return nil, io.EOF
}

// lines is a log that is read while the server writes it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take gives what came since it was asked last.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	l.text.Reset()
	return text
}

// TestHostPanics is S14: a plugin of either runtime comes to a panic in a function of the server, or in a goroutine that this started. That call
// ends by on_error, or the plugin is told of a failure; the server and the session go on.
func TestHostPanics(t *testing.T) {
	s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\n")
	const other = "plugin { id = \"other\", hook = { rcpt = { order = 1 } } }\nfunction on.rcpt(r)\n  if r.address.mailbox == \"other\" then return reject \"other\" end\nend\n"
	s.write("plugins/other.lua", other)
	text := &lines{}
	log, out := observe.NewLog(text, observe.LogOptions{})
	d, err := startDaemon(t.Context(), s.config, daemonOptions{log: log, console: io.Discard, resolver: faulty{}, dial: faulty{}.dial})
	if err != nil {
		t.Fatal(err)
	}
	server := d.bound.address("mx")
	for _, tt := range []struct {
		name, call string // of the service
		args       []any
		lua        string
		why        string
		caught     bool // it is told as a failure, which pcall may catch
	}{
		{"a question", "dns.get", []any{faultyName, "A"}, `dns.get("faulty.example", "A")`, "the resolver failed: a fault in the resolver", true},
		{"a sender", "spf.check", []any{map[string]any{"ip": "192.0.2.1", "sender": "u@" + faultyName}}, `spf.check { ip = "192.0.2.1", sender = "u@faulty.example" }`, "the resolver failed: a fault in the resolver", true},
		{"a host by name", "net.open", []any{faultyName + ":25"}, `net.open("faulty.example:25")`, "the resolver failed: a fault in the resolver", true},
		{"a URL by name", "http.request", []any{map[string]any{"url": "https://" + faultyName + "/"}}, `http.request { url = "https://faulty.example/" }`, "the resolver failed: a fault in the resolver", true},
		{"a URL", "http.request", []any{map[string]any{"url": "https://" + faultyAddress + "/"}}, `http.request { url = "https://203.0.113.9/" }`, "a fault in the dialer", true},
		{"a connection", "net.open", []any{faultyAddress + ":25"}, `net.open("203.0.113.9:25")`, "a fault in the dialer", false},
	} {
		const needs = `dns = true, spf = true, net = { "*:*" }, http = { "*" }`
		lua := func(body string) map[string]string {
			return map[string]string{"plugins/attack.lua": fmt.Sprintf("plugin { id = \"attack\", needs = { %s } }\nfunction on.rcpt(r)\n  %s\n  return reject \"went on\"\nend\n", needs, body)}
		}
		raw, err := message.EncodeValue(tt.args)
		if err != nil {
			t.Fatal(err)
		}
		code, err := asm.Plugin(fmt.Sprintf("data 2000 %s\ndata 3000 %s\nexport func stagepost_hook i32 -> i64\ni32.const 2000 i32.const %d i32.const 3000 i32.const %d call svc i64.const 63 i64.shr_s\n",
			strconv.Quote(tt.call), strconv.Quote(string(raw)), len(tt.call), len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		guarded := "451"
		if tt.caught {
			guarded = "550"
		}
		for _, a := range []struct {
			how   string
			files map[string]string
			code  string
		}{
			{"in Lua", lua(tt.lua), "451"},
			{"in Lua, in pcall", lua("pcall(function() " + tt.lua + " end)"), guarded},
			{"in WebAssembly", map[string]string{"plugins/attack/plugin.wasm": string(code),
				"plugins/attack/plugin.toml": "id = \"attack\"\nversion = \"1.0.0\"\nneeds = { dns = true, spf = true, net = [\"*:*\"], http = [\"*\"] }\n[hook.rcpt]\n"}, "451"},
		} {
			for _, old := range []string{"plugins/attack.lua", "plugins/attack"} {
				if err := os.RemoveAll(filepath.Join(s.dir, old)); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range a.files {
				s.write(name, text)
			}
			if change := d.plugins.Reload(t.Context()); change.Err != nil {
				t.Fatal(change.Err)
			}
			out.Flush()
			text.take()
			if r := sendTo(t, server, "a@client.example", "u@example.net", "hello\n"); fmt.Sprint(r.Code) != a.code {
				t.Errorf("%s %s: %s, want %s", tt.name, a.how, r.Error(), a.code)
			}
			out.Flush()
			said := text.take()
			if failed := strings.Contains(said, `"msg":"a plugin failed"`); failed != (a.code == "451") || failed && !strings.Contains(said, tt.why) {
				t.Errorf("%s %s: the log has %s, want %q in it", tt.name, a.how, said, tt.why)
			}
			if r := sendTo(t, server, "a@client.example", "other@example.net", "hello\n"); r.Error() != "550 5.7.1 other" {
				t.Errorf("%s %s: then %s", tt.name, a.how, r.Error())
			}
		}
	}
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}
