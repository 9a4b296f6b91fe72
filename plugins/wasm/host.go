package wasm

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stagepost/stagepost/core/breaker"
	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/plugins/service"
)

// The functions of the ABI. Arguments are words whose upper half means nothing for an i32.

func (in *instance) header(a []uint64) uint64 {
	name := string(in.bytesAt("a name", a[0], a[1], maxName))
	n := int(int32(a[2]))
	if in.call == nil || in.call.Message == nil {
		return in.refuse(ErrRefused, "header: there is no message here")
	}
	if n < 1 {
		return in.refuse(ErrInvalid, fmt.Sprintf("header: fields are counted from 1, not from %d", n))
	}
	if err := in.call.Reading(capability.ReadHeaders); err != nil {
		return in.refuse(ErrRefused, err.Error())
	}
	h, err := in.call.Message.Header()
	if err != nil {
		return in.refuse(ErrFailed, err.Error())
	}
	if h == nil {
		return in.refuse(ErrRefused, fmt.Sprintf("there is no header yet: it is there from data on, not at %s", in.call.Stage))
	}
	in.use(200 + 8*int64(h.Len()))
	if name != "" {
		v, ok := h.Get(name, n-1)
		if !ok {
			return errno(ErrNone)
		}
		return in.put([]byte(v), a[3], a[4])
	}
	if n > h.Len() {
		return errno(ErrNone)
	}
	in.use(100 * int64(h.Len()))
	return in.put(h.Fields("")[n-1].Raw, a[3], a[4])
}

func errno(code int64) uint64 { return uint64(code) }

func (in *instance) contentRead(a []uint64) uint64 {
	off, room := int64(a[1]), int64(uint32(a[3]))
	if in.call == nil || in.call.Message == nil {
		return in.refuse(ErrRefused, "content_read: there is no message here")
	}
	if err := in.call.Reading(capability.ReadBody); err != nil {
		return in.refuse(ErrRefused, err.Error())
	}
	if off < 0 {
		return in.refuse(ErrInvalid, "content_read: the offset is negative")
	}
	whole, err := in.call.Message.Body()
	if err == nil && whole == nil {
		return in.refuse(ErrRefused, fmt.Sprintf("there is no content yet: it is there from data on, not at %s", in.call.Stage))
	}
	c, err := service.Content(in.call, int64(uint32(a[0])))
	if err != nil {
		return in.refuse(ErrFailed, err.Error())
	}
	n := min(room, maxRead, max(0, c.Size()-off))
	in.granted(n)
	in.use(n / 8)
	if n == 0 {
		return 0
	}
	buf, ok := in.memory().Read(uint32(a[2]), uint32(n))
	if !ok {
		panic(faultf("a buffer of %d bytes at %d lies outside of the memory, which has %d", n, uint32(a[2]), in.memory().Size()))
	}
	if s, ok := c.(interface{ Skips(off int64) int64 }); ok { // a part that is decoded up to there
		in.use(s.Skips(off))
	}
	if m, err := c.ReadAt(buf, off); int64(m) < n && err != io.EOF {
		return in.refuse(ErrFailed, fmt.Sprint(err))
	} else if int64(m) < n {
		n = int64(m)
	}
	in.waited()
	return uint64(n)
}

// granted gives fuel for n bytes that are read, in proportion, once for each byte of the message.
func (in *instance) granted(n int64) {
	if n = min(n, in.call.Message.Content.Size()-in.read); n > 0 {
		in.read += n
		in.rest += 32 * n
		in.grant()
	}
}

// contentEmit writes to the new body.
func (in *instance) contentEmit(a []uint64) uint64 {
	b := in.bytesAt("a piece of content", a[0], a[1], maxRead)
	if in.call == nil || in.call.Rewriting() == nil {
		return in.refuse(ErrRefused, `content_emit: nothing is rewritten; begin with the edit rewrite`)
	}
	in.use(int64(len(b)) / 2)
	in.waits() // the disk may make it wait
	_, err := in.call.Rewriting().Write(b)
	in.waited()
	if err != nil {
		return in.refuse(ErrRefused, "content_emit: "+err.Error())
	}
	return 0
}

