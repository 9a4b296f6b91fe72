package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// TestWasmPlugin: lint, list and test a plugin in WebAssembly; its page has the numbers that it works with.
func TestWasmPlugin(t *testing.T) {
	raw, err := message.EncodeValue(map[string]any{"kind": int64(hooks.Reject), "text": "not in wasm"})
	if err != nil {
		t.Fatal(err)
	}
	code, err := asm.Assemble(fmt.Sprintf("memory 2\nexport func stagepost_abi -> i32\ni32.const 0\nexport func stagepost_alloc i32 -> i32\ni32.const 65536\n"+
		"export func stagepost_load i32 i32 -> i32\ni32.const 0\ndata 512 %q\nexport func stagepost_hook i32 -> i64\ni64.const 0x%x\n", raw, 512<<32|len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, minimal+"[plugins]\nfolder = \"plugins\"\n")
	s.write("plugins/w/plugin.toml", "id = \"w\"\nversion = \"1.0.0\"\ndescription = \"x\"\n[hook.rcpt]\n")
	s.write("plugins/w/plugin.wasm", string(code))
	s.write("plugins/w/README.md", "# w\n")
	s.want(s.run("plugin", "lint", "w"), exitFailed, "plugins/w/tests/first.transcript:1: warning: there is no such file", "1 warning")
	s.write("plugins/w/tests/first.transcript", "connect 192.0.2.9\nS: 220 …\nC: EHLO a.example\nS: 250 …\nC: MAIL FROM:<a@a.example>\nS: 250 …\nC: RCPT TO:<u@example.org>\nS: 550 5.7.1 not in wasm\n")
	s.want(s.run("plugin", "lint", "w"), 0, "ok: 1 plugin")
	s.want(s.run("plugin", "test", "w"), 0, "ok: 1 case of 1 plugin")
	s.want(s.run("plugin", "list"), 0, "w", "1.0.0", "rcpt")
	s.want(s.run("check"), 0, "ok, 1 plugin")
	s.write("plugins/w/plugin.wasm", string(code[:20]))
	s.want(s.run("check"), exitConfig, "plugins/w/plugin.wasm: byte ")

	page := s.runInput("", "manual", "wasm")
	s.want(page, 0, "4 `rcpt`", "2 `reject`", "object 3 `rcpt`", "-3 absent")
	if strings.Count(page.out, "object ") < len(hooks.Objects()) {
		t.Error("objects are missing")
	}
}
