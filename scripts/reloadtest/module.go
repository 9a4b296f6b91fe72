package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/asm"
)

// The plugin stamp in WebAssembly: what a stage adds are constants of the module, so each version is another module.

const stampManifest = `id = "stamp"
version = "1.0.0"
description = "writes its version into each message, at each stage that a transaction passes"
needs = { edit = ["headers"] }
config = { word = { type = "string", default = "", doc = "the part of the version that the operator sets" } }

[hook.mail]
[hook.rcpt]
[hook.data]
[hook.queue]
`

// stampModule is the module that writes a version.
func stampModule(version string) string {
	added := []struct {
		stage  hooks.Stage
		fields []string
	}{
		{hooks.Mail, []string{"X-Stamp-Mail"}}, {hooks.Rcpt, []string{"X-Stamp-Rcpt"}},
		{hooks.Data, []string{"X-Stamp-Fact", "X-Stamp-Data"}}, {hooks.Queue, []string{"X-Stamp-Queue"}},
	}
	edit := slices.Index(hooks.Edits(), "add_header")
	object := slices.IndexFunc(hooks.Objects(), func(o hooks.Object) bool { return o.Name == "message" })
	var data, code strings.Builder
	at := 1024
	for _, a := range added {
		fmt.Fprintf(&code, "local.get 0 i32.const %d i32.eq if\n", a.stage)
		for _, name := range a.fields {
			args, err := message.EncodeValue([]any{name, version})
			if err != nil {
				panic(err) // not for texts
			}
			fmt.Fprintf(&data, "data %d %s\n", at, strconv.Quote(string(args)))
			fmt.Fprintf(&code, "i32.const %d i32.const %d i32.const 0 i32.const %d i32.const %d call edit\ni32.const 0 i32.lt_s if i64.const -5 return end\n", edit, object, at, len(args))
			at += len(args)
		}
		code.WriteString("end\n")
	}
	module, err := asm.Assemble("import stagepost_v0 edit i32 i32 i32 i32 i32 -> i32\nmemory 2\n" + data.String() + `
export func stagepost_abi -> i32
i32.const 0
export func stagepost_alloc i32 -> i32
i32.const 65536
export func stagepost_load i32 i32 -> i32
i32.const 0
export func stagepost_hook i32 -> i64
` + code.String() + "i64.const 0\n")
	if err != nil {
		panic(err) // the text is the same each time, but for the version
	}
	return string(module)
}
