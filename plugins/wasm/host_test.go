package wasm

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

const quiet = "export func stagepost_hook i32 -> i64\ni64.const 0"

// guest calls the functions of the ABI as a guest would, in a call at a stage.
type guest struct {
	t  *testing.T
	in *instance
}

// within runs do in a call at a stage, in an instance whose own code does nothing.
func within(t *testing.T, s hooks.Stage, do func(g *guest)) (*hooks.Call, hooks.Result) {
	t.Helper()
	return withinTime(t, s, 10*time.Second, do)
}

// withinTime is within with a deadline.
func withinTime(t *testing.T, s hooks.Stage, timeout time.Duration, do func(g *guest)) (*hooks.Call, hooks.Result) {
	t.Helper()
	r := newRig(t, EngineOptions{})
	p := r.mustLoad(assembled(t, "", quiet))
	gen := generationOf(t, p, timeout)
	gen.Chain(s)[0].Handler = hooks.HandlerFunc(func(c *hooks.Call) (*hooks.Verdict, error) {
		in, err := p.pool.Get(c.Context())
		if err != nil {
			return nil, err
		}
		defer p.pool.Put(in, true, time.Time{})
		in.call = c
		in.limit(CallFuel, c.Deadline())
		in.services.Begin(c)
		do(&guest{t, in})
		return nil, nil
	})
	c, _ := testCall(t, s)
	return c, gen.Run(c)
}

const space = 70_000 // where the guest writes and reads; there are 128 KiB

// put writes bytes and returns where they are.
func (g *guest) put(at int, b []byte) (uint64, uint64) {
	if !g.in.mod.Memory().Write(uint32(at), b) {
		g.t.Fatal("the memory is too small")
	}
	return uint64(at), uint64(len(b))
}

func (g *guest) value(v any) (uint64, uint64) {
	raw, err := message.EncodeValue(v)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.put(space+20_000, raw)
}

func (g *guest) got(n uint64) any {
	if int32(n) < 0 {
		return int(int32(n))
	}
	raw, _ := g.in.mod.Memory().Read(space, uint32(n))
	v, err := message.DecodeValue(append([]byte(nil), raw...))
	if err != nil {
		g.t.Fatalf("%x: %v", raw, err)
	}
	return v
}

func number(t *testing.T, object, field string) (o, f uint64) {
	for i, ob := range hooks.Objects() {
		for j, fd := range ob.Fields {
			if ob.Name == object && fd.Name == field {
				return uint64(i), uint64(j)
			}
		}
	}
	t.Fatalf("there is no %s.%s", object, field)
	return 0, 0
}

func (g *guest) field(name string, index uint64) any {
	object, field, _ := strings.Cut(name, ".")
	o, f := number(g.t, object, field)
	return g.got(g.in.field([]uint64{o, index, f, space, 20_000}))
}

func (g *guest) edit(name, object string, index uint64, v any) int {
	op := -1
	for i, e := range hooks.Edits() {
		if e == name {
			op = i
		}
	}
	o, _ := number(g.t, object, hooksFirst(object))
	at, n := g.value(v)
	return int(int32(g.in.edit([]uint64{uint64(op), o, index, at, n})))
}

// hooksFirst is the name of an object's first field.
func hooksFirst(object string) string {
	for _, o := range hooks.Objects() {
		if o.Name == object {
			return o.Fields[0].Name
		}
	}
	return ""
}

// svc calls a service and reads its result.
func (g *guest) svc(name string, args ...any) any {
	np, nl := g.put(space, []byte(name))
	at, n := g.value(append([]any{}, args...))
	r := g.in.svc([]uint64{np, nl, at, n})
	if int64(r) < 0 {
		return int(int64(r))
	}
	h := r >> 32
	v := g.got(g.in.svcRead([]uint64{h, 0, space, 20_000}))
	if g.in.svcClose([]uint64{h}) != 0 {
		g.t.Error("svc_close failed")
	}
	return v
}

