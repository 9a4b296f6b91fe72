package lua

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/capability"
)

// FuzzRun checks and loads any source and calls its handler with a tiny budget: it must end without a panic, in an error of ours or a result,
// and compiled code must hold no instruction that escapes the budget.
func FuzzRun(f *testing.F) {
	files, _ := filepath.Glob("testdata/attacks/*.lua")
	for _, file := range files {
		if src, err := os.ReadFile(file); err == nil {
			f.Add(string(src))
		}
	}
	f.Add("plugin { id = 'x' } function on.test(a, b, ...) local t = {...} t[a], b = b, a .. b return t end")
	f.Add("function on.data(m) for i, r in ipairs(m.rcpts) do local a = r.address m.my.x, a.y = r.z, kv.put end return hold(m:rename()) end")
	f.Fuzz(func(t *testing.T, src string) {
		if c, err := Parse(Source{Name: "x.lua", Text: []byte(src)}); err == nil {
			for _, err := range checkUse(c, &capability.Needs{}) {
				if e, ok := err.(*Error); !ok || e.Line < 1 {
					t.Fatalf("an error without a place: %v", err)
				}
			}
		}
		p, err := compile(src)
		if err != nil {
			return
		}
		if found := forbidden(p.proto); found != "" {
			t.Fatal(found)
		}
		im, err := Link(p, nil)
		if err != nil {
			return
		}
		limits := Limits{Instructions: 20_000, Bytes: 1 << 20, Time: 2 * time.Second}
		in, err := NewInstance(im, Options{Setup: bind, Load: limits})
		if err == nil {
			defer in.Close()
			on := in.State().G.Global.RawGetString("on").(*glua.LTable)
			if fn, ok := on.RawGetString("test").(*glua.LFunction); ok {
				_, err = in.Call(fn, &limits, glua.LString("a"), glua.LNumber(2), in.State().NewTable())
			}
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("an error of type %T: %v", err, err)
		}
	})
}
