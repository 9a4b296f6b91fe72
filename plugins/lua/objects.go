package lua

import (
	"slices"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

// Bounds of wrappers: how many an instance keeps between calls, how many of a call are looked through one by one, and what one
// is charged for.
const (
	maxWraps  = 32
	fewWraps  = 16
	wrapBytes = 128
)

// types are the kinds of host objects and the global functions, made from the declarations in package hooks and package
// service. They never change and are shared by all instances of a plugin.
type types struct {
	objects map[string]*Type
	scopes  [6]*Type // those of objects that handlers get, by scope
	facts   *Type
	my      *Type
	lookup  *Type
	verdict *Type
	globals map[string]glua.LValue
	given   map[string]*Type // that services give

	addresses []*Type // what is taken for an address
}

// wrap is one userdata that stands for a host value during a call.
type wrap struct {
	typ *Type
	ud  *glua.LUserData
}

// wrapped is what a wrapper stands for.
type wrapped struct {
	typ   *Type
	value any
}

// listKey names a list: the object that it was asked of, and the field.
type listKey struct {
	owner any
	field string
}

func newTypes(a *api.API) *types {
	t := &types{objects: map[string]*Type{}, globals: map[string]glua.LValue{}, given: map[string]*Type{}}
	for _, o := range hooks.Objects() {
		fields, setters := map[string]Getter{}, map[string]Setter{}
		for _, f := range o.Fields {
			get := t.getter(f)
			if fields[f.Name] = get; f.Read > 0 {
				fields[f.Name] = func(L *glua.LState, o any) glua.LValue {
					must(L, bindingOf(L).call.Reading(f.Read))
					return get(L, o)
				}
			}
		}
		own := map[string]Method{}
		for _, m := range o.Methods {
			if m := a.Method(o.Name, m.Name); m.Edits() {
				own[m.Name] = edit(m)
			} else {
				own[m.Name] = method(bound[o.Name+"."+m.Name])
			}
		}
		t.objects[o.Name] = NewType(o.Name, fields, own, setters)
	}
	for scope := range t.scopes {
		t.scopes[scope] = t.objects[hooks.Scope(scope).Object()]
	}
	t.facts = factsType("facts", func(_ *binding, key string) string { return key })
	t.my = factsType("my", func(b *binding, key string) string { return b.plugin.Name + "." + key })
	t.verdict = NewType("verdict", nil, nil, nil)
	for _, k := range hooks.Verdicts() {
		if k.Kind != hooks.Next {
			t.globals[k.Name] = Function(verdictFunc(a.Form(k.Kind)))
		}
	}
	t.addresses = []*Type{t.objects["address"]}
	all := service.Services()
	for _, s := range all {
		t.give(s)
	}
	for _, s := range all {
		t.globals[s.Name] = t.service(s)
	}
	t.lookup = lookupType(t.globals["lookup"])
	return t
}

func bindingOf(L *glua.LState) *binding { return InstanceOf(L).host.(*binding) }

// getter makes a Lua getter of a declared field.
func (t *types) getter(f hooks.Field) Getter {
	switch {
	case f.Type == hooks.TypeFacts:
		return func(L *glua.LState, o any) glua.LValue { return bindingOf(L).wrap(t.facts, hooks.FactsOf(o)) }
	case f.Type == hooks.TypeMyFacts:
		return func(L *glua.LState, o any) glua.LValue { return bindingOf(L).wrap(t.my, hooks.FactsOf(o)) }
	case f.Str != nil:
		return func(L *glua.LState, o any) glua.LValue {
			s := f.Str(o)
			if s == "" && f.Optional {
				return glua.LNil
			}
			return InstanceOf(L).String(L, s)
		}
	case f.Int != nil:
		return func(_ *glua.LState, o any) glua.LValue { return glua.LNumber(f.Int(o)) }
	case f.Bool != nil:
		return func(_ *glua.LState, o any) glua.LValue { return glua.LBool(f.Bool(o)) }
	case f.Time != nil:
		return func(_ *glua.LState, o any) glua.LValue {
			at := f.Time(o)
			if at.IsZero() {
				return glua.LNil
			}
			return glua.LNumber(float64(at.UnixMicro()) / 1e6)
		}
	}
	return func(L *glua.LState, o any) glua.LValue {
		b := bindingOf(L)
		if list := b.lists[listKey{o, f.Name}]; list != nil {
			return list
		}
		v := f.Value(o)
		switch v := v.(type) {
		case nil:
			return glua.LNil
		case error:
			L.RaiseError("%s", v)
		case []*hooks.RcptView:
			return list(L, b, t.objects[f.Of], listKey{o, f.Name}, v)
		case []*message.Part:
			if c := o.(*hooks.MessageView).Content; c != nil {
				b.scanned(L, c.Size())
			}
			return list(L, b, t.objects[f.Of], listKey{o, f.Name}, v)
		}
		if f.Type == hooks.TypeObject {
			return b.wrap(t.objects[f.Of], v)
		}
		lv, err := b.toLua(L, v)
		if err != nil {
			L.RaiseError("%s", err)
		}
		return lv
	}
}

// object wraps the object of a scope.
func (b *binding) object(o any) *glua.LUserData {
	scope := hooks.ScopeTick
	switch o.(type) {
	case *message.Session:
		scope = hooks.ScopeSession
	case *hooks.LoginView:
		scope = hooks.ScopeLogin
	case *hooks.MessageView:
		scope = hooks.ScopeMessage
	case *hooks.RcptView:
		scope = hooks.ScopeRcpt
	case *hooks.DeliveryView:
		scope = hooks.ScopeDelivery
	}
	return b.wrap(b.plugin.types.scopes[scope], o)
}

// list returns the objects of a field: one table a call, since a loop asks for it at every step.
func list[T any](L *glua.LState, b *binding, t *Type, key listKey, objects []T) *glua.LTable {
	list := b.in.NewTable(L, len(objects), 0)
	for _, o := range objects {
		b.in.budget.Step(L, 1)
		list.Append(b.wrap(t, o))
	}
	if b.lists == nil {
		b.lists = map[listKey]*glua.LTable{}
	}
	b.lists[key] = list
	return list
}

// wrap returns the userdata that stands for v in this call: the same one each time, so that == works. Those of earlier
// calls are used again.
func (b *binding) wrap(t *Type, v any) *glua.LUserData {
	if ud := b.wrapOf(t, v); ud != nil {
		return ud
	}
	ud := b.freeWrap(t)
	Point(ud, v)
	if b.used++; b.index != nil {
		b.index[wrapped{t, v}] = ud
	}
	return ud
}

// wrapOf finds the wrapper of v, by an index when there are more than a few.
func (b *binding) wrapOf(t *Type, v any) *glua.LUserData {
	if b.used > fewWraps {
		if b.index == nil {
			b.index = make(map[wrapped]*glua.LUserData, 4*fewWraps)
			for _, w := range b.wraps[:b.used] {
				b.index[wrapped{w.typ, w.ud.Value}] = w.ud
			}
		}
		return b.index[wrapped{t, v}]
	}
	for i := range b.used {
		if w := &b.wraps[i]; w.typ == t && w.ud.Value == v {
			return w.ud
		}
	}
	return nil
}

// freeWrap puts a wrapper that stands for nothing at the place b.used. A new one is charged; where the budget cannot bear it,
// the next instruction ends the call.
func (b *binding) freeWrap(t *Type) *glua.LUserData {
	i := b.used
	for i < len(b.wraps) && b.wraps[i].typ != t {
		i++
	}
	if i == len(b.wraps) {
		b.in.budget.spend(0, wrapBytes)
		b.wraps = append(b.wraps, wrap{t, t.New(nil)})
	}
	b.wraps[b.used], b.wraps[i] = b.wraps[i], b.wraps[b.used]
	return b.wraps[b.used].ud
}

// endWraps makes every object of the call invalid and keeps a few wrappers for the next.
func (b *binding) endWraps() {
	for i := range b.used {
		Point(b.wraps[i].ud, nil)
	}
	b.used, b.index, b.lists = 0, nil, nil
	if len(b.wraps) > maxWraps {
		b.wraps = slices.Clone(b.wraps[:maxWraps]) // not the array, which would keep them all
	}
}

// factsType is the type of x.facts and x.my, whose fields are whatever plugins set.
func factsType(name string, full func(*binding, string) string) *Type {
	t := NewType(name, nil, nil, nil)
	t.meta.RawSetString("__index", Function(func(L *glua.LState) int {
		ud, key := t.access(L)
		b := bindingOf(L)
		v, err := b.toLua(L, b.call.Fact(t.value(L, ud).(*message.Facts), full(b, key)))
		if err != nil {
			L.RaiseError("%s", err)
		}
		L.Push(v)
		return 1
	}))
	t.meta.RawSetString("__newindex", Function(func(L *glua.LState) int {
		ud, key := t.access(L)
		b := bindingOf(L)
		v, err := b.fromLua(L, L.Get(3))
		if err == nil {
			err = b.call.SetFact(t.value(L, ud).(*message.Facts), full(b, key), v)
		}
		if err != nil {
			L.RaiseError("%s", err)
		}
		return 0
	}))
	return t
}

// lookupType is the type of a setting that is a lookup: its fields are asked for by the service.
func lookupType(ask glua.LValue) *Type {
	t := NewType("a setting that is a lookup", nil, nil, nil)
	t.meta.RawSetString("__index", Function(func(L *glua.LState) int {
		ud, key := t.access(L)
		L.Push(call1(L, ask, glua.LString("config."+ud.Value.(string)), glua.LString(key)))
		return 1
	}))
	t.meta.RawSetString("__newindex", Function(func(L *glua.LState) int {
		L.RaiseError("a setting cannot be changed")
		return 0
	}))
	return t
}
