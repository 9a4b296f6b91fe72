package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	values "github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// delivering is a plugin that delivers mail for example.net itself, and lies about it or dies of it.
type delivering struct {
	name string
	lua  string // the body of on.deliver(d)
	wasm any    // the verdict at deliver
	code string // instructions before that
	data string // lines for the memory

	why    [2]string // in the record of the first try
	states []string  // of the two recipients after it; nil: both are deferred
	last   []string  // those that are left for the next hop
}

// honest leaves delivery to others.
const honest = "plugin { id = \"attack\", version = \"1.0.0\" }\nfunction on.mail(m) end\n"

// TestDeliverAttacks is S18: a plugin that delivers claims success twice, for a recipient that there is not, or in a form that
// means nothing, or dies when the remote has taken the message. Each recipient is delivered or tried again, nobody gets what was not for him,
// the sender is not told of a failure, and when a plugin that works takes its place everything is there.
func TestDeliverAttacks(t *testing.T) {
	accept := map[string]any{"kind": int64(hooks.Accept)}
	each := func(verdicts ...any) any { return map[string]any{"kind": int64(hooks.Each), "verdicts": verdicts} }
	dialog := "EHLO a.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.net>\r\nDATA\r\n" + letter("<plugin@client.example>") + ".\r\n"
	const replies = 1 + 5 + 1 + 1 + 1 + 1 // lines of the greeting, of EHLO, and so on to the 250 of the content
	const few = "one for each of the 2 recipients"
	both, ghost, send := []string{"u@example.net", "v@example.net"}, []any{"ghost@example.net", "relay"}, []any{int64(1), dialog}
	for n, runtime := range []string{"Lua", "WebAssembly"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			a := &deliveries{t: t, sink: newSink(t), remote: newSink(t)}
			open := []any{a.remote.address}
			s := newSite(t, relayConfig(a.sink.address))
			s.write("plugins/"+luaFile, honest)
			a.server = s.start()
			for _, d := range []delivering{
				{name: "the first of two", lua: `return each(function(r) if r.address.mailbox == "u" then return accept() end return defer "not yet" end)`, why: [2]string{"not yet", "not yet"},
					wasm: each(accept, map[string]any{"kind": int64(hooks.Defer), "text": "not yet"}), states: []string{"delivered", "deferred"}, last: both[1:]},
				{name: "one of two", lua: `return each { accept() }`, why: [2]string{"function expected, got table", few}, wasm: each(accept)},
				{name: "one that there is not", lua: `return each { accept(), accept(), accept() }`, why: [2]string{"function expected, got table", few}, wasm: each(accept, accept, accept)},
				{name: "one by name", lua: `return accept { rcpt = "ghost@example.net" }`, why: [2]string{`"rcpt"`, `"rcpt"`},
					wasm: map[string]any{"kind": int64(hooks.Accept), "rcpt": "ghost@example.net"}},
				{name: "twice", lua: `return { accept(), accept() }`, why: [2]string{"returned a table", "a verdict is a map, not"}, wasm: []any{accept, accept}},
				{name: "each in each", lua: `return each(function() return each(function() return accept() end) end)`, why: [2]string{"verdict 1 is each", "verdict 1: it is an each itself"},
					wasm: each(each(accept, accept), accept)},
				{name: "a text", lua: `return "accept"`, why: [2]string{"returned a string", "a verdict is a map, not"}, wasm: "accept"},
				{name: "a recipient is added", lua: `local add = "add_" .. "rcpt" d.message[add](d.message, "ghost@example.net", "relay") return accept()`,
					why: [2]string{"add_rcpt works at data, not at deliver", "add_rcpt works at data, not at deliver"}, wasm: accept, data: cborAt(t, 6000, ghost),
					code: fmt.Sprintf("i32.const 5 i32.const 2 i32.const 0 i32.const 6000 i32.const %d call edit i32.const 0 i32.lt_s if i64.const -1 return end", len(cbor(t, ghost)))},
				{name: "it dies after the remote's 250", lua: fmt.Sprintf(`local c = net.open(%q) c:send(%s) for i = 1, %d do c:line() end error("gone")`, a.remote.address, luaQuoted(dialog), replies),
					why: [2]string{"gone", "unreachable"}, wasm: accept,
					data: "data 6000 \"net.open\"\ndata 6010 \"net.send\"\ndata 6020 \"net.line\"\n" + cborAt(t, 6100, open) + cborAt(t, 6200, []any{int64(1)}) + cborAt(t, 6300, send),
					code: fmt.Sprintf("i32.const 6000 i32.const 8 i32.const 6100 i32.const %d call svc drop i32.const 6010 i32.const 8 i32.const 6300 i32.const %d call svc drop\n", len(cbor(t, open)), len(cbor(t, send))) +
						strings.Repeat("i32.const 6020 i32.const 8 i32.const 6200 i32.const 2 call svc drop\n", replies) + "unreachable"},
			} {
				if d.states == nil {
					d.states, d.last = []string{"deferred", "deferred"}, both
				}
				a.try(n, runtime, d)
			}
			a.server.empty()
			a.sink.exactly(a.ids)
			if a.remote.count() == 0 {
				t.Error("the remote took nothing of the plugin that died after its 250")
			}
			a.server.stop()
		})
	}
}

