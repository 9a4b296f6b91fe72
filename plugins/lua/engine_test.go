package lua

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	glua "github.com/yuin/gopher-lua"
)

// testGlobals is what the tests bind, as a host would.
var testGlobals = map[string]bool{"on": true, "host": true}

func compile(src string) (*Program, error) {
	c, err := Parse(Source{Name: "x.lua", Text: []byte(src)})
	if err != nil {
		return nil, err
	}
	return Compile(c, testGlobals)
}

func link(t testing.TB, src string) *Image {
	t.Helper()
	p, err := compile(src)
	if err != nil {
		t.Fatal(err)
	}
	im, err := Link(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// bind gives an instance the tables on and host.
func bind(in *Instance) error {
	in.SetGlobal("on", in.State().NewTable())
	host := in.State().NewTable()
	host.RawSetString("panic", Function(func(*glua.LState) int { panic("host function broke") }))
	in.Freeze(host)
	in.SetGlobal("host", host)
	return nil
}

func start(t testing.TB, im *Image) *Instance {
	t.Helper()
	in, err := NewInstance(im, Options{Setup: bind})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

func onFunc(t testing.TB, in *Instance, name string) *glua.LFunction {
	t.Helper()
	on := in.State().G.Global.RawGetString("on").(*glua.LTable)
	fn, ok := on.RawGetString(name).(*glua.LFunction)
	if !ok {
		t.Fatalf("the plugin has no on.%s", name)
	}
	return fn
}

// show is a Lua function that writes all its arguments.
const show = `local function show(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
  return table.concat(out, " ")
end
`

// eval runs a function body in a fresh instance. Its results come back as one line.
func eval(t testing.TB, body string, limits *Limits) (string, error) {
	t.Helper()
	p, err := compile(show + "local function body() " + body + "\nend\nfunction on.test() return show(body()) end")
	if err != nil {
		return "", err
	}
	im, err := Link(p, nil)
	if err != nil {
		return "", err
	}
	in := start(t, im)
	v, err := in.Call(onFunc(t, in, "test"), limits)
	if err != nil {
		return "", err
	}
	return v.String(), nil
}

type expectation struct{ body, want string }

// check evaluates bodies; a want of "! text" is an error that contains text.
func check(t *testing.T, tests []expectation) {
	t.Helper()
	for _, tt := range tests {
		got, err := eval(t, tt.body, nil)
		if text, isError := strings.CutPrefix(tt.want, "! "); isError {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s\n got %q, %v\nwant error %q", tt.body, got, err, text)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s\n got %q, %v\nwant %q", tt.body, got, err, tt.want)
		}
	}
}

func TestLanguage(t *testing.T) {
	check(t, []expectation{
		{`return 1 .. 2, "a" .. "b" .. 3 .. "c", 1 .. ""`, `12 ab3c 1`},
		{`return "a" .. nil`, `! x.lua:6: attempt to concatenate a nil value`},
		{`local t = setmetatable({}, {__concat = function(a, b) return "[" .. tostring(a == 1 or b == 1) .. "]" end}) return 1 .. t, t .. 1 .. "x", "p" .. t .. 1`,
			`[true] [false] p[true]`},
		{`local s = "" for i = 1, 120 do s = s .. i end return #s`, `252`},
		{`local a, b = 1, 2 a, b = b, a return a, b`, `2 1`},
		{`local t = {1, 2} t[1], t[2] = t[2], t[1] return t[1], t[2]`, `2 1`},
		{`local i, t = 1, {} i, t[i] = i + 1, 20 return i, t[1], t[2]`, `2 20 nil`},
		{`local function f() return 1, 2, 3 end local t = {} t.a, t.b = f() return t.a, t.b`, `1 2`},
		{`local function f() return 1, 2, 3 end local t = {} t.a = f() local x, y = 0, 0 x, y = f() return t.a, x, y, #{f()}, #{f(), f()}`, `1 1 2 3 4`},
		{`local function f() return 1, 2 end local k = "y" local a, b, c = {5, x = f()}, {f(), [k] = 1}, {f(), [k] = f()} return #a, a.x, #b, b.y, #c, c.y`, `1 1 1 1 1 1`},
		{`local function f() end local t = {a = 1} t.a = f() return t.a`, `nil`},
		{`local function g(x) return "g" .. x end
		  local function f(x) x = (g(x)) return x end
		  local function h(x, y) y, x = g(y), 1 return x, y end
		  local function k(x) x = x .. "!" return x end return f(1), k(2), h(1, 2)`, `g1 2! 1 g2`},
		{`return 010, 1e3, 0x10, 3., .5, 2^53`, `10 1000 16 3 0.5 9.007199254741e+15`},
		{`local t = {1, 2, [2 + 1] = 3, x = 4, ["a b"] = 5, [1.5] = 6, [true] = 7} return #t, t[3], t.x, t["a b"], t[1.5], t[true]`, `3 3 4 5 6 7`},
		{`return {[nil] = 1}`, `! table index is nil`},
		{`local t = {} t[0/0] = 1`, `! table index is NaN`},
		{`local n n.x = 1`, `! attempt to set field "x" of a nil value`},
		{`local n return n.x`, `! attempt to index a non-table object(nil)`},
		{`local C = {} C.__index = C function C.new(v) return setmetatable({v = v}, C) end
		  function C:get(...) return self.v, ... end return C.new(5):get(6, 7)`, `5 6 7`},
		{`local log = {} local t = setmetatable({}, {__newindex = function(t, k, v) rawset(t, k, v * 2) end}) t.a = 2 t.a = 3 return t.a`, `3`},
		{`local base = {} local t = setmetatable({}, {__newindex = base, __index = base}) t.a = 2 return rawget(t, "a"), base.a, t.a`, `nil 2 2`},
		{`local function fact(n) if n < 2 then return 1 end return n * fact(n - 1) end return fact(10)`, `3628800`},
		{`local fns = {} for i = 1, 3 do fns[i] = function() i = i + 1 return i end end return fns[1](), fns[1](), fns[2]()`, `2 3 3`},
		{`local function f(...) return select("#", ...), ... end return f(nil, nil)`, `2 nil nil`},
		{`local n = 0 repeat local done = n == 3 n = n + 1 until done return n`, `4`},
		{`local t = {10, 20, 30} local s = 0 for i, v in ipairs(t) do s = s + i * v end for k, v in pairs({a = 1, b = 2}) do s = s + v end return s`, `143`},
		{`local t = {} for i = 10, 1, -1 do t[i] = i end return #t`, `10`},
		{`local t = {} t[5] = nil return next(t)`, `nil`},
		{`return assert(1, 2), pcall(assert, false, "why"), pcall(assert, nil)`, `1 false false x.lua:6: assertion failed!`},
		{`return select(-1, "a", "b"), select(2, "a", "b", "c")`, `b b c`},
		{`return select(0)`, `! index out of range`},
		{`return tonumber("10"), tonumber(" 0x1F "), tonumber("1e2"), tonumber("z", 36), tonumber("11", 2), tonumber("8", 8), tonumber("1_0"), tonumber("inf"), tonumber(""), tonumber("-5"), tonumber("0b1")`,
			`10 31 100 35 3 nil nil nil nil -5 nil`},
		{`return tostring(1e15), tostring(0.1), tostring(1/3), tostring(-0), 1/0, -1/0, tostring(nil), tostring({}), tostring(print_)`,
			`! unknown global "print_"`},
		{`return 1e15, 0.1, 1/3, 1/0, -1/0, 123456789012345, 2^31, {}, tostring`, `1e+15 0.1 0.33333333333333 inf -inf 1.2345678901234e+14 2147483648 table function`},
		{`return tostring(setmetatable({}, {__tostring = function() return "me" end}))`, `me`},
		{`return tostring(setmetatable({}, {__tostring = function() return {} end}))`, `! __tostring must return a string`},
		{`return getmetatable(""), pcall(setmetatable, "", {})`, `false false x.lua:6: bad argument #1 to ? (table expected, got string)`},
		{`return pcall(setmetatable, setmetatable({}, {__metatable = 1}), {})`, `false x.lua:6: cannot change a protected metatable`},
		{`return unpack({1, 2, 3}, 2), unpack({1, 2}, 1, 3)`, `2 1 2 nil`},
		{`return unpack({}, 1, 1e9)`, `! too many results to unpack`},
		{`return type(nil), type(1), type("x"), type({}), type(type), type(coroutine.create(function() end)), pcall(type)`, `nil number string table function thread false x.lua:6: bad argument #1 to ? (value expected)`},
		{`return rawequal("a", "a"), rawequal({}, {}), rawget({a = 1}, "a"), rawset({}, "b", 2).b`, `true false 1 2`},
		{`return next({}), next({5})`, `nil 1 5`},
		{`error({code = 5})`, `! error object (a table value)`},
		{`error({message = "from a table"})`, `! from a table`},
		{`error("plain", 0)`, `! x.lua:6: plain`},
		{`local function f() error("at my caller", 2) end
		  f()`, `! x.lua:7: at my caller`},
	})
}

// Go functions called by pcall have no Lua caller; gopher-lua gives no place then.
func TestProtect(t *testing.T) {
	check(t, []expectation{
		{`return pcall(error, "x", 0)`, `false x`},
		{`return pcall(function() error("boom") end)`, `false x.lua:6: boom`},
		{`return pcall(function(...) return ... end, 1, nil, 3)`, `true 1 nil 3`},
		{`return pcall(function() end)`, `true`},
		{`return pcall(nil)`, `false x.lua:6: attempt to call a non-function object`},
		{`return pcall(pcall, error, "x")`, `true false x`},
		{`local e = {} local ok, got = pcall(error, e) return ok, got == e`, `false true`},
		{`return xpcall(function() error("x", 0) end, function(m) return m .. "!" end)`, `false x!`},
		{`return xpcall(function() return 1, 2 end, error)`, `true 1 2`},
		{`return xpcall(function() error("x") end, function(m) error("again") end)`, `false error in error handling`},
		// gopher-lua's own pcall cuts n off from inc here.
		{`local n = 0 local function inc() n = n + 1 end pcall(error, "x") inc() return n`, `1`},
		{`local keep pcall(function() local v = 5 keep = function() v = v + 1 return v end error("x") end)
		  local a, b, c = 1, 2, 3 return keep(), keep()`, `6 7`},
		{`local function deep(n) if n == 0 then return "bottom" end return select(2, pcall(deep, n - 1)) end return deep(20)`, `bottom`},
		{`local function deep(n) return pcall(deep, n + 1) end return select("#", deep(1)) > 2`, `true`},
		{`local function f() return f() + 1 end local ok, e = pcall(f) return ok, e`, `false stack overflow: too many nested calls`},
		{`local function f(n) if n > 0 then return f(n - 1) end return "tail" end return f(100000)`, `tail`},
	})
}

func TestCoroutines(t *testing.T) {
	check(t, []expectation{
		{`local co = coroutine.create(function(a, b) local c = coroutine.yield(a + b) local d, e = coroutine.yield(c * 2) return d, e end)
		  local r = {} for _, v in ipairs({{1, 2}, {10}, {"x", "y"}}) do r[#r + 1] = show(coroutine.resume(co, unpack(v))) end
		  return r[1], r[2], r[3], coroutine.status(co), coroutine.resume(co)`,
			`true 3 true 20 true x y dead false cannot resume dead coroutine`},
		{`local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) local s = 0 for v in gen do s = s + v end return s`, `6`},
		{`local gen = coroutine.wrap(function() error("inside") end) return pcall(gen)`, `false x.lua:6: inside`},
		{`return coroutine.resume(coroutine.create(function() error({}) end))`, `false table`},
		{`return coroutine.running(), coroutine.wrap(function() return type(coroutine.running()) end)()`, `nil thread`},
		{`local co co = coroutine.create(function() return coroutine.status(co), coroutine.resume(co) end) return coroutine.resume(co)`,
			`true running false cannot resume running coroutine`},
		{`local outer outer = coroutine.create(function() return coroutine.wrap(function() return coroutine.status(outer) end)() end) return coroutine.resume(outer)`, `true normal`},
		{`coroutine.yield(1)`, `! attempt to yield outside a coroutine`},
		{`return coroutine.resume(coroutine.create(function() return pcall(coroutine.yield, 1) end))`, `true false x.lua:6: ` + errYieldAcross.Error()},
		{`return coroutine.resume(coroutine.create(function() for _ in function() return coroutine.yield(1) end do end end))`, `false ` + errYieldAcross.Error()},
		{`return coroutine.resume(coroutine.create(function() return ("x"):gsub("x", function() coroutine.yield(1) end) end))`, `false ` + errYieldAcross.Error()},
		{`local t = setmetatable({}, {__index = function() return coroutine.yield(1) end}) local co = coroutine.create(function() local v = t.x return v end)
		  return show(coroutine.resume(co)), coroutine.status(co), 1 + 1`, `false ` + errYieldAcross.Error() + ` dead 2`},
		{`local t = setmetatable({}, {__eq = function() return coroutine.yield(1) end}) local co = coroutine.wrap(function() return t == setmetatable({}, getmetatable(t)) end)
		  return pcall(co)`, `false ` + errYieldAcross.Error()},
		{`return coroutine.create(print)`, `! print is not available to plugins`},
		{`return coroutine.wrap(type)`, `! Lua function expected`},
		{`local n = 0 for i = 1, 1000 do n = n + coroutine.wrap(function() return 1 end)() end return n`, `1000`},
		{`local keep = {} for i = 1, 100 do keep[i] = coroutine.create(function() end) end`, `! more than 64 coroutines at once`},
		{`local function nest(n) return coroutine.wrap(function() return nest(n + 1) end)() end return nest(1)`, `! coroutines are nested more than 16 deep`},
	})
}

func TestCoroutinesDieWithTheCall(t *testing.T) {
	in := start(t, link(t, `
local gen = coroutine.wrap(function() coroutine.yield(1) end)
local first = gen()
function on.test() return gen() end`))
	_, err := in.Call(onFunc(t, in, "test"), nil)
	if err == nil || !strings.Contains(err.Error(), "cannot resume dead coroutine") {
		t.Fatalf("got %v", err)
	}
}

func TestBudgets(t *testing.T) {
	clock := time.Unix(0, 0)
	tick := func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	im := link(t, `
function on.loop() while true do end end
function on.memory() local s = "x" while true do s = s .. s end end
function on.count(n) local c = 0 for i = 1, 100 do c = c + 1 end return c end`)
	for _, tt := range []struct {
		stage  string
		limits Limits
		want   string
		kind   error
	}{
		{"loop", Limits{Instructions: 5000}, "x.lua:2: ran out of instructions (5,000)", ErrInstructions},
		{"loop", Limits{Instructions: 1 << 40, Time: 50 * time.Millisecond}, "x.lua:2: ran out of time (50ms)", ErrTime},
		{"memory", Limits{Bytes: 1 << 20}, "x.lua:3: ran out of memory (1 MiB)", ErrMemory},
		{"memory", Limits{Bytes: 1000}, "x.lua:3: ran out of memory (1,000 bytes)", ErrMemory},
	} {
		in, err := NewInstance(im, Options{Setup: bind, Now: tick})
		if err != nil {
			t.Fatal(err)
		}
		_, err = in.Call(onFunc(t, in, tt.stage), &tt.limits)
		if err == nil || err.Error() != tt.want || !errors.Is(err, tt.kind) {
			t.Errorf("%s: got %v, want %s", tt.stage, err, tt.want)
		}
		if _, err := in.Call(onFunc(t, in, "count"), nil); err == nil || !in.Spent() {
			t.Errorf("%s: the instance went on after an error", tt.stage)
		}
		in.Close()
	}
}

// The VM stops at an exact instruction: count runs with n and fails with n-1.
func TestInstructionsAreExact(t *testing.T) {
	im := link(t, `function on.count() local c = 0 for i = 1, 100 do c = c + 1 end return c end`)
	run := func(n int64) error {
		in := start(t, im)
		_, err := in.Call(onFunc(t, in, "count"), &Limits{Instructions: n})
		return err
	}
	n := int64(1)
	for run(n) != nil {
		if n++; n > 1000 {
			t.Fatal("count takes more than 1,000 instructions")
		}
	}
	if n < 200 || n > 230 {
		t.Errorf("count takes %d instructions; a loop of 100 turns has 2 a turn", n)
	}
}

func TestExtend(t *testing.T) {
	in := start(t, link(t, `function on.loop() local n = 0 for i = 1, 10000 do n = n + 1 end return n end`))
	in.budget.reset(&Limits{Instructions: 1000})
	in.budget.Extend(100_000, 0)
	if _, err := in.enter(onFunc(t, in, "loop"), nil); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsCarryATraceback(t *testing.T) {
	in := start(t, link(t, `
local function inner(x) return x.field.other end
local function outer(x) local y = inner(x) return y end
function on.test() local v = outer({}) return v end`))
	_, err := in.Call(onFunc(t, in, "test"), nil)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	want := "x.lua:2: in function 'inner'\nx.lua:3: in function 'outer'\nx.lua:4: in main chunk"
	if e.File != "x.lua" || e.Line != 2 || e.Traceback != want || e.Cause != nil {
		t.Errorf("got %s:%d, cause %v, traceback\n%s", e.File, e.Line, e.Cause, e.Traceback)
	}
}

func TestHostPanic(t *testing.T) {
	for _, body := range []string{
		`host.panic()`,
		`pcall(host.panic) return "went on"`,
		`coroutine.resume(coroutine.create(function() host.panic() end)) return "went on"`,
		`xpcall(host.panic, function() return 1 end) return "went on"`,
		`for _ in function() pcall(host.panic) end do end return "went on"`,
	} {
		got, err := eval(t, body, nil)
		if !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "host function broke") {
			t.Errorf("%s: got %q, %v", body, got, err)
		}
	}
}

func TestMathRandom(t *testing.T) {
	in, err := NewInstance(link(t, `function on.test() return math.random() .. " " .. math.random(10) .. " " .. math.random(5, 6) end`),
		Options{Setup: bind, Random: func() float64 { return 0.75 }})
	if err != nil {
		t.Fatal(err)
	}
	v, err := in.Call(onFunc(t, in, "test"), nil)
	if err != nil || v.String() != "0.75 8 6" {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestModules(t *testing.T) {
	modules := map[string]string{
		"lib/a": `local b = require "lib/b" local M = {n = b.n + 1} function M.f() return b.n end return M`,
		"lib/b": `loads = (loads or 0) + 1 return {n = loads}`,
		"x":     `require "y"`, "y": `require "x"`,
		"bad":    `return oops`,
		"header": `plugin {id = "h"} return 1`,
		"hook":   `function on.rcpt() end`,
	}
	load := func(name string) (*Program, error) {
		src, ok := modules[name]
		if !ok {
			return nil, errors.New("no such file")
		}
		c, err := Parse(Source{Name: name + ".lua", Text: []byte(src)})
		if err != nil {
			return nil, err
		}
		return Compile(c, testGlobals)
	}
	build := func(src string) (*Image, error) {
		p, err := compile(src)
		if err != nil {
			return nil, err
		}
		return Link(p, load)
	}
	im, err := build(`local a, b = require "lib/a", require "lib/b" function on.test() return a.n .. b.n .. a.f() end`)
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, im)
	if v, err := in.Call(onFunc(t, in, "test"), nil); err != nil || v.String() != "211" {
		t.Errorf("got %v, %v", v, err)
	}
	for src, want := range map[string]string{
		`require "x"`:      `y.lua:1: require "x": the modules require each other: x, y, x`,
		`require "none"`:   `x.lua:1: require "none": no such file`,
		`require "bad"`:    `bad.lua:1: unknown global "oops"`,
		`require "header"`: `x.lua:1: require "header": header.lua has a plugin header; only the plugin's own file may`,
		`require "hook"`:   `hook.lua:1: on.rcpt must be set in the plugin's own file, not in a module`,
	} {
		if _, err := build(src); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", src, err, want)
		}
	}
	for i := range 20 {
		modules[fmt.Sprint("d", i)] = fmt.Sprintf(`require "d%d"`, i+1)
	}
	if _, err := build(`require "d0"`); err == nil || !strings.Contains(err.Error(), "nested more than 16 deep") {
		t.Errorf("deep modules: %v", err)
	}
}
