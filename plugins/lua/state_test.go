package lua

import (
	"strings"
	"testing"
)

// TestState: nothing that a handler writes is there in the next call. What would be is refused when the file is compiled, or
// after its main chunk ran, or in the call that writes; want is the error, and "" where the plugin may do so.
func TestState(t *testing.T) {
	const counter = "local function counter()\n  local n = 0\n  return function() n = n + 1 return n end\nend\n"
	const kept = "x.lua:3: n would be kept between calls"
	for _, tt := range []struct{ name, src, want string }{
		{"closure in a local", counter + "local c = counter() function on.test() return c() end", kept},
		{"closure in a table", counter + "local t = {deep = {}} t.deep[1] = counter() function on.test() return t.deep[1]() end", kept},
		{"closure as a key", counter + "local t = {} t[counter()] = 1 function on.test() return next(t)() end", kept},
		{"closure in a metatable", counter + "local t = setmetatable({}, {__call = counter()}) function on.test() return t() end", kept},
		{"closure behind a closure", counter + "local function hide(f) return function() return f() end end local c = hide(counter()) function on.test() return c() end", kept},
		{"closure as handler", counter + "on.test = counter()", kept},
		{"closure through pcall", counter + "local _, c = pcall(counter) function on.test() return c() end", kept},
		{"closure through a coroutine", counter + "local c = coroutine.wrap(function() coroutine.yield(counter()) end)() function on.test() return c() end", kept},
		{"closure of two levels", "local function a()\n local n = 0\n return function() return function() n = n + 1 return n end end end\nlocal b = a() function on.test() return b()() end", kept},
		{"parameter", "local function box(v)\n\n return function(new) local old = v v = new return old end end\nlocal swap = box() function on.test() return swap(1) end", "x.lua:3: v would be kept"},
		{"method", "local function class()\n local n = 0 local c = {}\n function c:inc() n = n + 1 return n end return c end\nlocal o = class() function on.test() return o:inc() end", kept},
		{"loop variable of a function", "local function f()\n for i = 1, 1 do\n return function() i = i + 1 return i end end end\nlocal c = f() function on.test() return c() end", "x.lua:3: i would be kept"},
		{"several targets", "local function f()\n local n, m\n return function() m, n = 1, 2 return n end end\nlocal c = f() function on.test() return c() end", "would be kept between calls"},
		{"a block of the main chunk", "do\n local n = 0\n function on.test() n = n + 1 return n end end", "x.lua:3: n is a local of the main chunk"},
		{"repeat", "repeat local n = 0\n function on.test() n = n + 1 return n end until true", "x.lua:2: n is a local of the main chunk"},
		{"itself", "local function f() end\nlocal function g() f = nil end", "x.lua:2: f is a local of the main chunk"},
		{"own name", "local function f() f = nil end", "x.lua:1: f is a local of the main chunk"},
		{"one of several targets", "local a\nfunction on.test() local b b, a = 1, 2 end", "x.lua:2: a is a local of the main chunk"},
		{"main chunk function that is called while it runs", "local n\nlocal function init() n = 1 end init()", "x.lua:2: n is a local of the main chunk"},
		{"for over a main chunk local", "local i\nfunction on.test() for _ = 1, 2 do i = _ end end", "x.lua:2: i is a local of the main chunk"},
		{"table of a function", "local function f() return {n = 0} end local t = f() local function inc(t) t.n = t.n + 1 return t.n end function on.test() return inc(t) end",
			"this table cannot be changed"},
		{"table that a closure holds", "local function f() local t = {0} return function() t[1] = t[1] + 1 return t[1] end end local c = f() function on.test() return c() end",
			"this table cannot be changed"},
		{"self", "local t = {n = 0} function t:inc() self.n = self.n + 1 return self.n end function on.test() return t:inc() end", "this table cannot be changed"},
		{"upvalue of a method", "local t = {n = 0}\nfunction t.inc() t.n = 1 end", "x.lua:2: the table t belongs to the main chunk"},
		{"index function that is given the table", "local t = setmetatable({}, {__index = function(t, k) rawset(t, k, 1) return 1 end}) function on.test() return t.x end", "this table cannot be changed"},
		{"metatable", "local t = setmetatable({}, {}) function on.test() getmetatable(t).__index = {n = 1} return t.n end", "this table cannot be changed"},
		{"iterator of gmatch", "local it = string.gmatch('a b c', '%a') function on.test() return it() end", "this iterator of string.gmatch belongs to an earlier call"},
		{"coroutine", "local c = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) function on.test() return c() end", "cannot resume dead coroutine"},

		{"a counter of the call", "function on.test() local n = 0 local function inc() n = n + 1 end inc() inc() return n end", ""},
		{"a counter of a function", counter + "function on.test() local c = counter() c() return c() end", ""},
		{"a sum while the main chunk runs", "local function sum(l) local n = 0 local function add(x) n = n + x end for _, x in ipairs(l) do add(x) end return n end local s = sum{1, 1} function on.test() return s end", ""},
		{"a closure that only reads", "local function f() local n = 2 return function() return n end end local c = f() function on.test() return c() end", ""},
		{"a local of the same name", "local n = 2 function on.test() local n = n n = n + 1 return n - 1 end", ""},
		{"a parameter of the same name", "local t = {} local function f(t) t.n = 2 return t.n end function on.test() return f{} end", ""},
		{"a table of the call", "local t = {1, 1} function on.test() local c = {} for i, v in ipairs(t) do c[i] = v end table.insert(c, 3) return #c - 1 end", ""},
		{"gmatch in a call", "function on.test() local n = 0 for _ in string.gmatch('a b', '%a') do n = n + 1 end return n end", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := twice(t, tt.src)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// twice calls on.test in a fresh instance and again in the used one. Both times it must give 2.
func twice(t *testing.T, src string) error {
	p, err := compile(src)
	if err != nil {
		return err
	}
	im, err := Link(p, nil)
	if err != nil {
		return err
	}
	in, err := NewInstance(im, Options{Setup: bind})
	if err != nil {
		return err
	}
	defer in.Close()
	for range 2 {
		v, err := in.Call(onFunc(t, in, "test"), nil)
		if err != nil {
			return err
		}
		if v.String() != "2" {
			t.Errorf("it gave %v", v)
		}
	}
	return nil
}

// TestStateOfModules: a module that hands out closures is no way around.
func TestStateOfModules(t *testing.T) {
	main, err := compile(`local m = require "lib/m" function on.test() return m.inc() end`)
	if err != nil {
		t.Fatal(err)
	}
	im, err := Link(main, func(string) (*Program, error) {
		c, err := Parse(Source{Name: "lib/m.lua", Text: []byte("local function new()\n local n = 0\n return { inc = function() n = n + 1 return n end } end\nreturn new()")})
		if err != nil {
			return nil, err
		}
		return Compile(c, testGlobals)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewInstance(im, Options{Setup: bind}); err == nil || !strings.Contains(err.Error(), "lib/m.lua:3: n would be kept between calls") {
		t.Errorf("got %v", err)
	}
}