func TestFields(t *testing.T) {
	within(t, hooks.Rcpt, func(g *guest) {
		for _, tt := range []struct {
			field string
			index uint64
			want  any
		}{
			{"session.helo", 0, "client.example"},
			{"session.groups", 0, []any{"a", "b"}},
			{"session.user", 0, ErrNone},
			{"session.esmtp", 0, false},
			{"session.helo", 1, ErrNone},
			{"message.sender", 0, map[string]any{"text": "User@A.Example", "mailbox": "User", "domain": "a.example"}},
			{"message.params", 0, map[string]any{"SIZE": "10"}},
			{"message.rcpts", 0, int64(2)},
			{"message.session", 0, ErrInvalid},
			{"message.content", 0, ErrInvalid},
			{"message.facts", 0, map[string]any{}},
			{"rcpt.address", 0, map[string]any{"text": "u@example.org", "mailbox": "u", "domain": "example.org"}},
			{"rcpt.address", 2, map[string]any{"text": "v@example.net", "mailbox": "v", "domain": "example.net"}},
			{"rcpt.address", 3, ErrNone},
			{"rcpt.class", 0, ErrNone},
			{"rcpt.last", 0, ErrNone},
			{"login.name", 0, ErrNone},
			{"content.size", 0, ErrNone},
		} {
			if got := g.field(tt.field, tt.index); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s[%d] = %#v, want %#v", tt.field, tt.index, got, tt.want)
			}
		}
		if n := int32(g.in.field([]uint64{99, 0, 0, space, 100})); n != ErrInvalid {
			t.Errorf("object 99: %d", n)
		}
		if n := int32(g.in.field([]uint64{0, 0, 99, space, 100})); n != ErrInvalid {
			t.Errorf("field 99: %d", n)
		}
		g.put(space, []byte("untouched"))
		o, f := number(t, "session", "helo")
		if n := g.in.field([]uint64{o, 0, f, space, 5}); n != 15 {
			t.Errorf("a buffer that is too small gives %d, want the length of it all", n)
		}
		if b, _ := g.in.mod.Memory().Read(space, 9); string(b) != "untouched" {
			t.Errorf("it was written: %q", b)
		}
	})
	within(t, hooks.Deliver, func(g *guest) {
		if got := g.field("rcpt.address", 1).(map[string]any)["text"]; got != "v@example.net" {
			t.Error(got)
		}
		for i, want := range []string{"u@example.org", "v@example.net", "u@example.org", "v@example.net"} { // the delivery's, then the message's
			if got := g.field("rcpt.address", uint64(i)).(map[string]any)["text"]; got != want {
				t.Errorf("recipient %d is %s, want %s", i, got, want)
			}
		}
		if got := g.field("rcpt.address", 4); got != ErrNone {
			t.Error(got)
		}
		if got := g.field("delivery.plan", 0).(map[string]any)["via"]; got != "p" {
			t.Error(got)
		}
	})
}

// TestEveryFieldIsRead: each declared field gives a value or a number at some stage, and nothing panics.
func TestEveryFieldIsRead(t *testing.T) {
	for _, s := range []hooks.Stage{hooks.Connect, hooks.Rcpt, hooks.Data, hooks.Deliver} {
		_, res := within(t, s, func(g *guest) {
			for _, o := range hooks.Objects() {
				for _, f := range o.Fields {
					g.field(o.Name+"."+f.Name, 0)
				}
			}
		})
		if res.Failed {
			t.Errorf("%s: %+v", s, res)
		}
	}
}

func TestHeaderAndContent(t *testing.T) {
	within(t, hooks.Data, func(g *guest) {
		header := func(name string, n int) any {
			at, l := g.put(space, []byte(name))
			r := g.in.header([]uint64{at, l, uint64(n), space, 1000})
			if int32(r) < 0 {
				return int(int32(r))
			}
			b, _ := g.in.mod.Memory().Read(space, uint32(r))
			return string(b)
		}
		for _, tt := range []struct {
			name string
			n    int
			want any
		}{{"x-a", 1, "1"}, {"X-A", 2, "2"}, {"X-A", 3, ErrNone}, {"X-B", 1, ErrNone}, {"X-A", 0, ErrInvalid}, {"X-A", -1, ErrInvalid}, {"", 1, "Subject: one\r\n"}, {"", 4, ErrNone}} {
			if got := header(tt.name, tt.n); got != tt.want {
				t.Errorf("header %q %d = %#v, want %#v", tt.name, tt.n, got, tt.want)
			}
		}
		read := func(content uint64, off int64, n uint64) (int, string) {
			r := int32(g.in.contentRead([]uint64{content, uint64(off), space, n}))
			b, _ := g.in.mod.Memory().Read(space, uint32(max(0, r)))
			return int(r), string(b)
		}
		if n, s := read(0, 9, 3); n != 3 || s != "one" {
			t.Error(n, s)
		}
		for _, tt := range []struct {
			content uint64
			off     int64
			want    int
		}{{1, 0, 6}, {2, 0, ErrFailed}, {1<<16 + 1, 0, 6}, {1 << 20, 0, ErrFailed}, {0, -1, ErrInvalid}, {0, 1 << 40, 0}, {0, 1<<63 - 1, 0}} {
			if n, _ := read(tt.content, tt.off, 10); n != tt.want {
				t.Errorf("content_read(%d, %d) = %d, want %d", tt.content, tt.off, n, tt.want)
			}
		}
		if got := g.field("content.size", 0); got != int64(38) {
			t.Error(got)
		}
	})
}

