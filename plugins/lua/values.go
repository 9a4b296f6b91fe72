package lua

import (
	"fmt"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/plugins/service"
)

// maxValueDepth bounds values that cross between Lua and the host.
const maxValueDepth = 32

// toLua converts a value in the types of facts.
func (b *binding) toLua(L *glua.LState, v any) (glua.LValue, error) {
	switch v := v.(type) {
	case nil:
		return glua.LNil, nil
	case bool:
		return glua.LBool(v), nil
	case int64:
		return glua.LNumber(v), nil
	case float64:
		return glua.LNumber(v), nil
	case string:
		return b.in.String(L, v), nil
	case []byte:
		return b.in.String(L, string(v)), nil
	case []any:
		t := b.in.NewTable(L, len(v), 0)
		for i, e := range v {
			lv, err := b.toLua(L, e)
			if err != nil {
				return nil, err
			}
			t.RawSetInt(i+1, lv)
		}
		return t, nil
	case map[string]any:
		t := b.in.NewTable(L, 0, len(v))
		for k, e := range v {
			lv, err := b.toLua(L, e)
			if err != nil {
				return nil, err
			}
			t.RawSetString(k, lv)
		}
		return t, nil
	case *service.Captures:
		t := b.in.NewTable(L, len(v.Groups), len(v.Groups))
		for i, g := range v.Groups {
			lv, err := b.toLua(L, g)
			if err != nil {
				return nil, err
			}
			t.RawSetInt(i, lv)
			if v.Names[i] != "" {
				t.RawSetString(v.Names[i], lv)
			}
		}
		return t, nil
	case service.Thing:
		return b.wrap(b.plugin.types.given[v.Object()], v), nil
	}
	return nil, fmt.Errorf("a %T cannot be given to a plugin", v)
}

// fromLua converts a value of the plugin into the types of facts: a table with items 1 to n is a list, with string keys a
// map, with none of them an empty map.
func (b *binding) fromLua(L *glua.LState, v glua.LValue) (any, error) { return b.value(L, v, 0, nil) }

// argument is fromLua for what package api reads, which takes addresses of the message, too.
func (b *binding) argument(L *glua.LState, v glua.LValue) (any, error) {
	return b.value(L, v, 0, b.plugin.types.addresses)
}

func (b *binding) value(L *glua.LState, v glua.LValue, depth int, also []*Type) (any, error) {
	if depth > maxValueDepth {
		return nil, fmt.Errorf("the value is nested more than %d deep, or holds itself", maxValueDepth)
	}
	switch v := v.(type) {
	case *glua.LNilType:
		return nil, nil
	case glua.LBool:
		return bool(v), nil
	case glua.LNumber:
		if f := float64(v); f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
			return int64(f), nil
		}
		return float64(v), nil
	case glua.LString:
		return string(v), nil
	case *glua.LTable:
		return b.table(L, v, depth, also)
	case *glua.LUserData:
		for _, t := range also {
			if o, ok := t.Of(v); ok {
				return o, nil
			}
		}
	}
	return nil, fmt.Errorf("a %s cannot be kept: a value is nil, a boolean, a number, a string, or a table of these", v.Type())
}

func (b *binding) table(L *glua.LState, t *glua.LTable, depth int, also []*Type) (any, error) {
	n := t.Len()
	b.in.budget.Alloc(L, tableBytes+n*itemBytes)
	if n > 0 {
		list := make([]any, n)
		for i := range list {
			b.in.budget.Step(L, 1)
			e, err := b.value(L, t.RawGetInt(i+1), depth+1, also)
			if err != nil {
				return nil, err
			}
			list[i] = e
		}
		return list, nil
	}
	m := map[string]any{}
	var failed error
	t.ForEach(func(k, v glua.LValue) {
		b.in.budget.Step(L, 1)
		b.in.budget.Alloc(L, fieldBytes)
		name, ok := k.(glua.LString)
		if failed != nil {
			return
		}
		if !ok {
			failed = fmt.Errorf("the table has the key %v: keys are strings, or 1, 2, 3 and so on", k)
			return
		}
		e, err := b.value(L, v, depth+1, also)
		if err != nil {
			failed = fmt.Errorf("%s: %w", string(name), err)
			return
		}
		m[string(name)] = e
	})
	return m, failed
}

// service makes the global of a service: a table of its functions, or, where they bear one name, the function.
func (t *types) service(s service.Service) glua.LValue {
	if len(s.Funcs) == 1 && s.Funcs[0].Name == s.Name {
		return t.serviceFunc(&s.Funcs[0])
	}
	table := &glua.LTable{Metatable: glua.LNil}
	for i := range s.Funcs {
		f := &s.Funcs[i]
		table.RawSetString(strings.TrimPrefix(f.Name, s.Name+"."), t.serviceFunc(f))
	}
	return table
}

// give makes the types of the objects that a service gives.
func (t *types) give(s service.Service) {
	for _, o := range s.Objects {
		methods := map[string]Method{}
		for i := range o.Methods {
			f := &o.Methods[i]
			also := t.taken(f)
			methods[strings.TrimPrefix(f.Name, s.Name+".")] = func(L *glua.LState, o any) int {
				return bindingOf(L).do(L, f, append(make([]any, 0, 4), o), 2, also)
			}
		}
		t.given[o.Name] = NewType(o.Name, nil, methods, nil)
	}
}

// taken are the types of the objects that a function takes.
func (t *types) taken(f *service.Func) (taken []*Type) {
	for _, name := range f.Takes() {
		if typ := t.given[name]; typ != nil {
			taken = append(taken, typ)
		} else {
			taken = append(taken, t.objects[name])
		}
	}
	return taken
}

func (t *types) serviceFunc(f *service.Func) *glua.LFunction {
	also := t.taken(f)
	return Function(func(L *glua.LState) int {
		if L.GetTop() > 0 && len(also) == 0 && L.Get(1).Type() == glua.LTUserData {
			L.RaiseError("%s: call it with a dot, as %s", f.Name, f.Usage())
		}
		var buf [4]any
		return bindingOf(L).do(L, f, buf[:0], 1, also)
	})
}

// do calls a function of a service with the values from a register on.
func (b *binding) do(L *glua.LState, f *service.Func, args []any, from int, also []*Type) int {
	for i := from; i <= L.GetTop(); i++ {
		v, err := b.value(L, L.Get(i), 0, also)
		if err != nil {
			L.RaiseError("%s: %s", f.Name, err)
		}
		args = append(args, v)
	}
	v, err := f.Do(b.services, args)
	must(L, err)
	if f.Result == "" {
		return 0
	}
	results, several := v.(service.Several)
	if !several {
		results = service.Several{v}
	}
	for _, v := range results {
		lv, err := b.toLua(L, v)
		must(L, err)
		L.Push(lv)
	}
	return len(results)
}
