package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// wasmBody gives each message a body of 5,000 lines; then comes what stands in last.
func wasmBody(t testing.TB, last string) string {
	t.Helper()
	code, err := asm.Assemble(fmt.Sprintf(`
		import stagepost_v0 edit i32 i32 i32 i32 i32 -> i32
		import stagepost_v0 content_emit i32 i32 -> i32
		memory 2
		data 512 %s
		data 540 %s
		data 560 %s
		export func stagepost_abi -> i32
		i32.const 0
		export func stagepost_alloc i32 -> i32
		i32.const 65536
		export func stagepost_load i32 i32 -> i32
		i32.const 0
		export func stagepost_hook i32 -> i64
		locals i32
		i32.const 8 i32.const 2 i32.const 0 i32.const 512 i32.const 6 call edit drop
		loop
		  i32.const 560 i32.const 11 call content_emit drop
		  local.get 1 i32.const 1 i32.add local.tee 1 i32.const 5000 i32.lt_u br_if 0
		end
		%s`, strconv.Quote("\x65begin"), strconv.Quote("\x63end"), strconv.Quote("from wasm\r\n"), last))
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}

// luaBody makes the body upper case; then comes what stands in last.
func luaBody(last string) string {
	return `plugin {
  id = "upper",
  version = "1.0.0",
  description = "writes louder",
  needs = { read = "body", edit = { "body" } },
  hook = { data = { order = 60, on_error = "next" } },
}
function on.data(m)
  m:rewrite(function(chunk, last)
    return chunk:upper()
  end)
` + last + "\nend\n"
}

// TestRewrittenBodies: what plugins in both languages make of a body comes out at the next hop, one upon the other; a plugin that dies
// on the way to its new body leaves that as it was, and nothing stays on the disk.
func TestRewrittenBodies(t *testing.T) {
	const end = "i32.const 8 i32.const 2 i32.const 0 i32.const 540 i32.const 4 call edit i64.extend_i32_s"
	r := newRig(t, func(s *site) {
		s.write("plugins/lines/plugin.toml", "id = \"lines\"\nversion = \"1.0.0\"\ndescription = \"another body\"\nneeds = { edit = [\"body\"] }\n[hook.data]\non_error = \"next\"\n")
		s.write("plugins/lines/plugin.wasm", wasmBody(t, end))
		s.write("plugins/upper.lua", luaBody(""))
	})
	lines := strings.Repeat("a line of the sender\r\n", 4000)
	generation := uint64(1)
	sends := func(name, want string) {
		t.Helper()
		c, id := dial(t, r.entry), fmt.Sprintf("<body.%d@client.example>", generation)
		c.want(t, "EHLO client.example", "250")
		c.want(t, "MAIL FROM:<a@client.example>", "250")
		c.want(t, "RCPT TO:<u@example.net>", "250")
		c.want(t, "DATA", "354")
		c.want(t, letter(id)+lines+".", "250")
		head, got, _ := strings.Cut(r.sink.text(id), "\r\n\r\n")
		if before, _, _ := strings.Cut(letter(id), "\r\n\r\n"); got != want || !strings.HasSuffix(head, before) {
			t.Errorf("%s: %d bytes came, want %d; they begin with %.60q", name, len(got), len(want), got)
		}
	}
	_, sent, _ := strings.Cut(strings.ReplaceAll(letter("x"), "\r\n..", "\r\n.")+lines, "\r\n\r\n")
	sends("both", strings.Repeat("FROM WASM\r\n", 5000))
	r.write("plugins/lines/plugin.wasm", wasmBody(t, "unreachable"))
	generation++
	r.live(generation)
	sends("WebAssembly dies", strings.ToUpper(sent))
	r.write("plugins/upper.lua", luaBody(`error("behind the new body")`))
	generation++
	r.live(generation)
	sends("both die", sent)
	r.empty()
	eventually(t, "no contents but free slots", func() (bool, any) {
		files, err := os.ReadDir(r.path("data/body"))
		files = slices.DeleteFunc(files, fs.DirEntry.IsDir)
		return err == nil && len(files) == 0, len(files)
	})
	r.stop()
}