// deliveries is a server whose plugin delivers.
type deliveries struct {
	t            *testing.T
	server       *server
	sink, remote *sink
	ids          []string
}

// try sends a message to two recipients through a plugin, looks what became of it, and lets another plugin take its place.
func (a *deliveries) try(n int, runtime string, d delivering) {
	a.t.Helper()
	files := a.inLua(d)
	if n > 0 {
		files = a.inWasm(d)
	}
	a.install(files)
	id := fmt.Sprintf("<deliver.%d@client.example>", len(a.ids))
	a.ids = append(a.ids, id)
	c := dial(a.t, a.server.address("mx"))
	defer c.conn.Close()
	for _, line := range []string{"MAIL FROM:<a@client.example>", "RCPT TO:<u@example.net>", "RCPT TO:<v@example.net>"} {
		c.want(a.t, line, "250")
	}
	c.want(a.t, "DATA", "354")
	inQueue := queued(a.t, c.want(a.t, letter(id)+".", "250"))
	var states []string
	eventually(a.t, d.name+": it was tried", func() (bool, any) {
		list := objects[message](a.server.site, "queue", "show", inQueue)
		states = nil
		for _, r := range list[0].Recipients {
			states = append(states, r.State)
			if r.Attempts == 0 {
				return false, list
			}
		}
		return true, list
	})
	if !slices.Equal(states, d.states) {
		a.t.Errorf("%s in %s: the recipients are %q, want %q", d.name, runtime, states, d.states)
	}
	if trace := a.server.want(0, "trace", inQueue); !strings.Contains(trace, d.why[n]) {
		a.t.Errorf("%s in %s: the trace lacks %q:\n%s", d.name, runtime, d.why[n], trace)
	}
	if n := a.sink.count(); n != len(a.ids)-1 {
		a.t.Errorf("%s in %s: the next hop has %d messages, want %d", d.name, runtime, n, len(a.ids)-1)
	}
	a.install(luaFiles(honest))
	a.server.empty()
	a.sink.text(id)
	if got := a.sink.recipients(id); !slices.Equal(got, d.last) {
		a.t.Errorf("%s in %s: the next hop got it for %q, want %q", d.name, runtime, got, d.last)
	}
	told := map[string]int{}
	for _, s := range objects[step](a.server.site, "trace", inQueue) {
		if rcpt, _, _ := strings.Cut(s.Detail, " "); s.Stage == "outcome" && s.Verdict == "delivered" {
			told[rcpt]++
		}
	}
	if !maps.Equal(told, map[string]int{"<u@example.net>": 1, "<v@example.net>": 1}) {
		a.t.Errorf("%s in %s: delivered are %v, want each of the two once", d.name, runtime, told)
	}
}

// install replaces the plugin by another one, whatever each is written in.
func (a *deliveries) install(files map[string]string) {
	a.t.Helper()
	if why := (&arena{server: a.server}).install(files); why != "" {
		a.t.Fatal(why)
	}
}

func (a *deliveries) inLua(d delivering) map[string]string {
	return luaFiles(fmt.Sprintf("plugin { id = \"attack\", version = \"1.0.0\", needs = { net = { %q }, edit = { \"rcpts\" }, relay = true } }\n"+
		"function on.route(r) return route { via = \"attack\" } end\nfunction on.deliver(d)\n%s\nend\n", a.remote.address, d.lua))
}

func (a *deliveries) inWasm(d delivering) map[string]string {
	a.t.Helper()
	route, verdict := cbor(a.t, map[string]any{"kind": int64(hooks.RouteTo), "via": "attack"}), cbor(a.t, d.wasm)
	code, err := asm.Plugin(fmt.Sprintf("data 4000 %s\ndata 5000 %s\n%s\nexport func stagepost_hook i32 -> i64\nlocal.get 0 i32.const %d i32.ne if i64.const %d return end\n%s\ni64.const %d\n",
		strconv.Quote(route), strconv.Quote(verdict), d.data, hooks.Deliver, 4000<<32|len(route), d.code, 5000<<32|len(verdict)))
	if err != nil {
		a.t.Fatal(err)
	}
	return map[string]string{
		wasmFolder + "/plugin.wasm": string(code),
		wasmFolder + "/plugin.toml": fmt.Sprintf("id = \"attack\"\nversion = \"1.0.0\"\nneeds = { net = [%q], edit = [\"rcpts\"], relay = true }\n\n[hook.route]\n[hook.deliver]\ntimeout = %q\n",
			a.remote.address, 10*time.Second),
	}
}

func cbor(t testing.TB, v any) string {
	t.Helper()
	raw, err := values.EncodeValue(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// cborAt is a line that puts a value into the memory.
func cborAt(t testing.TB, at int, v any) string {
	t.Helper()
	return fmt.Sprintf("data %d %s\n", at, strconv.Quote(cbor(t, v)))
}

func luaQuoted(s string) string {
	return `"` + strings.NewReplacer("\r", `\r`, "\n", `\n`, `"`, `\"`).Replace(s) + `"`
}
