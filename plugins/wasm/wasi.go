package wasm

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// wasiModule is WASI preview 1, of which there is what runtimes of languages cannot do without.
const wasiModule = "wasi_snapshot_preview1"

// Numbers of WASI's errors.
const (
	wasiBadFile  = 8
	wasiInvalid  = 28
	wasiNotThere = 52
)

// maxLine is what of one write to standard output goes to the log.
const maxLine = 2048

func wasiFuncs() []hostFunc {
	i := func(call func(in *instance, a []uint64) uint64) func(in *instance, a []uint64) uint64 { return call }
	answer := func(n uint64) func(*instance, []uint64) uint64 {
		return func(*instance, []uint64) uint64 { return n }
	}
	return []hostFunc{
		{"args_get", typeOf("ii", "i"), 50, answer(0)},
		{"args_sizes_get", typeOf("ii", "i"), 50, i(noStrings)},
		{"environ_get", typeOf("ii", "i"), 50, answer(0)},
		{"environ_sizes_get", typeOf("ii", "i"), 50, i(noStrings)},
		{"clock_res_get", typeOf("ii", "i"), 50, i(func(in *instance, a []uint64) uint64 { return in.store64(1, a[1]) })},
		{"clock_time_get", typeOf("iIi", "i"), 100, i(clock)},
		{"random_get", typeOf("ii", "i"), 500, i(random)},
		{"fd_write", typeOf("iiii", "i"), 500, i(write)},
		{"fd_read", typeOf("iiii", "i"), 50, answer(wasiBadFile)},
		{"fd_seek", typeOf("iIii", "i"), 50, answer(wasiBadFile)},
		{"fd_close", typeOf("i", "i"), 50, answer(wasiBadFile)},
		{"fd_fdstat_get", typeOf("ii", "i"), 50, i(fileStatus)},
		{"fd_fdstat_set_flags", typeOf("ii", "i"), 50, answer(wasiBadFile)},
		{"fd_prestat_get", typeOf("ii", "i"), 50, answer(wasiBadFile)},
		{"fd_prestat_dir_name", typeOf("iii", "i"), 50, answer(wasiBadFile)},
		{"poll_oneoff", typeOf("iiii", "i"), 1000, answer(wasiNotThere)}, // nothing may wait
		{"sched_yield", typeOf("", "i"), 100, answer(0)},
		{"proc_exit", typeOf("i", ""), 0, func(_ *instance, a []uint64) uint64 {
			panic(faultf("the plugin ended itself with code %d", uint32(a[0])))
		}},
	}
}

func (in *instance) store(b []byte, at uint64) uint64 {
	if !in.memory().Write(uint32(at), b) {
		panic(faultf("a buffer of %d bytes at %d lies outside of the memory, which has %d", len(b), uint32(at), in.memory().Size()))
	}
	return 0
}

func (in *instance) store64(v, at uint64) uint64 {
	return in.store(binary.LittleEndian.AppendUint64(nil, v), at)
}

// noStrings says that there are neither arguments nor an environment.
func noStrings(in *instance, a []uint64) uint64 {
	in.store([]byte{0, 0, 0, 0}, a[0])
	return in.store([]byte{0, 0, 0, 0}, a[1])
}

func clock(in *instance, a []uint64) uint64 {
	switch uint32(a[0]) {
	case 0:
		return in.store64(uint64(in.plugin.Host.Now().UnixNano()), a[2])
	case 1:
		return in.store64(uint64(time.Since(in.plugin.begun)), a[2])
	}
	return wasiInvalid
}

func random(in *instance, a []uint64) uint64 {
	b := in.bytesAt("random bytes", a[0], a[1], 64<<10)
	in.use(int64(len(b)))
	rand.Read(b) // it never fails
	return 0
}

// write takes what goes to standard output or error for lines of the log.
func write(in *instance, a []uint64) uint64 {
	level := "info"
	switch uint32(a[0]) {
	case 1:
	case 2:
		level = "warn"
	default:
		return wasiBadFile
	}
	if uint32(a[2]) > 64 {
		return wasiInvalid
	}
	list := in.bytesAt("a list of buffers", a[1], 8*uint64(uint32(a[2])), 64*8)
	var text strings.Builder
	total := uint32(0)
	for ; len(list) > 0; list = list[8:] {
		b := in.bytesAt("output", uint64(binary.LittleEndian.Uint32(list)), uint64(binary.LittleEndian.Uint32(list[4:])), 1<<20)
		total += uint32(len(b))
		text.Write(b[:min(len(b), max(0, maxLine-text.Len()))])
	}
	if s := strings.TrimRight(text.String(), "\r\n"); s != "" {
		in.say(level, fmt.Sprintf("output: %s", s))
	}
	return in.store(binary.LittleEndian.AppendUint32(nil, total), a[3])
}

// fileStatus says that the three standard files are character devices.
func fileStatus(in *instance, a []uint64) uint64 {
	if uint32(a[0]) > 2 {
		return wasiBadFile
	}
	return in.store(append([]byte{2}, make([]byte, 23)...), a[1])
}