// funcs finds the functions of all services by name.
func funcs() map[string]*service.Func {
	m := map[string]*service.Func{}
	for _, s := range service.Services() {
		for _, f := range s.All() {
			m[f.Name] = &f
		}
	}
	return m
}

func (in *instance) svc(a []uint64) uint64 {
	name := string(in.bytesAt("a name", a[0], a[1], maxName))
	raw := in.bytesAt("arguments", a[2], a[3], maxArgs)
	f := in.plugin.funcs[name]
	if f == nil {
		return in.refuse(ErrAbsent, fmt.Sprintf("svc: there is no service %q", name))
	}
	args, err := in.decode(raw)
	if err != nil {
		return in.refuse(ErrInvalid, fmt.Sprintf("%s: the arguments are no CBOR: %s", name, err))
	}
	list, ok := args.([]any)
	if !ok {
		return in.refuse(ErrInvalid, name+": the arguments are not a list")
	}
	v, err := f.Do(in.services, list)
	in.waited()
	if err != nil {
		var over breaker.Overrun
		if errors.As(err, &over) {
			panic(&fault{err.Error(), over})
		}
		return in.refuse(ErrFailed, err.Error())
	}
	switch r := v.(type) {
	case *service.Captures:
		if v = nil; r != nil {
			v = r.Plain()
		}
	case service.Several:
		v = []any(r)
	case service.Thing:
		v = r.Plain()
	}
	out, err := message.EncodeValue(v)
	if err != nil {
		return in.refuse(ErrFailed, fmt.Sprintf("%s: %s", name, err))
	}
	if len(out) > maxResult {
		return in.refuse(ErrRefused, fmt.Sprintf("%s: the result has %d bytes; the most is %d", name, len(out), maxResult))
	}
	if err := in.spend(len(out)/64, len(out)); err != nil {
		panic(&fault{err.Error(), err})
	}
	for h, r := range in.results {
		if r == nil {
			in.results[h] = out
			return uint64(h)<<32 | uint64(len(out))
		}
	}
	if len(in.results) == maxHandles {
		return in.refuse(ErrRefused, fmt.Sprintf("svc: %d results are open; close some", maxHandles))
	}
	in.results = append(in.results, out)
	return uint64(len(in.results)-1)<<32 | uint64(len(out))
}

// decode reads CBOR of the guest's and charges what it takes.
func (in *instance) decode(raw []byte) (any, error) {
	if err := in.spend(len(raw)/4, 20*len(raw)); err != nil {
		panic(&fault{err.Error(), err})
	}
	return message.DecodeValue(append([]byte(nil), raw...)) // byte strings may lie in what is decoded
}

func (in *instance) svcRead(a []uint64) uint64 {
	h, off := uint32(a[0]), int64(a[1])
	if int64(h) >= int64(len(in.results)) || in.results[h] == nil || off < 0 {
		return in.refuse(ErrInvalid, "svc_read: there is no such result, or the offset is negative")
	}
	r := in.results[h]
	r = r[min(off, int64(len(r))):]
	return in.put(r[:min(int64(len(r)), int64(uint32(a[3])))], a[2], a[3])
}

func (in *instance) svcClose(a []uint64) uint64 {
	h := uint32(a[0])
	if int64(h) >= int64(len(in.results)) || in.results[h] == nil {
		return in.refuse(ErrInvalid, "svc_close: there is no such result")
	}
	in.results[h] = nil
	return 0
}

// logLevels by number.
var logLevels = []string{"debug", "info", "warn", "error"}

func (in *instance) log(a []uint64) uint64 {
	level := min(max(int32(a[0]), 0), int32(len(logLevels)-1))
	in.say(logLevels[level], string(in.bytesAt("a line of the log", a[1], a[2], 64<<10)))
	return 0
}

// say writes to the log. An error is also why the plugin does not load, or gives up.
func (in *instance) say(level, text string) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if level == "error" {
		in.told = text[:min(len(text), maxMessage)]
	}
	if _, err := in.plugin.funcs["log."+level].Do(in.services, []any{text}); err != nil {
		panic(&fault{err.Error(), err})
	}
}

func (in *instance) now([]uint64) uint64 { return uint64(in.plugin.Host.Now().UnixNano()) }
