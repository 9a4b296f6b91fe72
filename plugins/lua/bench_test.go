package lua

import (
	"context"
	"fmt"
	"testing"
	"time"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
)

// A hook call: reads two fields of its object and says next.
func BenchmarkHook(b *testing.B) {
	typ := NewType("rcpt", map[string]Getter{
		"class":   func(*glua.LState, any) glua.LValue { return glua.LTrue },
		"message": func(*glua.LState, any) glua.LValue { return glua.LFalse },
	}, nil, nil)
	in := start(b, link(b, `function on.rcpt(r) if not r.class or r.message then return end end`))
	benchmarkCall(b, in, typ.New(&fakeMessage{}))
}

// The state-machine's floor: a handler that does nothing.
func BenchmarkEmpty(b *testing.B) {
	benchmarkCall(b, start(b, link(b, `function on.rcpt(r) end`)), glua.LNil)
}

func BenchmarkMethod(b *testing.B) {
	typ := NewType("rcpt", nil, map[string]Method{"get": func(L *glua.LState, _ any) int { L.Push(glua.LTrue); return 1 }}, nil)
	benchmarkCall(b, start(b, link(b, `function on.rcpt(r) local x = r:get() end`)), typ.New(&fakeMessage{}))
}

func BenchmarkConcat(b *testing.B) {
	benchmarkCall(b, start(b, link(b, `function on.rcpt(r) local x = "a" .. r .. "b" .. r .. "c" end`)), glua.LString("value"))
}

func BenchmarkTable(b *testing.B) {
	benchmarkCall(b, start(b, link(b, `function on.rcpt(r) local t = {text = r, code = 550} t.reason = r end`)), glua.LString("value"))
}

func BenchmarkPcall(b *testing.B) {
	benchmarkCall(b, start(b, link(b, `local function f(x) return x end function on.rcpt(r) return pcall(f, r) end`)), glua.LString("value"))
}

func BenchmarkLoop1000(b *testing.B) {
	benchmarkCall(b, start(b, link(b, `function on.rcpt(r) local n = 0 for i = 1, 1000 do n = n + i end return n end`)), glua.LNil)
}

func BenchmarkMatch(b *testing.B) {
	benchmarkCall(b, start(b, link(b, `function on.rcpt(r) return r:match("^(%w+)@([%w.-]+)$") end`)), glua.LString("user@mail.example.org"))
}

func benchmarkCall(b *testing.B, in *Instance, arg glua.LValue) {
	fn := onFunc(b, in, "rcpt")
	limits := &Limits{Start: time.Now(), Time: time.Hour} // a host knows when its hook began
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Call(fn, limits, arg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInstance(b *testing.B) {
	im := link(b, `function on.rcpt(r) end`)
	b.ReportAllocs()
	for b.Loop() {
		in, err := NewInstance(im, Options{Setup: bind})
		if err != nil {
			b.Fatal(err)
		}
		in.Close()
	}
}

func BenchmarkPool(b *testing.B) {
	p := newPool(link(b, ``), 0, nil, Options{Setup: bind})
	b.ReportAllocs()
	for b.Loop() {
		in, err := p.Get(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		p.Put(in, in.spent, time.Time{})
	}
}

// A hook that sets a fact, of a plugin that declares none, and of one that declares twenty.
func BenchmarkFact(b *testing.B) {
	declared := ""
	for i := range 19 {
		declared += fmt.Sprintf("before%02d = { type = \"int\" }, ", i)
	}
	for _, bench := range []struct{ name, header string }{
		{"undeclared", ""},
		{"declared", `, facts = { ` + declared + `mail = { type = "string", values = {"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}, of = "message" } }`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p, err := loadPlugin(b, "plugin { id = \"p\""+bench.header+" }\nfunction on.mail(m) m.my.mail = \"permerror\" end", nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(p.Close)
			h := p.Manifest.Hook(hooks.Mail, p.Name, config.Run{})
			h.Handler = p.Handlers()[hooks.Mail]
			g, err := hooks.NewGeneration(1, []*hooks.Hook{h}, nil)
			if err != nil {
				b.Fatal(err)
			}
			c, _ := testCall(b, hooks.Mail)
			c.Observer = nil
			b.ReportAllocs()
			for b.Loop() {
				if res := g.Run(c); res.Failed {
					b.Fatal("it failed")
				}
			}
		})
	}
}
