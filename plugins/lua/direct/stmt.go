package direct

import (
	"github.com/yuin/gopher-lua/ast"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// Code is a function as closures. It never changes.
type Code struct {
	Handles string // name of the object that it gets as a handler; "" for any other function

	params int
	slots  int // of its parameters and locals
	body   []stmt
	free   []string // the names that it takes from outside
}

// stmt carries out a statement and says how to go on.
type stmt func(*frame) flow

type flow uint8

const (
	next flow = iota
	leave
	finish
)

func run(f *frame, body []stmt) flow {
	for _, s := range body {
		if how := s(f); how != next {
			return how
		}
		if f.odd {
			return finish
		}
	}
	return next
}

// Bounds of what is translated; a function beyond them is not worth it.
const (
	maxNodes = 2000
	maxDepth = 100
)

// translator makes the closures of one function.
type translator struct {
	api      *api.API
	strings  map[string]value
	objects  map[string]*hooks.Object
	code     *Code
	scope    []local
	assigned map[string]bool // names of locals that are assigned to somewhere
	nodes    int
	depth    int
}

func objects() map[string]*hooks.Object {
	m := map[string]*hooks.Object{}
	for _, o := range hooks.Objects() {
		m[o.Name] = &o
	}
	return m
}

type local struct {
	name   string
	slot   int
	object *hooks.Object // what it holds, where that is certain
}

// Translate makes closures of a function before the tree is changed. handles is for Code.Handles. nil means that the function cannot be
// run directly.
func Translate(fn *ast.FunctionExpr, handles string, a *api.API) *Code {
	t := &translator{api: a, strings: stringLibrary(), objects: objects(), code: &Code{Handles: handles, params: len(fn.ParList.Names)}, assigned: map[string]bool{}}
	if fn.ParList.HasVargs || handles != "" && len(fn.ParList.Names) > 1 {
		return nil
	}
	t.findAssigned(fn.Stmts)
	for _, name := range fn.ParList.Names {
		t.declare(name, t.objects[handles])
	}
	if t.code.slots == 0 {
		t.code.slots = 1 // the handler's object is there, named or not
	}
	t.code.body = t.block(fn.Stmts)
	if t.nodes > maxNodes || t.code.slots > maxSlots/2 {
		return nil
	}
	return t.code
}

// findAssigned looks for assignments to names, in this function and those in it.
func (t *translator) findAssigned(stmts []ast.Stmt) {
	if t.depth++; t.depth < maxDepth {
		for _, s := range stmts {
			switch s := s.(type) {
			case *ast.AssignStmt:
				for _, to := range s.Lhs {
					if id, ok := to.(*ast.IdentExpr); ok {
						t.assigned[id.Value] = true
					}
				}
			case *ast.DoBlockStmt:
				t.findAssigned(s.Stmts)
			case *ast.WhileStmt:
				t.findAssigned(s.Stmts)
			case *ast.IfStmt:
				t.findAssigned(s.Then)
				t.findAssigned(s.Else)
			case *ast.GenericForStmt:
				t.findAssigned(s.Stmts)
			case *ast.NumberForStmt:
				t.findAssigned(s.Stmts)
			case *ast.RepeatStmt:
				t.findAssigned(s.Stmts)
			}
		}
	}
	t.depth--
}

func (t *translator) declare(name string, object *hooks.Object) int {
	if t.assigned[name] {
		object = nil
	}
	slot := len(t.scope)
	t.scope = append(t.scope, local{name, slot, object})
	t.code.slots = max(t.code.slots, len(t.scope))
	return slot
}

func (t *translator) find(name string) *local {
	for i := len(t.scope) - 1; i >= 0; i-- {
		if t.scope[i].name == name {
			return &t.scope[i]
		}
	}
	return nil
}

// outer is the place among the free names.
func (t *translator) outer(name string) int {
	for i, n := range t.code.free {
		if n == name {
			return i
		}
	}
	t.code.free = append(t.code.free, name)
	return len(t.code.free) - 1
}

func (t *translator) block(stmts []ast.Stmt) []stmt {
	t.depth++
	mark := len(t.scope)
	out := make([]stmt, 0, len(stmts))
	for _, s := range stmts {
		if t.nodes++; t.nodes > maxNodes || t.depth > maxDepth {
			out = append(out, oddStmt)
			break
		}
		out = append(out, t.stmt(s))
	}
	t.scope = t.scope[:mark]
	t.depth--
	return out
}

func oddStmt(f *frame) flow {
	f.odd = true
	return finish
}

func (t *translator) stmt(s ast.Stmt) stmt {
	switch s := s.(type) {
	case *ast.LocalAssignStmt:
		return t.local(s)
	case *ast.AssignStmt:
		if len(s.Lhs) == 1 && len(s.Rhs) == 1 {
			return t.assign(s.Lhs[0], s.Rhs[0])
		}
	case *ast.FuncCallStmt:
		call := t.expr(s.Expr).value
		return func(f *frame) flow {
			call(f)
			return next
		}
	case *ast.ReturnStmt:
		return t.result(s)
	case *ast.DoBlockStmt:
		body := t.block(s.Stmts)
		return func(f *frame) flow { return run(f, body) }
	case *ast.IfStmt:
		cond, then, otherwise := t.expr(s.Condition).value, t.block(s.Then), t.block(s.Else)
		return func(f *frame) flow {
			if v := cond(f); v.truthy() {
				return run(f, then)
			}
			return run(f, otherwise)
		}
	case *ast.WhileStmt:
		cond, body := t.expr(s.Condition).value, t.block(s.Stmts)
		return func(f *frame) flow {
			for {
				if v := cond(f); !v.truthy() {
					return next
				}
				if how := f.turn(body); how != next {
					return how.loop()
				}
			}
		}
	case *ast.GenericForStmt:
		return t.items(s)
	case *ast.BreakStmt:
		return func(*frame) flow { return leave }
	}
	return oddStmt
}

// turn runs the body of a loop once.
func (f *frame) turn(body []stmt) flow {
	if f.spend(1, 0) != nil || f.odd {
		return finish
	}
	return run(f, body)
}

// loop is how to go on after the loop that was left.
func (how flow) loop() flow {
	if how == leave {
		return next
	}
	return how
}

func (t *translator) local(s *ast.LocalAssignStmt) stmt {
	if len(s.Exprs) != 1 || len(s.Names) != 1 {
		if len(s.Exprs) == 0 && len(s.Names) == 1 {
			slot := t.declare(s.Names[0], nil)
			return func(f *frame) flow {
				f.locals[f.base+slot] = value{}
				return next
			}
		}
		for _, name := range s.Names {
			t.declare(name, nil)
		}
		return oddStmt
	}
	if _, ok := s.Exprs[0].(*ast.FunctionExpr); ok {
		t.declare(s.Names[0], nil)
		return oddStmt
	}
	e := t.expr(s.Exprs[0])
	slot := t.declare(s.Names[0], e.object)
	return func(f *frame) flow {
		f.locals[f.base+slot] = e.value(f)
		return next
	}
}

// assign sets a local or a fact.
func (t *translator) assign(to, from ast.Expr) stmt {
	e := t.expr(from)
	switch to := to.(type) {
	case *ast.IdentExpr:
		l := t.find(to.Value)
		if l == nil {
			return oddStmt
		}
		slot := l.slot
		return func(f *frame) flow {
			f.locals[f.base+slot] = e.value(f)
			return next
		}
	case *ast.AttrGetExpr:
		owner := t.expr(to.Object)
		key, ok := to.Key.(*ast.StringExpr)
		if owner.facts == nil || !ok {
			return oddStmt
		}
		name, get := t.factName(owner, key.Value), t.plain(from)
		return func(f *frame) flow {
			facts := owner.facts(f)
			v := get(f)
			if fact := f.fact(&v); facts == nil || f.odd || f.call.SetFact(facts, name(f), fact) != nil {
				f.odd = true
			}
			return next
		}
	}
	return oddStmt
}

// factName is the full name of a fact that x.facts or x.my has under a key.
func (t *translator) factName(owner expr, key string) func(*frame) string {
	if !owner.my {
		return func(*frame) string { return key }
	}
	full := t.outer(myFact + key)
	return func(f *frame) string { return f.fn.free[full].text }
}

func (t *translator) result(s *ast.ReturnStmt) stmt {
	if len(s.Exprs) == 0 {
		return func(*frame) flow { return finish }
	}
	if len(s.Exprs) > 1 {
		return oddStmt
	}
	e := t.expr(s.Exprs[0])
	return func(f *frame) flow {
		f.result = e.value(f)
		return finish
	}
}

// items is a loop over ipairs(list).
func (t *translator) items(s *ast.GenericForStmt) stmt {
	var list expr
	known := false
	if len(s.Exprs) == 1 {
		if call, ok := s.Exprs[0].(*ast.FuncCallExpr); ok && len(call.Args) == 1 && call.Receiver == nil {
			if id, ok := call.Func.(*ast.IdentExpr); ok && id.Value == "ipairs" && t.find("ipairs") == nil {
				list, known = t.expr(call.Args[0]), true
			}
		}
	}
	if !known || len(s.Names) > 2 {
		return oddStmt
	}
	ipairs := t.outer("ipairs")
	mark := len(t.scope)
	index, item := t.declare(s.Names[0], nil), -1
	if len(s.Names) == 2 {
		item = t.declare(s.Names[1], nil)
	}
	body := t.block(s.Stmts)
	t.scope = t.scope[:mark]
	return func(f *frame) flow {
		v := list.value(f)
		of, ok := v.any.([]any)
		if _, named := v.any.(map[string]any); named { // which has no items
			ok = true
		}
		if !ok || v.kind != isTable || f.fn.free[ipairs].kind != isBuiltin {
			return oddStmt(f)
		}
		for i, e := range of {
			if e == nil {
				break
			}
			f.locals[f.base+index] = number(float64(i + 1))
			if item >= 0 {
				f.locals[f.base+item] = f.from(e)
			}
			if how := f.turn(body); how != next {
				return how.loop()
			}
		}
		return next
	}
}