func TestEdits(t *testing.T) {
	c, _ := within(t, hooks.Data, func(g *guest) {
		for _, tt := range []struct {
			name, object string
			v            any
			want         int
		}{
			{"fact", "message", []any{"p.seen", map[string]any{"n": int64(1)}}, 0},
			{"fact", "session", []any{"p.who", []byte{1, 2}}, 0},
			{"fact", "message", []any{".own", true}, 0},
			{"fact", "message", []any{"other.fact", true}, ErrRefused},
			{"fact", "message", []any{"p.seen"}, ErrRefused},
			{"fact", "content", []any{"p.seen", true}, ErrRefused},
			{"fact", "login", []any{"p.seen", true}, ErrRefused},
			{"add_header", "message", []any{"X-New", "yes"}, 0},
			{"add_header", "message", []any{"X-New\r\nBcc", "yes"}, ErrRefused},
			{"add_header", "rcpt", []any{"X-Own", "yes"}, 0},
			{"add_header", "rcpt", []any{"X-Own"}, ErrRefused},
			{"set_header", "rcpt", []any{"X-Own", "yes"}, ErrRefused},
			{"add_header", "session", []any{"X-New", "yes"}, ErrRefused},
			{"set_header", "message", []any{"Subject", "two"}, 0},
			{"remove_header", "message", []any{"X-A", int64(1)}, 0},
			{"remove_header", "message", []any{"X-A", "one"}, ErrRefused},
			{"set_sender", "message", "new@example.org", 0},
			{"set_sender", "message", "no address", ErrRefused},
			{"add_rcpt", "message", []any{"w@example.org", "local"}, 0},
			{"add_rcpt", "message", []any{"w@example.org", "friend"}, ErrRefused},
			{"rename", "rcpt", "w@example.org", ErrRefused},
			{"schedule", "message", map[string]any{"priority": int64(3)}, 0},
			{"schedule", "message", map[string]any{"prio": int64(3)}, ErrRefused},
		} {
			if got := g.edit(tt.name, tt.object, 0, tt.v); got != tt.want {
				t.Errorf("%s %s %v: %d (%s), want %d", tt.name, tt.object, tt.v, got, g.in.told, tt.want)
			}
		}
		if got := g.field("message.my", 0); !reflect.DeepEqual(got, map[string]any{"seen": map[string]any{"n": int64(1)}, "own": true}) {
			t.Errorf("what was staged is not seen: %v", got)
		}
		if got := int32(g.in.edit([]uint64{99, 2, 0, 0, 1})); got != ErrAbsent {
			t.Errorf("edit 99: %d", got)
		}
		at, n := g.put(space, []byte{0xff, 0xff})
		if got := int32(g.in.edit([]uint64{0, 2, 0, at, n})); got != ErrInvalid {
			t.Errorf("what is no CBOR: %d", got)
		}
	})
	h, err := c.Message.Header()
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := h.Get("Subject", 0); v != "two" {
		t.Errorf("subject %q", v)
	}
	if v, _ := h.Get("X-A", 0); v != "2" {
		t.Errorf("X-A %q", v)
	}
	if v, _ := c.Message.Facts.Get("p.seen"); v == nil || c.Message.Sender.Text != "new@example.org" || len(c.Message.Rcpts) != 3 || c.Message.Priority != 3 {
		t.Errorf("%v %v %d", v, c.Message.Sender, len(c.Message.Rcpts))
	}
	within(t, hooks.Rcpt, func(g *guest) {
		if got := g.edit("rename", "rcpt", 0, []any{"x@example.org", "y@example.org"}); got != 0 {
			t.Error(got, g.in.told)
		}
		if got := g.edit("rename", "rcpt", 2, "x@example.org"); got != ErrRefused {
			t.Error(got)
		}
	})
}

