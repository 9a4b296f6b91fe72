// Goguest is a plugin in Go: it refuses recipients whose local part is the word of its settings.
package main

import (
	"bytes"
	"fmt"
	"unsafe"
)

//go:wasmimport stagepost_v0 field
func field(object, index, id int32, buf unsafe.Pointer, room int32) int32

// Numbers of the ABI.
const (
	objectRcpt   = 3
	fieldAddress = 1
	stageRcpt    = 4
)

var (
	kept = map[*byte][]byte{} // what the host writes to, so that it is not collected
	word string
	out  []byte
)

//go:wasmexport stagepost_abi
func abi() int32 { return 0 }

//go:wasmexport stagepost_alloc
func alloc(n int32) *byte {
	b := make([]byte, max(n, 1))
	kept[&b[0]] = b
	return &b[0]
}

//go:wasmexport stagepost_load
func load(at *byte, n int32) int32 {
	settings := kept[at][:n]
	i := bytes.Index(settings, []byte("word"))
	word = string(settings[i+5 : i+5+int(settings[i+4]-0x60)]) // a text of less than 24 bytes
	delete(kept, at)
	return 0
}

//go:wasmexport stagepost_hook
func hook(stage int32) int64 {
	if stage != stageRcpt {
		return 0
	}
	buf := make([]byte, 400)
	n := field(objectRcpt, 0, fieldAddress, unsafe.Pointer(&buf[0]), int32(len(buf)))
	if n < 0 || int(n) > len(buf) {
		return -1
	}
	if !bytes.Contains(buf[:n], []byte(word+"@")) {
		return 0
	}
	fmt.Println("refused", word)
	out = []byte("\xa2\x64kind\x02\x64text\x65go no") // {"kind": 2, "text": "go no"}
	return int64(uintptr(unsafe.Pointer(&out[0])))<<32 | int64(len(out))
}

func main() {}
