package lua

import (
	"io"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// bound are the methods that read, or take a function, by object and name. Arguments begin at register 2.
var bound = map[string]func(L *glua.LState, b *binding, o any) int{
	"message.header":  messageHeader,
	"message.headers": messageHeaders,
	"content.read":    contentRead,
	"content.chunks":  contentChunks,
	"message.rewrite": messageRewrite,
	"part.text":       partText,
}

func method(fn func(L *glua.LState, b *binding, o any) int) Method {
	return func(L *glua.LState, o any) int { return fn(L, bindingOf(L), o) }
}

// must raises an error at the plugin's line.
func must(L *glua.LState, err error) {
	if err != nil {
		L.RaiseError("%s", err)
	}
}

func header(L *glua.LState, b *binding, o any) *message.Header {
	must(L, b.call.Reading(capability.ReadHeaders))
	h, err := o.(*hooks.MessageView).Header()
	must(L, err)
	if h == nil {
		L.RaiseError("there is no header yet: it is there from data on, not at %s", b.call.Stage)
	}
	b.in.budget.Step(L, 4+h.Len()/8)
	return h
}

func messageHeader(L *glua.LState, b *binding, o any) int {
	n := L.OptInt(3, 1)
	if n < 1 {
		L.RaiseError("header: fields are counted from 1, not from %d", n)
	}
	v, ok := header(L, b, o).Get(L.CheckString(2), n-1)
	if !ok {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(b.in.String(L, v))
	return 1
}

func messageHeaders(L *glua.LState, b *binding, o any) int {
	fields := header(L, b, o).Fields(L.OptString(2, ""))
	list := b.in.NewTable(L, len(fields), 0)
	for _, f := range fields {
		t := b.in.NewTable(L, 0, 3)
		t.RawSetString("name", b.in.String(L, f.Name))
		t.RawSetString("value", b.in.String(L, f.Value))
		t.RawSetString("raw", b.in.String(L, string(f.Raw)))
		list.Append(t)
	}
	L.Push(list)
	return 1
}

// edit makes the method of an edit: package api reads its arguments.
func edit(m *api.Method) Method {
	return func(L *glua.LState, o any) int {
		b := bindingOf(L)
		var buf [4]any
		args := buf[:0]
		for i := 2; i <= L.GetTop(); i++ {
			v, err := b.argument(L, L.Get(i))
			if err != nil {
				L.RaiseError("%s: %s", m.Name, err)
			}
			args = append(args, v)
		}
		must(L, m.Do(b.call, o, args))
		return 0
	}
}

// Bounds of reading content.
const (
	maxRead   = 1 << 20
	chunkSize = 64 << 10
	perByte   = 4 // instructions and bytes that a byte of content adds to the budgets
)

// readContent returns at most n bytes from off, "" at the end. Reading content extends the budgets in proportion, once for
// each byte there is.
func readContent(L *glua.LState, b *binding, c message.Content, off int64, n int) glua.LString {
	must(L, b.call.Reading(capability.ReadBody))
	if off < 0 || n < 0 {
		L.RaiseError("read: offset and length are not negative")
	}
	n = int(min(int64(n), maxRead, max(0, c.Size()-off)))
	b.grant(int64(n))
	if n == 0 {
		return ""
	}
	if s, ok := c.(interface{ Skips(off int64) int64 }); ok { // a part that is decoded up to there
		b.in.budget.Step(L, int(s.Skips(off)/16))
	}
	b.in.budget.Alloc(L, n+stringBytes)
	buf := make([]byte, n)
	if m, err := c.ReadAt(buf, off); m < n && err != io.EOF {
		must(L, err)
	}
	return glua.LString(buf)
}

// messageRewrite gives the body to a function, piece by piece. What ends it early, though the plugin may catch that, leaves the
// message as it was.
func messageRewrite(L *glua.LState, b *binding, o any) int {
	fn := L.CheckFunction(2)
	w, err := b.call.Rewrite()
	must(L, err)
	ended := false
	defer func() {
		if !ended {
			b.call.Unwrite()
		}
	}()
	c := o.(*hooks.MessageView).Content
	for off, last := w.From(), false; !last; {
		chunk := readContent(L, b, c, off, chunkSize)
		off += int64(len(chunk))
		last = off >= c.Size()
		switch piece := call1(L, fn, chunk, glua.LBool(last)).(type) {
		case *glua.LNilType:
		case glua.LString:
			b.waits() // the disk may make it wait
			_, err = io.WriteString(w, string(piece))
			must(L, err)
			b.in.budget.Step(L, len(piece)/256)
		default:
			L.RaiseError("rewrite: the function returned a %s; it returns a string, or nothing", piece.Type())
		}
	}
	must(L, w.Close())
	ended = true
	return 0
}

// grant extends the budgets for n bytes that are read, once for each byte of the message.
func (b *binding) grant(n int64) {
	if n = min(n, b.call.Message.Content.Size()-b.read); n > 0 {
		b.read += n
		b.in.budget.Extend(perByte*n, perByte*n)
	}
}

// scanned charges for a message of n bytes that was looked through for its parts.
func (b *binding) scanned(L *glua.LState, n int64) {
	b.grant(n)
	b.in.budget.Step(L, int(n/64))
}

func partText(L *glua.LState, b *binding, o any) int {
	must(L, b.call.Reading(capability.ReadBody))
	p := o.(*message.Part)
	b.grant(p.Size())
	b.in.budget.Alloc(L, int(min(p.Size(), message.MaxPartText)))
	text, err := p.Text()
	must(L, err)
	L.Push(b.in.String(L, text))
	return 1
}

func contentRead(L *glua.LState, b *binding, o any) int {
	L.Push(readContent(L, b, o.(message.Content), L.CheckInt64(2), L.CheckInt(3)))
	return 1
}

func contentChunks(L *glua.LState, b *binding, o any) int {
	c, off, n := o.(message.Content), int64(0), L.OptInt(2, chunkSize)
	if n < 1 {
		L.RaiseError("chunks: a piece has at least one byte")
	}
	b.in.budget.Alloc(L, 128)
	call := b.in.calls
	L.Push(Function(func(L *glua.LState) int {
		if b.in.calls != call {
			L.RaiseError("this content belongs to an earlier call and is gone")
		}
		s := readContent(L, b, c, off, n)
		if s == "" {
			return 0
		}
		off += int64(len(s))
		L.Push(s)
		return 1
	}))
	return 1
}
