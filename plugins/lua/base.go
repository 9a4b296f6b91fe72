package lua

import (
	"maps"
	"slices"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// Absent on purpose: _G (globals are known at load), print (see log), collectgarbage, dofile, getfenv, load, loadfile,
// loadstring, module, newproxy, setfenv, and the libraries os, io, debug, package, channel.
var baseFuncs = map[string]glua.LGFunction{
	"assert":       baseAssert,
	"error":        baseError,
	"getmetatable": baseGetMetatable,
	"next":         baseNext,
	"rawequal":     baseRawEqual,
	"rawget":       baseRawGet,
	"rawset":       baseRawSet,
	"require":      baseRequire,
	"select":       baseSelect,
	"setmetatable": baseSetMetatable,
	"tonumber":     baseToNumber,
	"tostring":     baseToString,
	"type":         baseType,
	"unpack":       baseUnpack,
	"ipairs":       nil, // made by newLibrary: they hand out an iterator
	"pairs":        nil,
	"pcall":        basePcall,
	"xpcall":       baseXpcall,
}

var libraries = map[string]map[string]any{
	"string": anyMap(stringFuncs), "table": anyMap(tableFuncs),
	"math": mathFields(), "coroutine": anyMap(coroutineFuncs),
}

func anyMap(m map[string]glua.LGFunction) map[string]any {
	out := make(map[string]any, len(m))
	for name, fn := range m {
		out[name] = fn
	}
	return out
}

// BaseGlobals returns the names that every plugin may use without the host binding them, sorted.
func BaseGlobals() []string {
	return slices.Sorted(maps.Keys(globalNames()))
}

func globalNames() map[string]bool {
	names := map[string]bool{"_VERSION": true}
	for name := range baseFuncs {
		names[name] = true
	}
	for name := range libraries {
		names[name] = true
	}
	return names
}

// A library holds the global functions and tables of one image. Nothing in it ever changes, so all instances share it.
type library struct {
	globals map[string]glua.LValue
	tables  []*glua.LTable
	strings *glua.LTable // the metatable of strings

	builtins []glua.LValue // in the order of builtinNames
}

// goFunction makes a function value that belongs to no state.
func goFunction(fn glua.LGFunction) *glua.LFunction { return &glua.LFunction{IsG: true, GFunction: fn} }

func newLibrary() *library {
	lib := &library{globals: map[string]glua.LValue{"_VERSION": glua.LString(glua.LuaVersion)}}
	for name, fn := range baseFuncs {
		if fn != nil {
			lib.globals[name] = goFunction(fn)
		}
	}
	next, ipairsNext := lib.globals["next"], goFunction(ipairsStep)
	lib.globals["pairs"] = goFunction(func(L *glua.LState) int {
		t := argTable(L, 1)
		L.Push(next)
		L.Push(t)
		L.Push(glua.LNil)
		return 3
	})
	lib.globals["ipairs"] = goFunction(func(L *glua.LState) int {
		t := argTable(L, 1)
		L.Push(ipairsNext)
		L.Push(t)
		L.Push(glua.LNumber(0))
		return 3
	})
	for name, fields := range libraries {
		t := &glua.LTable{Metatable: glua.LNil}
		for field, v := range fields {
			if fn, ok := v.(glua.LGFunction); ok {
				t.RawSetString(field, goFunction(fn))
			} else {
				t.RawSetString(field, v.(glua.LValue))
			}
		}
		lib.globals[name] = t
		lib.tables = append(lib.tables, t)
	}
	lib.strings = &glua.LTable{Metatable: glua.LNil}
	lib.strings.RawSetString("__index", lib.globals["string"])
	lib.strings.RawSetString("__metatable", glua.LFalse)
	lib.tables = append(lib.tables, lib.strings)
	lib.builtins = []glua.LValue{goFunction(concat), goFunction(set), goFunction(newTable),
		goFunction(appendItems), goFunction(newFunc)}
	return lib
}

func baseAssert(L *glua.LState) int {
	if glua.LVAsBool(argAny(L, 1)) {
		return L.GetTop()
	}
	if msg := L.Get(2); msg != glua.LNil {
		raise(L, msg)
	}
	L.RaiseError("assertion failed!")
	return 0
}

// raise throws a value as it stands, without adding a position.
func raise(L *glua.LState, v glua.LValue) { L.Error(v, 0) }

func baseError(L *glua.LState) int {
	v, level := L.Get(1), optInt(L, 2, 1)
	if s, ok := v.(glua.LString); ok && level > 0 && level < 100 {
		if where := L.Where(level); where != "" && !strings.HasPrefix(where, "[G]") {
			v = glua.LString(where + " " + string(s))
		}
	}
	raise(L, v)
	return 0
}

func baseGetMetatable(L *glua.LState) int {
	L.Push(L.GetMetatable(argAny(L, 1)))
	return 1
}

// baseSetMetatable takes tables only; gopher-lua would let it change the metatable of all strings or numbers.
func baseSetMetatable(L *glua.LState) int {
	t := argTable(L, 1)
	meta := L.Get(2)
	if _, ok := meta.(*glua.LTable); !ok && (meta != glua.LNil || L.GetTop() < 2) {
		argError(L, 2, "nil or table expected")
	}
	if _, frozen := InstanceOf(L).frozen[t]; frozen {
		L.RaiseError("the metatable of this table cannot be changed: it belongs to the host or to the main chunk")
	}
	if old, ok := t.Metatable.(*glua.LTable); ok && old.RawGetString("__metatable") != glua.LNil {
		L.RaiseError("cannot change a protected metatable")
	}
	t.Metatable = meta
	L.SetTop(1)
	return 1
}

func baseNext(L *glua.LState) int {
	t := argTable(L, 1)
	BudgetOf(L).hurry(16) // it may walk over many removed keys
	key, value := t.Next(L.Get(2))
	if key == glua.LNil {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(key)
	L.Push(value)
	return 2
}

func ipairsStep(L *glua.LState) int {
	i := argInt(L, 2) + 1
	v := argTable(L, 1).RawGetInt(i)
	if v == glua.LNil {
		L.Push(glua.LNil)
		return 1
	}
	L.Push(glua.LNumber(i))
	L.Push(v)
	return 2
}

func baseRawEqual(L *glua.LState) int {
	L.Push(glua.LBool(L.RawEqual(argAny(L, 1), argAny(L, 2))))
	return 1
}

func baseRawGet(L *glua.LState) int {
	L.Push(argTable(L, 1).RawGet(argAny(L, 2)))
	return 1
}

func baseRawSet(L *glua.LState) int {
	rawSet(L, argTable(L, 1), argAny(L, 2), argAny(L, 3))
	L.SetTop(1)
	return 1
}

func baseSelect(L *glua.LState) int {
	n := L.GetTop()
	if s, ok := L.Get(1).(glua.LString); ok && s == "#" {
		L.Push(glua.LNumber(n - 1))
		return 1
	}
	i := argInt(L, 1)
	switch {
	case i < 0:
		i = n + i
	case i > n:
		i = n
	}
	if i < 1 {
		argError(L, 1, "index out of range")
	}
	return n - i
}

func baseToNumber(L *glua.LState) int {
	base := optInt(L, 2, 10)
	if base == 10 {
		switch v := argAny(L, 1).(type) {
		case glua.LNumber:
			L.Push(v)
			return 1
		case glua.LString:
			if f, ok := parseNumber(string(v)); ok {
				L.Push(glua.LNumber(f))
				return 1
			}
		}
		L.Push(glua.LNil)
		return 1
	}
	s := argString(L, 1)
	if base < 2 || base > 36 {
		argError(L, 2, "base out of range")
	}
	var n float64
	ok := false
	if len(s) <= maxNumeral {
		s = strings.Trim(s, spaces)
		digits, negative := strings.CutPrefix(s, "-")
		if base == 16 && len(digits) > 2 && strings.EqualFold(digits[:2], "0x") {
			digits = digits[2:]
		}
		if n, ok = parseInteger(digits, base); negative {
			n = -n
		}
	}
	if ok {
		L.Push(glua.LNumber(n))
	} else {
		L.Push(glua.LNil)
	}
	return 1
}

func baseToString(L *glua.LState) int {
	L.Push(glua.LString(toString(L, argAny(L, 1))))
	return 1
}

// toString is tostring. It does not tell addresses: they would differ from run to run.
func toString(L *glua.LState, v glua.LValue) string {
	switch v := v.(type) {
	case glua.LString:
		return string(v)
	case glua.LNumber:
		return formatNumber(float64(v))
	case glua.LBool, *glua.LNilType:
		return v.String()
	}
	if fn, ok := L.GetMetaField(v, "__tostring").(*glua.LFunction); ok {
		s, ok := text(call1(L, fn, v))
		if !ok {
			L.RaiseError("__tostring must return a string")
		}
		return s
	}
	return v.Type().String()
}

func baseType(L *glua.LState) int {
	L.Push(typeNames[argAny(L, 1).Type()])
	return 1
}

// typeNames are values already, so that type allocates nothing.
var typeNames = func() (names [9]glua.LValue) {
	for i := range names {
		names[i] = glua.LString(glua.LValueType(i).String())
	}
	return names
}()

// maxResults bounds how many values unpack and string.byte return; the registers of a state are bounded too.
const maxResults = 4096

// manyValues charges n results. Instructions that hand them on, as in f(...), may move all of them, and count as one.
func manyValues(L *glua.LState, n int) {
	if b := BudgetOf(L); n > 0 {
		b.Step(L, n/16)
		b.narrow(n * registerBytes)
	}
}

// registerBytes is the size of a value in a register.
const registerBytes = 16

func baseUnpack(L *glua.LState) int {
	t := argTable(L, 1)
	i := optInt(L, 2, 1)
	n := optInt(L, 3, t.Len()) - i + 1
	if n > maxResults {
		L.RaiseError("too many results to unpack (at most %s)", count(maxResults))
	}
	manyValues(L, n)
	for k := range n {
		L.Push(t.RawGetInt(i + k))
	}
	return max(0, n)
}

func baseRequire(L *glua.LState) int {
	name := argString(L, 1)
	in := InstanceOf(L)
	if v, ok := in.modules[name]; ok {
		L.Push(v)
		return 1
	}
	p := in.image.modules[name]
	if p == nil || !in.loading {
		L.RaiseError("module %q is not part of this plugin", name)
	}
	v := in.run(L, p)
	if v == glua.LNil {
		v = glua.LTrue
	}
	in.modules[name] = v
	L.Push(v)
	return 1
}
