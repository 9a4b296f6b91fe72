package generation

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

const wasmManifest = "id = \"vip\"\nversion = \"1.2.0\"\napi = 0\ndescription = \"in wasm\"\n[config]\nword = { type = \"string\", default = \"x\" }\n[hook.rcpt]\non_error = \"reject\"\n"

// wasmCode is a plugin in WebAssembly that refuses with a text.
func wasmCode(t *testing.T, text string) string {
	t.Helper()
	raw, err := message.EncodeValue(map[string]any{"kind": int64(hooks.Reject), "text": text})
	if err != nil {
		t.Fatal(err)
	}
	return wasmFrom(t, "i32.const 0", fmt.Sprintf("data 512 %q\nexport func stagepost_hook i32 -> i64\ni64.const 0x%x\n", raw, 512<<32|len(raw)))
}

// wasmFrom is a plugin whose stagepost_load does this, with more lines.
func wasmFrom(t *testing.T, load, more string) string {
	t.Helper()
	code, err := asm.Assemble("import stagepost_v0 log i32 i32 i32\nmemory 2\nexport func stagepost_abi -> i32\ni32.const 0\n" +
		"export func stagepost_alloc i32 -> i32\ni32.const 65536\nexport func stagepost_load i32 i32 -> i32\n" + load + "\n" + more)
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}

func (s *site) openWasm() {
	s.t.Helper()
	e, err := wasm.NewEngine(wasm.EngineOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(e.Close)
	s.wasm = e
	s.mustOpen()
}

// TestWasm: a folder with plugin.toml and plugin.wasm is a plugin like others, and changes like others.
func TestWasm(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip/plugin.toml", wasmManifest)
	s.write("plugins/vip/plugin.wasm", wasmCode(t, "one"))
	s.write("plugins/later.lua", strings.Replace(code("later", "not me"), "on.rcpt", "on.data", 1))
	s.openWasm()
	if got := s.says(); got != "one" {
		t.Errorf("it says %q", got)
	}
	st := s.m.Status().Plugins
	if len(st) != 2 || st[1].Name != "vip" || st[1].Version != "1.2.0" || st[1].Source != "plugins/vip" || fmt.Sprint(st[1].Stages) != "[rcpt]" || st[1].Calls != 1 {
		t.Errorf("%+v", st)
	}
	if h := s.m.Order(hooks.Rcpt)[0]; h.Pos != "plugins/vip/plugin.toml:7" || h.OnError != hooks.Reject {
		t.Errorf("%+v", h)
	}
	if u := s.m.Use()[1]; u.Pool.Created != 1 || u.Pool.Idle != 1 {
		t.Errorf("%+v", u)
	}
	held := s.m.Current().Acquire() // a transaction that has begun
	s.write("plugins/vip/plugin.wasm", wasmCode(t, "two"))
	if c := s.m.Reload(t.Context()); c.Err != nil || !c.Changed {
		t.Fatal(c.Err)
	}
	if got := s.says(); got != "two" {
		t.Errorf("after the change it says %q", got)
	}
	if got := ask(t, held); got != "one" { // S20
		t.Errorf("who began before hears %q", got)
	}
	held.Release()
	for _, tt := range []struct{ file, text, want string }{
		{"plugins/vip/plugin.wasm", "half", `plugins/vip/plugin.wasm: byte 0: this is no WebAssembly module`},
		{"plugins/vip/plugin.wasm", wasmFrom(t, "i32.const 0", ""), `plugins/vip/plugin.wasm: the module does not export stagepost_hook`},
		{"plugins/vip/plugin.wasm", wasmFrom(t, "unreachable", "export func stagepost_hook i32 -> i64\ni64.const 0"), `plugins/vip/plugin.wasm: unreachable in`},
		{"plugins/vip/plugin.wasm", wasmFrom(t, "i32.const 3 i32.const 700 i32.const 27 call log i32.const 1", "export func stagepost_hook i32 -> i64\ni64.const 0\ndata 700 \"[plugin.vip] word: no good!\""),
			`stagepost.toml:10: plugin.vip.word: no good! (said by plugins/vip/plugin.wasm)`},
		{"plugins/vip/plugin.toml", strings.Split(wasmManifest, "[hook")[0], `plugins/vip/plugin.toml:1: the plugin has no hooks`},
		{"plugins/vip/plugin.toml", "id = \"other\"\napi = 0\n[hook.rcpt]\n", `the plugin calls itself "other"`},
		{"plugins/vip/init.lua", code("vip", "three"), `plugins/vip: there are an init.lua and a plugin.wasm in it; a plugin is one of them`},
	} {
		s.write("plugins/vip/plugin.toml", wasmManifest)
		s.write("plugins/vip/plugin.wasm", wasmCode(t, "two"))
		s.write("stagepost.toml", base+"[plugin.vip]\nword = \"y\"\n")
		if c := s.m.Reload(t.Context()); c.Err != nil {
			t.Fatal(c.Err)
		}
		s.write(tt.file, tt.text)
		c := s.m.Reload(t.Context())
		if c.Err == nil || !strings.Contains(c.Err.Error(), tt.want) {
			t.Errorf("%v, want %q", c.Err, tt.want)
		}
		if got := s.says(); got != "two" {
			t.Errorf("%s: it says %q", tt.want, got)
		}
	}
	s.remove("plugins/vip/plugin.toml")
	s.remove("plugins/vip/init.lua")
	if c := s.m.Reload(t.Context()); c.Err == nil || !strings.Contains(c.Err.Error(), "plugins/vip/plugin.wasm: there is no plugin.toml") {
		t.Error(c.Err)
	}
}

// TestWasmAlone: a plugin is read, tried and built without a server's engine.
func TestWasmAlone(t *testing.T) {
	s := newSite(t)
	s.write("plugins/vip/plugin.toml", wasmManifest)
	s.write("plugins/vip/plugin.wasm", wasmCode(t, "alone"))
	s.mustOpen() // each has an engine of its own then
	src, err := Read(s.dir+"/plugins/vip", "plugins/vip")
	if err != nil {
		t.Fatal(err)
	}
	if man, err := src.Manifest(); err != nil || man.Version != "1.2.0" || !src.IsWasm() || !src.IsFolder() {
		t.Errorf("%+v %v", man, err)
	}
	gen, err := Alone(s.m.Config(), src, s.m.opts.Host, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, gen); got != "alone" {
		t.Errorf("it says %q", got)
	}
	gen.Release()
	if err := Try(s.m.Config(), src, s.m.opts.Host, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
