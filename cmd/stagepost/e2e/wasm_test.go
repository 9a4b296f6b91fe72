package e2e

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// wasmHello adds the field X-Hello with a word, like hello in Lua.
func wasmHello(t testing.TB, word string) string {
	t.Helper()
	edit := fmt.Sprintf("\x82\x67X-Hello%c%s", 0x60+len(word), word) // ["X-Hello", word]
	code, err := asm.Assemble(fmt.Sprintf(`
		import stagepost_v0 edit i32 i32 i32 i32 i32 -> i32
		memory 2
		data 512 %s
		export func stagepost_abi -> i32
		i32.const 0
		export func stagepost_alloc i32 -> i32
		i32.const 65536
		export func stagepost_load i32 i32 -> i32
		i32.const 0
		export func stagepost_hook i32 -> i64
		i32.const 1 i32.const 2 i32.const 0 i32.const 512 i32.const %d call edit i64.extend_i32_s`, strconv.Quote(edit), len(edit)))
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}

// TestReloadWasm: a plugin in WebAssembly changes while mail flows, a broken one is refused, and compiled code is kept for the next
// start.
func TestReloadWasm(t *testing.T) {
	r := newRig(t, func(s *site) {
		s.write("plugins/hello/plugin.toml", "id = \"hello\"\nversion = \"1.0.0\"\ndescription = \"says a word\"\nneeds = { edit = [\"headers\"] }\n[hook.data]\n")
		s.write("plugins/hello/plugin.wasm", wasmHello(t, "one"))
	})
	r.expect("one")
	r.write("plugins/hello/plugin.wasm", wasmHello(t, "two"))
	r.live(2)
	r.expect("two")
	mark := r.console.mark()
	r.write("plugins/hello/plugin.wasm", wasmHello(t, "never")[:100])
	r.refuses(mark, 2, "plugins/hello/plugin.wasm: byte ")
	r.expect("two")
	r.write("plugins/hello/plugin.wasm", wasmHello(t, "two"))
	info, err := os.Stat(r.path("data/wasm-cache"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	r.end()
	again := r.site.start()
	c := dial(t, again.address("mx"))
	c.deliver(t, "u@example.net", "<again.1@client.example>")
	again.empty()
	if got := field(r.sink.text("<again.1@client.example>"), "X-Hello"); got != "two" {
		t.Errorf("after the restart it says %q", got)
	}
	again.stop()
}
