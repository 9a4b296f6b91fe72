//go:build wasip1

package abi

import "unsafe"

//go:wasmimport stagepost_v0 field
//go:noescape
func field(object, index, id int32, buf unsafe.Pointer, room int32) int32

//go:wasmimport stagepost_v0 header
//go:noescape
func header(name unsafe.Pointer, size, n int32, buf unsafe.Pointer, room int32) int32

//go:wasmimport stagepost_v0 content_read
//go:noescape
func contentRead(content int32, offset int64, buf unsafe.Pointer, room int32) int32

//go:wasmimport stagepost_v0 content_emit
//go:noescape
func contentEmit(data unsafe.Pointer, size int32) int32

//go:wasmimport stagepost_v0 edit
//go:noescape
func edit(op, object, index int32, data unsafe.Pointer, size int32) int32

//go:wasmimport stagepost_v0 svc
//go:noescape
func svc(name unsafe.Pointer, size int32, data unsafe.Pointer, length int32) int64

//go:wasmimport stagepost_v0 svc_read
//go:noescape
func svcRead(handle int32, offset int64, buf unsafe.Pointer, room int32) int32

//go:wasmimport stagepost_v0 svc_close
func svcClose(handle int32) int32

//go:wasmimport stagepost_v0 log
//go:noescape
func log(level int32, text unsafe.Pointer, size int32)

//go:wasmimport stagepost_v0 now
func now() int64

func at(b []byte) unsafe.Pointer     { return unsafe.Pointer(unsafe.SliceData(b)) }
func textAt(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// Field writes the value of a field to buf, if it fits, and returns its length.
func Field(object, index, id int32, buf []byte) int32 {
	return field(object, index, id, at(buf), int32(len(buf)))
}

// Header writes a field of the header.
func Header(name string, n int32, buf []byte) int32 {
	return header(textAt(name), int32(len(name)), n, at(buf), int32(len(buf)))
}

// ContentRead reads from the content.
func ContentRead(content int32, offset int64, buf []byte) int32 {
	return contentRead(content, offset, at(buf), int32(len(buf)))
}

// ContentEmit writes to the new body.
func ContentEmit(data []byte) int32 { return contentEmit(at(data), int32(len(data))) }

// Edit stages an edit.
func Edit(op, object, index int32, data []byte) int32 {
	return edit(op, object, index, at(data), int32(len(data)))
}

// Svc calls a service.
func Svc(name string, args []byte) int64 {
	return svc(textAt(name), int32(len(name)), at(args), int32(len(args)))
}

// SvcRead reads from a result.
func SvcRead(handle int32, offset int64, buf []byte) int32 {
	return svcRead(handle, offset, at(buf), int32(len(buf)))
}

// SvcClose forgets a result.
func SvcClose(handle int32) { svcClose(handle) }

// Log writes a line.
func Log(level int32, text string) { log(level, textAt(text), int32(len(text))) }

// Now is the server's time in nanoseconds since 1970.
func Now() int64 { return now() }

// The settings, which the server writes here, and the latest verdict, which it reads: kept, so that they are not collected.
var settings, verdict []byte

//go:wasmexport stagepost_abi
func version() int32 { return Version }

//go:wasmexport stagepost_alloc
func alloc(n int32) unsafe.Pointer {
	settings = make([]byte, max(n, 1))
	return at(settings)
}

//go:wasmexport stagepost_load
func load(_ unsafe.Pointer, n int32) int32 {
	given := settings[:n]
	settings = nil
	return Load(given)
}

//go:wasmexport stagepost_hook
func hook(stage int32) int64 {
	verdict = Hook(stage)
	if Failed < 0 {
		return Failed
	}
	if len(verdict) == 0 {
		return 0
	}
	return int64(uintptr(at(verdict)))<<32 | int64(len(verdict))
}