func TestServices(t *testing.T) {
	within(t, hooks.Connect, func(g *guest) {
		for _, tt := range []struct {
			name string
			args []any
			want any
		}{
			{"kv.get", []any{"k"}, nil},
			{"kv.add", []any{"k", map[string]any{"a": int64(1)}, int64(60)}, true},
			{"kv.get", []any{"k"}, map[string]any{"a": int64(1)}},
			{"re.match", []any{"a(?P<x>b+)", "abb"}, map[string]any{"0": "abb", "1": "bb", "x": "bb"}},
			{"hash.sha256", []any{[]byte("a")}, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},
			{"json.decode", []any{`{"a":[1,2.5,null]}`}, map[string]any{"a": []any{int64(1), 2.5, nil}}},
			{"throttle.take", []any{"k", "1/1h"}, []any{true, 0.0}},
			{"metric.count", []any{"asked", int64(2)}, nil},
			{"lookup", []any{"config.boxes", "A"}, "b"},
			{"lookup", []any{"users", "a"}, ErrFailed}, // not granted
			{"template.render", []any{"a.txt", map[string]any{"name": "Joe"}}, "Dear Joe"},
			{"kv.get", nil, ErrFailed},
			{"dns.get", []any{"example.org", "A"}, ErrFailed}, // not granted
			{"no.such", nil, ErrAbsent},
		} {
			if got := g.svc(tt.name, tt.args...); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s%v = %#v (%s), want %#v", tt.name, tt.args, got, g.in.told, tt.want)
			}
		}
		if _, ok := g.in.mod.Memory().Grow(20); !ok {
			t.Fatal("the memory does not grow")
		}
		if got := g.svc("hash.sha256", make([]byte, 1<<20)); got != "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58" {
			t.Errorf("an argument of 1 MiB, as a whole mail may be: %v (%s)", got, g.in.told)
		}
		np, nl := g.put(space, []byte("hash.sha256"))
		at, n := g.value([]any{"x"})
		for i := range maxHandles {
			if h := g.in.svc([]uint64{np, nl, at, n}); h>>32 != uint64(i) {
				t.Errorf("result %d has the handle %d", i, h>>32)
			}
		}
		if got := int64(g.in.svc([]uint64{np, nl, at, n})); got != ErrRefused {
			t.Errorf("one result more: %d", got)
		}
		for _, a := range [][]uint64{{99, 0, space, 10}, {0, ^uint64(0), space, 10}} {
			if got := int32(g.in.svcRead(a)); got != ErrInvalid {
				t.Errorf("svc_read%v: %d", a, got)
			}
		}
		if got := int32(g.in.svcClose([]uint64{99})); got != ErrInvalid {
			t.Error(got)
		}
		g.in.endCall()
		if len(g.in.results) != 0 {
			t.Error("results outlive the call")
		}
	})
}

func TestWASI(t *testing.T) {
	within(t, hooks.Connect, func(g *guest) {
		call := func(name string, a ...uint64) uint64 {
			for _, f := range wasiFuncs() {
				if f.name == name {
					return f.call(g.in, a)
				}
			}
			t.Fatal(name)
			return 0
		}
		word := func(at uint32) uint64 {
			v, _ := g.in.mod.Memory().ReadUint64Le(at)
			return v
		}
		g.put(space, []byte{1, 2, 3, 4, 5, 6, 7, 8})
		if call("args_sizes_get", space, space+4) != 0 || word(space) != 0 {
			t.Error("there are arguments")
		}
		g.put(space, []byte{1, 2, 3, 4, 5, 6, 7, 8})
		if call("environ_sizes_get", space, space+4) != 0 || word(space) != 0 {
			t.Error("there is an environment")
		}
		if call("clock_time_get", 0, 0, space) != 0 || time.Since(time.Unix(0, int64(word(space)))) > time.Minute {
			t.Error("the clock")
		}
		if call("clock_time_get", 7, 0, space) != wasiInvalid {
			t.Error("clock 7")
		}
		g.put(space, make([]byte, 32))
		if call("random_get", space, 32) != 0 || word(space) == 0 && word(space+8) == 0 {
			t.Error("random")
		}
		for _, name := range []string{"fd_read", "fd_seek", "fd_close", "fd_prestat_get"} {
			if call(name, 3, space, 1, space) != wasiBadFile {
				t.Error(name)
			}
		}
		at, n := g.put(space+100, []byte("a line\n"))
		g.put(space, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(at)), uint32(n)))
		if call("fd_write", 2, space, 1, space+50) != 0 || uint32(word(space+50)) != 7 {
			t.Error("fd_write")
		}
		if call("fd_write", 5, space, 1, space+50) != wasiBadFile {
			t.Error("fd_write to another file")
		}
	})
}
