package asm

import (
	"fmt"
	"strconv"
	"strings"
)

// abi are the functions that a plugin may import.
const abi = `import stagepost_v0 field i32 i32 i32 i32 i32 -> i32
import stagepost_v0 header i32 i32 i32 i32 i32 -> i32
import stagepost_v0 content_read i32 i64 i32 i32 -> i32
import stagepost_v0 content_emit i32 i32 -> i32
import stagepost_v0 edit i32 i32 i32 i32 i32 -> i32
import stagepost_v0 svc i32 i32 i32 i32 -> i64
import stagepost_v0 svc_read i32 i64 i32 i32 -> i32
import stagepost_v0 svc_close i32 -> i32
import stagepost_v0 log i32 i32 i32
import stagepost_v0 now -> i64
`

// parts are what a plugin must have besides its hook; each by the beginning of the line that defines it.
var parts = []struct{ begin, text string }{
	{"memory ", "memory 2"},
	{"export func stagepost_abi ", "export func stagepost_abi -> i32\ni32.const 0"},
	{"export func stagepost_alloc ", "export func stagepost_alloc i32 -> i32\ni32.const 65536"},
	{"export func stagepost_load ", "export func stagepost_load i32 i32 -> i32\ni32.const 0"},
}

// Notes are what the comments at the beginning of a text say, as "; key: value".
func Notes(text string) map[string]string {
	notes := map[string]string{}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "; ")
		if !ok {
			break
		}
		if key, value, ok := strings.Cut(strings.TrimSpace(rest), ": "); ok {
			notes[key] = value
		}
	}
	return notes
}

// Plugin assembles a plugin of the server. The text need not have what all of them have: the imports, a memory of two pages, and
// the functions besides stagepost_hook. The note `exports` makes so many functions more, which are exported, and `size` adds a section of
// so many bytes that means nothing.
func Plugin(text string) ([]byte, error) {
	var head, rest strings.Builder
	head.WriteString(abi)
	have := make([]bool, len(parts))
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "import ") {
			head.WriteString(line + "\n")
			continue
		}
		for i, p := range parts {
			have[i] = have[i] || strings.HasPrefix(line, p.begin)
		}
		rest.WriteString(line + "\n")
	}
	for i, p := range parts {
		if !have[i] {
			head.WriteString(p.text + "\n")
		}
	}
	notes := Notes(text)
	more, _ := strconv.Atoi(notes["exports"])
	for i := range more {
		fmt.Fprintf(&rest, "export func more%d\n", i)
	}
	wasm, err := Assemble(head.String() + rest.String())
	if size, _ := strconv.Atoi(notes["size"]); err == nil && size > 0 {
		wasm = append(wasm, 0) // a custom section
		wasm = append(u32(wasm, size), name(nil, "nothing")...)
		wasm = append(wasm, make([]byte, size-len("nothing")-1)...)
	}
	return wasm, err
}
