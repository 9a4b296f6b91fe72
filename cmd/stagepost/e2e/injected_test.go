package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	values "github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// wasmInject hands a message in at tick, and does nothing else.
func wasmInject(t testing.TB, m map[string]any) string {
	t.Helper()
	args, err := values.EncodeValue([]any{m})
	if err != nil {
		t.Fatal(err)
	}
	code, err := asm.Assemble(fmt.Sprintf(`
		import stagepost_v0 svc i32 i32 i32 i32 -> i64
		memory 2
		data 512 "inject"
		data 1024 %s
		export func stagepost_abi -> i32
		i32.const 0
		export func stagepost_alloc i32 -> i32
		i32.const 65536
		export func stagepost_load i32 i32 -> i32
		i32.const 0
		export func stagepost_hook i32 -> i64
		i32.const 512 i32.const 6 i32.const 1024 i32.const %d call svc i64.const 63 i64.shr_s`, strconv.Quote(string(args)), len(args)))
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}

// TestInjected: plugins of both engines are asked at intervals and hand mail in, once for each key; a parcel is kept over a kill,
// listed, and delivered when its plugin takes it.
func TestInjected(t *testing.T) {
	sink := newSink(t)
	sink.refuses("RCPT", "451 4.2.0 not yet") // so that the mail stays queued while the next interval comes
	s := newSite(t, relayConfig(sink.address))
	digest := `plugin { id = "digest", version = "1.0.0", needs = { inject = true, kv = "own" }, hook = { tick = { every = "1s" } } }
function on.tick()
  kv.incr("ticks", 1, 3600)
  inject { sender = "", rcpts = { "lua@example.net" }, key = "mail", content = "Subject: digest\nMessage-ID: <lua@digest.example>\n\nall is well\n" }
  inject { via = "digest", key = "parcel", content = { n = 7 } }
end
function on.deliver(d)
  log.info("parcel came", { n = d.parcel.content.n, key = d.parcel.key, number = d.number })
  ANSWER
end
`
	s.write("plugins/digest.lua", strings.Replace(digest, "ANSWER", `return defer { text = "not yet", after = 1 }`, 1))
	s.write("plugins/guest/plugin.toml", "id = \"guest\"\nversion = \"1.0.0\"\ndescription = \"hands mail in\"\nneeds = { inject = true }\n[hook.tick]\nevery = \"1s\"\n")
	s.write("plugins/guest/plugin.wasm", wasmInject(t, map[string]any{"sender": "", "rcpts": []any{"wasm@example.net"}, "key": "k",
		"content": "Subject: guest\nMessage-ID: <wasm@guest.example>\n\nhello\n"}))
	sv := s.start()
	type queued struct {
		Plugin, Key, State string
		Parcel             bool
		Recipients         []struct {
			Address  string
			Attempts int
		}
	}
	var list []queued
	eventually(t, "three messages are queued and were tried twice", func() (bool, any) {
		list = objects[queued](s, "queue", "list", "--json")
		tried := len(list) == 3
		for _, m := range list {
			tried = tried && m.Recipients[0].Attempts > 1
		}
		return tried, list
	})
	if text := s.want(0, "queue", "list"); !strings.Contains(text, "(parcel of digest)") || !strings.Contains(text, "plugin:digest") {
		t.Errorf("the list is\n%s", text)
	}
	sv.kill()
	sv = s.start()
	eventually(t, "they are tried again, and no others come", func() (bool, any) {
		after := objects[queued](s, "queue", "list", "--json")
		more := len(after) == 3
		for i := range after {
			more = more && after[i].Recipients[0].Attempts > list[i].Recipients[0].Attempts+1
		}
		return more, after
	})
	// What is in the queue is taken now. The plugins hand in no more, since new versions of them do not.
	mark := sv.console.mark()
	s.write("plugins/digest.lua", strings.Replace(strings.Replace(digest, "ANSWER", "return accept()", 1), "function on.tick()", "function on.tick() end\nlocal function never()", 1))
	s.remove("plugins/guest/plugin.wasm")
	s.write("plugins/guest/plugin.toml", "id = \"guest\"\nversion = \"1.0.1\"\n")
	s.write("plugins/guest/init.lua", "function on.mail(m) end\n")
	sv.console.expect(t, mark, "is live: ", "guest")
	sink.refuses("RCPT", "")
	s.empty()
	sink.exactly([]string{"<lua@digest.example>", "<wasm@guest.example>"})
	if got := sink.text("<lua@digest.example>"); !strings.Contains(got, "Date: ") || !strings.Contains(got, "all is well") {
		t.Errorf("delivered was\n%s", got)
	}
	sv.stop()
}
