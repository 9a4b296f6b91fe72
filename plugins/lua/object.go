package lua

import (
	"fmt"

	glua "github.com/yuin/gopher-lua"
)

// A Getter reads a field of a host object for plugin code. It may raise by L.RaiseError. It charges what it allocates
// (Instance.String, Instance.NewTable).
type Getter func(L *glua.LState, object any) glua.LValue

// A Setter writes a field.
type Setter func(L *glua.LState, object any, v glua.LValue)

// A Method gets the object apart; its arguments begin at register 2. It pushes its results and returns their number.
type Method func(L *glua.LState, object any) int

// A Type describes one kind of host object: its fields are read when they are asked for, its methods are function
// values made once. It never changes and is shared by all instances.
type Type struct {
	Name    string
	members map[string]*member
	setters map[string]Setter
	meta    *glua.LTable
}

type member struct {
	get    Getter
	method *glua.LFunction
}

// NewType makes a type. setters may be nil: then no field can be set.
func NewType(name string, fields map[string]Getter, methods map[string]Method, setters map[string]Setter) *Type {
	t := &Type{Name: name, members: make(map[string]*member, len(fields)+len(methods)), setters: setters,
		meta: &glua.LTable{Metatable: glua.LNil}}
	for field, get := range fields {
		t.members[field] = &member{get: get}
	}
	for method, fn := range methods {
		t.members[method] = &member{method: Function(func(L *glua.LState) int {
			ud, ok := L.Get(1).(*glua.LUserData)
			if !ok || ud.Metatable != t.meta {
				L.RaiseError("%s is a method of %s: call it with a colon, as x:%s()", method, name, method)
			}
			return fn(L, t.value(L, ud))
		})}
	}
	t.meta.RawSetString("__index", Function(t.index))
	t.meta.RawSetString("__newindex", Function(t.newIndex))
	t.meta.RawSetString("__tostring", Function(func(L *glua.LState) int {
		L.Push(glua.LString(name))
		return 1
	}))
	t.meta.RawSetString("__metatable", glua.LFalse)
	return t
}

// Function makes a function value of a host function. If it panics, with anything but a Lua error, the call fails with
// ErrPanic and no pcall of the plugin sees it.
func Function(fn glua.LGFunction) *glua.LFunction {
	return goFunction(func(L *glua.LState) int {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(*glua.ApiError); !ok && !isOverflow(fmt.Sprint(r)) {
					in := InstanceOf(L)
					in.poison(fmt.Sprint(r))
					in.budget.raise(L)
				}
				panic(r)
			}
		}()
		return fn(L)
	})
}

// New wraps a host value. The wrapper may be used again: Point it at another value.
func (t *Type) New(object any) *glua.LUserData {
	return &glua.LUserData{Value: object, Metatable: t.meta}
}

// Point makes a wrapper stand for another value, or for none: then plugin code that kept it gets an error. A host does
// so after a call, for no object outlives its call.
func Point(ud *glua.LUserData, object any) { ud.Value = object }

// Of returns the value if v is an object of this type that is still valid.
func (t *Type) Of(v glua.LValue) (object any, ok bool) {
	ud, ok := v.(*glua.LUserData)
	if !ok || ud.Metatable != t.meta || ud.Value == nil {
		return nil, false
	}
	return ud.Value, true
}

func (t *Type) value(L *glua.LState, ud *glua.LUserData) any {
	if ud.Value == nil {
		L.RaiseError("this %s belongs to an earlier call and is gone", t.Name)
	}
	return ud.Value
}

func (t *Type) index(L *glua.LState) int {
	ud, key := t.access(L)
	m := t.members[key]
	switch {
	case m == nil:
		L.RaiseError("%s has no field %q%s", t.Name, key, hint(key, keys(t.members)))
	case m.method != nil:
		L.Push(m.method)
	default:
		L.Push(m.get(L, t.value(L, ud)))
	}
	return 1
}

func (t *Type) newIndex(L *glua.LState) int {
	ud, key := t.access(L)
	set := t.setters[key]
	if set == nil {
		if t.members[key] != nil {
			L.RaiseError("the field %q of %s cannot be set", key, t.Name)
		}
		L.RaiseError("%s has no field %q%s", t.Name, key, hint(key, keys(t.setters)))
	}
	set(L, t.value(L, ud), L.Get(3))
	return 0
}

// access reads the arguments of a metamethod; metatables are protected, so only the VM calls them.
func (t *Type) access(L *glua.LState) (*glua.LUserData, string) {
	key, ok := L.Get(2).(glua.LString)
	if !ok {
		L.RaiseError("%s is not a list: its fields have names", t.Name)
	}
	return L.Get(1).(*glua.LUserData), string(key)
}
