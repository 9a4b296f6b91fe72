package lua

import (
	"github.com/yuin/gopher-lua/ast"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/lua/direct"
	"github.com/stagepost/stagepost/plugins/service"
)

// Handlers that package direct can run are asked without an instance. What they take from the main chunk is read from the instance that
// is made as a trial: all instances run the same chunk, and nothing changes after it.

// place names a function of a file by the lines where it begins and ends.
type place struct{ first, last int }

// translations are the functions of a main chunk that package direct may run, handlers and those that they may call. Two that share
// their place are not told apart, so neither is kept.
func translations(stmts []ast.Stmt, a *api.API) map[place]*direct.Code {
	out := map[place]*direct.Code{}
	keep := func(fn *ast.FunctionExpr, handles string) {
		at := place{fn.Line(), fn.LastLine()}
		if _, twice := out[at]; twice {
			out[at] = nil
			return
		}
		out[at] = direct.Translate(fn, handles, a)
	}
	for _, s := range stmts {
		switch s := s.(type) {
		case *ast.LocalAssignStmt:
			if fn, ok := oneOf(s.Exprs).(*ast.FunctionExpr); ok {
				keep(fn, "")
			}
		case *ast.FuncDefStmt:
			if stage, ok := handlerOf(s.Name); ok {
				keep(s.Func, stage.Scope().Object())
			} else if _, ok := s.Name.Func.(*ast.IdentExpr); ok {
				keep(s.Func, "")
			}
		}
	}
	return out
}

// handlerOf is the stage of `function on.STAGE`.
func handlerOf(name *ast.FuncName) (hooks.Stage, bool) {
	if a, ok := name.Func.(*ast.AttrGetExpr); ok {
		on, isName := a.Object.(*ast.IdentExpr)
		key, isText := a.Key.(*ast.StringExpr)
		if isName && isText && on.Value == "on" {
			return hooks.StageByName(key.Value)
		}
	}
	return 0, false
}

// binder gives translated functions what they took from the main chunk that an instance ran.
type binder struct {
	plugin *Plugin
	bound  map[*glua.LFunction]any // *direct.Func or Odd
}

// findDirect binds the handlers that can be run directly.
func (p *Plugin) findDirect(b *binding, a *api.API) {
	p.runner = direct.NewRunner(p.Name, a, func(charge func(steps, bytes int) error) *service.Context {
		return p.context(charge)
	})
	bind := binder{plugin: p, bound: map[*glua.LFunction]any{}}
	for stage := range p.places {
		if fn, ok := bind.function(b.handler(stage), stage.Scope().Object()).(*direct.Func); ok {
			p.direct[stage] = fn
		}
	}
}

// function binds a function, or gives Odd.
func (b *binder) function(fn *glua.LFunction, handles string) any {
	if done, ok := b.bound[fn]; ok {
		return done
	}
	b.bound[fn] = direct.Odd{} // for one that calls itself
	main := b.plugin.Image.main
	if fn.IsG || fn.Proto.SourceName != main.Name {
		return direct.Odd{}
	}
	code := main.direct[place{fn.Proto.LineDefined, fn.Proto.LastLineDefined}]
	if code == nil || code.Handles != handles {
		return direct.Odd{}
	}
	outer := map[string]any{}
	for i, name := range fn.Proto.DbgUpvalues {
		if _, twice := outer[name]; twice || i >= len(fn.Upvalues) {
			outer[name] = direct.Odd{}
			continue
		}
		outer[name] = b.constant(fn.Upvalues[i].Value(), 0)
	}
	if _, shadowed := outer["config"]; !shadowed {
		outer["config"] = b.plugin.settings(direct.Odd{})
	}
	f := b.plugin.runner.Bind(code, func(name string) (any, bool) {
		v, ok := outer[name]
		return v, ok
	})
	b.bound[fn] = f
	return f
}

// Bounds of a table that package direct is given.
const (
	maxConstantDepth = 8
	maxConstantItems = 10_000
)

// constant is a value that the main chunk left, in the types of facts.
func (b *binder) constant(v glua.LValue, depth int) any {
	switch v := v.(type) {
	case *glua.LNilType:
		return nil
	case glua.LBool:
		return bool(v)
	case glua.LNumber:
		return direct.Number(float64(v))
	case glua.LString:
		return string(v)
	case *glua.LFunction:
		if depth == 0 {
			return b.function(v, "")
		}
	case *glua.LTable:
		if v.Metatable == glua.LNil && depth < maxConstantDepth {
			return b.table(v, depth)
		}
	}
	return direct.Odd{}
}

// table is a table with items 1 to n, or one with names.
func (b *binder) table(t *glua.LTable, depth int) any {
	n, items, names := t.Len(), 0, map[string]any{}
	t.ForEach(func(k, v glua.LValue) {
		items++
		if name, ok := k.(glua.LString); ok && items <= maxConstantItems {
			names[string(name)] = b.constant(v, depth+1)
		}
	})
	switch {
	case items > maxConstantItems:
	case items == len(names):
		return names
	case items == n && len(names) == 0:
		list := make([]any, n)
		for i := range list {
			if list[i] = b.constant(t.RawGetInt(i+1), depth+1); list[i] == nil {
				return direct.Odd{}
			}
		}
		return list
	}
	return direct.Odd{}
}
