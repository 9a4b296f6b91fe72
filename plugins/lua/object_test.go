package lua

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	glua "github.com/yuin/gopher-lua"
)

func lstring(s string) glua.LValue { return glua.LString(s) }

type fakeMessage struct {
	sender string
	size   int
}

// messageType is a host type as a binding would make it.
func messageType() *Type {
	return NewType("message", map[string]Getter{
		"sender": func(L *glua.LState, o any) glua.LValue { return InstanceOf(L).String(L, o.(*fakeMessage).sender) },
		"size":   func(L *glua.LState, o any) glua.LValue { return glua.LNumber(o.(*fakeMessage).size) },
		"fresh":  func(*glua.LState, any) glua.LValue { return glua.LTrue },
	}, map[string]Method{
		"header": func(L *glua.LState, o any) int { L.Push(glua.LString("header " + L.CheckString(2))); return 1 },
	}, map[string]Setter{
		"size": func(L *glua.LState, o any, v glua.LValue) { o.(*fakeMessage).size = int(v.(glua.LNumber)) },
	})
}

func TestObjects(t *testing.T) {
	typ := messageType()
	for _, tt := range []expectation{
		{`return m.sender .. " " .. m.size`, "a@example.org 10"},
		{`m.size = 11 return m.size`, "11"},
		{`return m:header("Subject")`, "header Subject"},
		{`return m.header == m.header`, "true"},
		{`return tostring(m) .. type(m)`, "messageuserdata"},
		{`return m.sende`, `! x.lua:1: message has no field "sende"; did you mean "sender"?`},
		{`m.sender = "x"`, `! x.lua:1: the field "sender" of message cannot be set`},
		{`m.other = "x"`, `! message has no field "other"`},
		{`return m[1]`, `! message is not a list`},
		{`return m.header("Subject")`, `! header is a method of message: call it with a colon, as x:header()`},
		{`return tostring(getmetatable(m))`, "false"},
		{`setmetatable(m, {})`, `! table expected, got userdata`},
		{`rawset(m, "size", 1)`, `! table expected, got userdata`},
	} {
		in := start(t, link(t, `function on.test(m) `+tt.body+` end`))
		ud := typ.New(&fakeMessage{"a@example.org", 10})
		if o, ok := typ.Of(ud); !ok || o.(*fakeMessage).size != 10 {
			t.Fatal("Of does not give the object back")
		}
		v, err := in.Call(onFunc(t, in, "test"), nil, ud)
		if text, isError := strings.CutPrefix(tt.want, "! "); isError {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got %v, want error %s", tt.body, err, text)
			}
		} else if err != nil || v.String() != tt.want {
			t.Errorf("%s: got %v, %v, want %s", tt.body, v, err, tt.want)
		}
	}
}

// An object that outlives its call, by whatever way, gives an error.
func TestObjectsEndWithTheCall(t *testing.T) {
	in := start(t, link(t, `function on.test(m) return m.size end`))
	ud := messageType().New(&fakeMessage{"a", 1})
	fn := onFunc(t, in, "test")
	if v, err := in.Call(fn, nil, ud); err != nil || v.String() != "1" {
		t.Fatal(v, err)
	}
	Point(ud, nil)
	if _, err := in.Call(fn, nil, ud); err == nil || !strings.Contains(err.Error(), "belongs to an earlier call") {
		t.Errorf("got %v", err)
	}
}

// Many goroutines share one image, its library and its types.
func TestPoolConcurrently(t *testing.T) {
	typ := messageType()
	p := newPool(link(t, `
local t = {a = 1}
function on.test(m)
  local s = ""
  for k, v in pairs(string) do s = s .. k end
  return string.format("%s %d", m.sender, m.size) .. t.a .. #s
end`), 4, nil, Options{Setup: bind})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				in, err := p.Get(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				v, err := in.Call(onFunc(t, in, "test"), nil, typ.New(&fakeMessage{"a", 7}))
				if err != nil || !strings.HasPrefix(v.String(), "a 71") {
					t.Errorf("got %v, %v", v, err)
				}
				p.Put(in, in.spent, time.Time{})
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.Created > 4 || s.InUse != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestSetupOutOfBudget(t *testing.T) {
	_, err := NewInstance(link(t, ``), Options{Load: Limits{Bytes: 10}, Setup: func(in *Instance) error {
		in.NewTable(in.State(), 1000, 0)
		return nil
	}})
	if !errors.Is(err, ErrMemory) {
		t.Errorf("got %v", err)
	}
}

func TestSetupError(t *testing.T) {
	want := errors.New("no service")
	_, err := NewInstance(link(t, ``), Options{Setup: func(*Instance) error { return want }})
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

// A call must not see what an earlier one left: nothing it can write to outlives it.
func TestNothingIsLeft(t *testing.T) {
	in := start(t, link(t, `
local t = {1}
function on.test()
  local before = tostring(rawget(t, "x")) .. #t
  pcall(rawset, t, "x", 1)
  pcall(table.insert, t, 2)
  pcall(setmetatable, t, {__index = function() return "left" end})
  pcall(setmetatable, string, {})
  return before .. tostring(t.x)
end`))
	for range 2 {
		if v, err := in.Call(onFunc(t, in, "test"), nil); err != nil || v.String() != "nil1nil" {
			t.Errorf("got %v, %v", v, err)
		}
	}
}
