//go:build !wasip1

package abi

// Host stands for the server where there is none.
type Host interface {
	Field(object, index, id int32) ([]byte, int32)
	Header(name string, n int32) ([]byte, int32)
	ContentRead() ([]byte, int32)
	ContentEmit(data []byte) int32
	Edit(op, object, index int32, data []byte) int32
	Svc(name string, args []byte) ([]byte, int32)
	Log(level int32, text string)
	Now() int64
}

// Server is the host of the test that runs.
var Server Host

// Bytes of results of services, by handle.
var results = map[int32][]byte{}

const errAbsent = -3

func put(value []byte, errno int32, buf []byte) int32 {
	if errno < 0 {
		return errno
	}
	if len(value) <= len(buf) {
		copy(buf, value)
	}
	return int32(len(value))
}

// Field is as in WebAssembly, and so are the others.
func Field(object, index, id int32, buf []byte) int32 {
	if Server == nil {
		return errAbsent
	}
	value, errno := Server.Field(object, index, id)
	return put(value, errno, buf)
}

func Header(name string, n int32, buf []byte) int32 {
	if Server == nil {
		return errAbsent
	}
	value, errno := Server.Header(name, n)
	return put(value, errno, buf)
}

func ContentRead(number int32, offset int64, buf []byte) int32 {
	if Server == nil || number != 0 { // parts are for transcripts, which have a server
		return errAbsent
	}
	content, errno := Server.ContentRead()
	if errno < 0 {
		return errno
	}
	return int32(copy(buf, content[min(offset, int64(len(content))):]))
}

func ContentEmit(data []byte) int32 {
	if Server == nil {
		return errAbsent
	}
	return Server.ContentEmit(data)
}

func Edit(op, object, index int32, data []byte) int32 {
	if Server == nil {
		return errAbsent
	}
	return Server.Edit(op, object, index, data)
}

func Svc(name string, args []byte) int64 {
	if Server == nil {
		return errAbsent
	}
	value, errno := Server.Svc(name, args)
	if errno < 0 {
		return int64(errno)
	}
	handle := int32(len(results))
	results[handle] = value
	return int64(handle)<<32 | int64(len(value))
}

func SvcRead(handle int32, offset int64, buf []byte) int32 {
	return int32(copy(buf, results[handle][offset:]))
}

func SvcClose(handle int32) { delete(results, handle) }

func Log(level int32, text string) {
	if Server != nil {
		Server.Log(level, text)
	}
}

func Now() int64 {
	if Server == nil {
		return 0
	}
	return Server.Now()
}
