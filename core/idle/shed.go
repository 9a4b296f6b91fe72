package idle

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// smallEnough is what a buffer may keep, in bytes: commands fit in it.
const smallEnough = 1 << 10

// kept are the places in a tls.Conn of the buffers that it keeps for ever, as large as the largest record and the largest message of a
// handshake that came: after one content, 34 KiB for a session that waits. There is no way to ask it to let go. Where a version of Go has no
// such buffers, there are none to shed; a test tells.
var kept = func() (at []uintptr) {
	t := reflect.TypeFor[tls.Conn]()
	for _, name := range []string{"rawInput", "hand"} {
		if f, ok := t.FieldByName(name); ok && f.Type == reflect.TypeFor[bytes.Buffer]() {
			at = append(at, f.Offset)
		}
	}
	return at
}()

// shed lets go of large buffers that hold nothing. It must not run while somebody reads from c; nothing that c was read into points to them
// once a read has found nothing.
func shed(c *tls.Conn) {
	for _, at := range kept {
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), at)); b.Len() == 0 && b.Cap() > smallEnough {
			*b = bytes.Buffer{}
		}
	}
}
