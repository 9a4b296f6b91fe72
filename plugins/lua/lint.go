package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/yuin/gopher-lua/ast"
)

// A Mention is a name in a source file.
type Mention struct {
	Name string
	Line int
}

// The linter walks a chunk before it is rewritten. It resolves names as the compiler will, bounds the depth of the
// tree for everything that recurses after it, and reports what would be state between calls.
type linter struct {
	file    string
	globals map[string]bool
	fn      *function
	locals  []local
	depth   int
	funcs   int
	work    int
	errs    []error

	hoist    []string          // globals that the main chunk defines; they become its locals
	unknown  []Mention         // reads of names that nobody defined so far
	handlers []Mention         // fields of `on` that the main chunk sets
	requires []Mention         // literal arguments of require
	allowed  map[ast.Expr]bool // identifiers `require` that are called properly
}

type function struct {
	outer     *function
	level     int // 0 is the main chunk
	constants map[string]bool
	upvalues  map[string]bool
	varargs   bool
}

type local struct {
	name  string
	level int
}

// maxErrors bounds how many faults of one file are reported.
const maxErrors = 10

// Bounds that keep the linter itself, and the compiler after it, from taking quadratic time.
const (
	maxLocals = 2000       // in scope at once, over all functions around a place
	maxHoist  = 150        // globals that a main chunk defines
	maxFuncs  = 2000       // in one file; the compiler takes some 20 KB for each
	maxWork   = 20_000_000 // comparisons in the compiler's search for constants
)

// A giveUp is the panic that ends a walk which would cost too much.
type giveUp struct{ err error }

func lint(c *Chunk, globals map[string]bool) (l *linter, err error) {
	l = &linter{file: c.Name, globals: globals, allowed: map[ast.Expr]bool{}}
	defer func() {
		if r := recover(); r != nil {
			up, ok := r.(giveUp)
			if !ok {
				panic(r)
			}
			err = up.err
		}
	}()
	l.enter(false)
	l.block(c.Stmts)
	for _, m := range l.unknown {
		if !slices.Contains(l.hoist, m.Name) {
			l.reportUnknown(m)
		}
	}
	return l, errors.Join(l.errs...)
}

func (l *linter) errorAt(line int, format string, args ...any) error {
	return &Error{File: l.file, Line: line, Message: fmt.Sprintf(format, args...)}
}

func (l *linter) report(line int, format string, args ...any) {
	if len(l.errs) < maxErrors {
		l.errs = append(l.errs, l.errorAt(line, format, args...))
	}
}

func (l *linter) reportUnknown(m Mention) {
	if len(l.errs) >= maxErrors {
		return
	}
	switch m.Name {
	case "plugin":
		l.report(m.Line, "plugin { ... } must be the first statement of the plugin's own file")
	case "_G", "os", "io", "debug", "package", "load", "loadstring", "loadfile", "dofile", "setfenv", "getfenv",
		"module", "collectgarbage", "newproxy":
		l.report(m.Line, "%s is not available to plugins", m.Name)
	case "print":
		l.report(m.Line, "print is not available to plugins; use log.info")
	default:
		l.report(m.Line, "unknown global %q%s", m.Name, hint(m.Name, append(keys(l.globals), l.hoist...)))
	}
}

func (l *linter) enter(varargs bool) {
	f := &function{outer: l.fn, constants: map[string]bool{}, upvalues: map[string]bool{}, varargs: varargs}
	if l.fn != nil {
		f.level = l.fn.level + 1
	}
	l.fn = f
}

func (l *linter) nest(line int) func() {
	if l.depth++; l.depth > maxDepth {
		panic(giveUp{l.errorAt(line, "nested too deeply: more than %d levels", maxDepth)})
	}
	return func() { l.depth-- }
}

func (l *linter) declare(line int, names ...string) {
	for _, name := range names {
		if len(l.locals) >= maxLocals {
			panic(giveUp{l.errorAt(line, "too many local variables: more than %s in scope at once", count(maxLocals))})
		}
		l.locals = append(l.locals, local{name, l.fn.level})
	}
}

// lookup finds the function level that declared the local, or -1 for a global.
func (l *linter) lookup(name string) int {
	for i := len(l.locals) - 1; i >= 0; i-- {
		if l.locals[i].name == name {
			return l.locals[i].level
		}
	}
	return -1
}

func (l *linter) constant(line int, kind, value string) {
	if l.fn.constants[kind+value] = true; len(l.fn.constants) == maxConstants+1 {
		l.report(line, "one function has more than %s different constants; put data into a lookup", count(maxConstants))
	}
	if l.work += len(l.fn.constants); l.work > maxWork {
		panic(giveUp{l.errorAt(line, "the functions of this file are too large; put data into a lookup")})
	}
}

// mention resolves an identifier and notes which functions it passes through as an upvalue.
func (l *linter) mention(id *ast.IdentExpr) int {
	level := l.lookup(id.Value)
	if level < 0 {
		l.constant(id.Line(), "s", id.Value)
		return level
	}
	for f := l.fn; f.level > level; f = f.outer {
		if f.upvalues[id.Value] = true; len(f.upvalues) == maxUpvalues+1 {
			l.report(id.Line(), "one function uses more than %d locals of the functions around it", maxUpvalues)
		}
	}
	return level
}

func (l *linter) block(stmts []ast.Stmt) {
	mark := len(l.locals)
	for _, s := range stmts {
		l.stmt(s)
	}
	l.locals = l.locals[:mark]
}

func (l *linter) stmt(s ast.Stmt) {
	defer l.nest(s.Line())()
	mark := len(l.locals)
	switch s := s.(type) {
	case *ast.LocalAssignStmt:
		// gopher-lua declares a single function before its body, be it "local function f" or "local f = function".
		if len(s.Names) == 1 && len(s.Exprs) == 1 {
			if _, ok := s.Exprs[0].(*ast.FunctionExpr); ok {
				l.declare(s.Line(), s.Names...)
				l.expr(s.Exprs[0])
				return
			}
		}
		l.exprs(s.Exprs)
		l.declare(s.Line(), s.Names...)
		return // the names outlive the statement
	case *ast.AssignStmt:
		for _, target := range s.Lhs {
			l.assign(target)
		}
		l.exprs(s.Rhs)
	case *ast.FuncDefStmt:
		l.functionStmt(s)
	case *ast.FuncCallStmt:
		l.expr(s.Expr)
	case *ast.ReturnStmt:
		l.exprs(s.Exprs)
	case *ast.DoBlockStmt:
		l.block(s.Stmts)
	case *ast.WhileStmt:
		l.expr(s.Condition)
		l.block(s.Stmts)
	case *ast.RepeatStmt:
		for _, inner := range s.Stmts {
			l.stmt(inner)
		}
		l.expr(s.Condition) // sees the locals of the block
	case *ast.IfStmt:
		l.expr(s.Condition)
		l.block(s.Then)
		l.block(s.Else)
	case *ast.NumberForStmt:
		l.exprs([]ast.Expr{s.Init, s.Limit})
		if s.Step != nil {
			l.expr(s.Step)
		}
		l.declare(s.Line(), s.Name)
		l.block(s.Stmts)
	case *ast.GenericForStmt:
		l.exprs(s.Exprs)
		l.declare(s.Line(), s.Names...)
		l.block(s.Stmts)
	case *ast.BreakStmt:
	default:
		l.report(s.Line(), "this statement is not part of Lua 5.1")
	}
	l.locals = l.locals[:mark]
}

func (l *linter) functionStmt(s *ast.FuncDefStmt) {
	if s.Name.Func != nil {
		l.assign(s.Name.Func)
		l.function(s.Func, false)
		return
	}
	key := &ast.StringExpr{Value: s.Name.Method}
	key.SetLine(s.Line())
	target := &ast.AttrGetExpr{Object: s.Name.Receiver, Key: key}
	target.SetLine(s.Line())
	l.assign(target)
	l.function(s.Func, true)
}

func (l *linter) function(f *ast.FunctionExpr, method bool) {
	if l.funcs++; l.funcs > maxFuncs {
		panic(giveUp{l.errorAt(f.Line(), "more than %s functions in one file", count(maxFuncs))})
	}
	mark := len(l.locals)
	l.enter(f.ParList.HasVargs)
	if method {
		l.declare(f.Line(), "self")
	}
	l.declare(f.Line(), f.ParList.Names...)
	l.block(f.Stmts)
	l.fn = l.fn.outer
	l.locals = l.locals[:mark]
}

// assign checks the target of an assignment.
func (l *linter) assign(target ast.Expr) {
	switch t := target.(type) {
	case *ast.IdentExpr:
		level := l.mention(t)
		switch {
		case level < 0 && l.globals[t.Value]:
			l.report(t.Line(), "%s belongs to the host and cannot be replaced; choose another name", t.Value)
		case level < 0 && l.fn.level > 0:
			l.report(t.Line(), "%s is a global and cannot be set inside a function; write local %s, or keep it in kv or a fact",
				t.Value, t.Value)
		case level < 0 && !slices.Contains(l.hoist, t.Value):
			if l.hoist = append(l.hoist, t.Value); len(l.hoist) > maxHoist {
				panic(giveUp{l.errorAt(t.Line(), "the main chunk defines more than %d names; put data into tables", maxHoist)})
			}
		case level == 0 && l.fn.level > 0:
			l.report(t.Line(), "%s is a local of the main chunk and cannot be set inside a function; keep it in kv or a fact", t.Value)
		}
	case *ast.AttrGetExpr:
		l.mutate(t.Object, t.Line())
		if id, ok := t.Object.(*ast.IdentExpr); ok && id.Value == "on" && l.lookup("on") < 0 && l.fn.level == 0 {
			if key, ok := t.Key.(*ast.StringExpr); ok {
				l.handlers = append(l.handlers, Mention{key.Value, t.Line()})
			}
		}
		l.expr(t.Object)
		l.expr(t.Key)
	default:
		l.report(target.Line(), "this cannot be assigned to")
	}
}

// mutate reports a write inside a function to a table that outlives the call.
func (l *linter) mutate(table ast.Expr, line int) {
	id := root(table)
	if id == nil {
		return
	}
	level := l.lookup(id.Value)
	switch {
	case level < 0 && l.globals[id.Value] && id.Value != "on":
		l.report(line, "%s belongs to the host and cannot be changed", id.Value)
	case level <= 0 && l.fn.level > 0:
		l.report(line, "the table %s belongs to the main chunk and cannot be changed inside a function; keep it in kv or a fact", id.Value)
	}
}

// root returns the variable at the start of a.b[c].d.
func root(e ast.Expr) *ast.IdentExpr {
	for {
		switch x := e.(type) {
		case *ast.IdentExpr:
			return x
		case *ast.AttrGetExpr:
			e = x.Object
		default:
			return nil
		}
	}
}

func (l *linter) exprs(list []ast.Expr) {
	for _, e := range list {
		l.expr(e)
	}
}

func (l *linter) expr(e ast.Expr) {
	defer l.nest(e.Line())()
	switch e := e.(type) {
	case *ast.IdentExpr:
		l.read(e)
	case *ast.StringExpr:
		l.constant(e.Line(), "s", e.Value)
	case *ast.NumberExpr:
		l.constant(e.Line(), "n", e.Value)
		if _, ok := parseNumber(e.Value); !ok {
			l.report(e.Line(), "malformed number %q", e.Value)
		}
	case *ast.Comma3Expr:
		if l.fn.level == 0 {
			l.report(e.Line(), "the main chunk has no arguments: ... belongs inside a function")
		} else if !l.fn.varargs {
			l.report(e.Line(), "... needs a function declared with (...)")
		}
	case *ast.FunctionExpr:
		l.function(e, false)
	case *ast.FuncCallExpr:
		l.call(e)
	case *ast.AttrGetExpr:
		l.field(e)
		l.expr(e.Object)
		l.expr(e.Key)
	case *ast.TableExpr:
		if len(e.Fields) > maxItems {
			l.report(e.Line(), "more than %s items in one table; put data into a lookup", count(maxItems))
		}
		for _, f := range e.Fields {
			if f.Key != nil {
				l.expr(f.Key)
			}
			l.expr(f.Value)
		}
	case *ast.LogicalOpExpr:
		l.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.RelationalOpExpr:
		l.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.StringConcatOpExpr:
		l.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.ArithmeticOpExpr:
		l.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.UnaryMinusOpExpr:
		l.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		l.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		l.expr(e.Expr)
	}
}

func (l *linter) read(id *ast.IdentExpr) {
	if l.mention(id) >= 0 {
		return
	}
	switch {
	case id.Value == "require" && !l.allowed[id]:
		l.report(id.Line(), `require must be called with a literal: require "lib/name"`)
	case id.Value == "arg" && l.fn.varargs:
		l.report(id.Line(), `arg is not available; use {...} or select("#", ...)`)
	case !l.globals[id.Value]:
		l.unknown = append(l.unknown, Mention{id.Value, id.Line()})
	}
}

// field checks a constant field of a library table: string.trim and the like.
func (l *linter) field(e *ast.AttrGetExpr) {
	id, ok := e.Object.(*ast.IdentExpr)
	if !ok || l.lookup(id.Value) >= 0 {
		return
	}
	fields, ok := libraries[id.Value]
	if key, isString := e.Key.(*ast.StringExpr); ok && isString && fields[key.Value] == nil {
		l.report(e.Line(), "%s has no function %q%s", id.Value, key.Value, hint(key.Value, keys(fields)))
	}
}

// changers are the library functions that change the table in their first argument.
var changers = map[string]bool{"table.insert": true, "table.remove": true, "table.sort": true, "rawset": true, "setmetatable": true}

func (l *linter) call(e *ast.FuncCallExpr) {
	if id, ok := e.Func.(*ast.IdentExpr); ok && id.Value == "require" && l.lookup("require") < 0 {
		l.require(e, id)
	}
	if name := l.globalName(e.Func); changers[name] && len(e.Args) > 0 && l.fn.level > 0 {
		l.mutate(e.Args[0], e.Line())
	}
	if e.Func != nil {
		l.expr(e.Func)
	} else {
		l.expr(e.Receiver)
		l.constant(e.Line(), "s", e.Method)
	}
	l.exprs(e.Args)
}

// globalName names a global f as "f" and a field of a global as "t.f".
func (l *linter) globalName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.IdentExpr:
		if l.lookup(e.Value) < 0 {
			return e.Value
		}
	case *ast.AttrGetExpr:
		if key, ok := e.Key.(*ast.StringExpr); ok {
			if id, ok := e.Object.(*ast.IdentExpr); ok && l.lookup(id.Value) < 0 {
				return id.Value + "." + key.Value
			}
		}
	}
	return ""
}

func (l *linter) require(e *ast.FuncCallExpr, id *ast.IdentExpr) {
	l.allowed[id] = true
	if l.fn.level > 0 {
		l.report(e.Line(), "require belongs to the main chunk, not inside a function")
		return
	}
	var name *ast.StringExpr
	if len(e.Args) == 1 {
		name, _ = e.Args[0].(*ast.StringExpr)
	}
	switch {
	case name == nil:
		l.report(e.Line(), `require must be called with a literal: require "lib/name"`)
	case !validModule(name.Value):
		l.report(e.Line(), "require %q: a module is named like \"lib/name\": letters, digits, - and _, without leading slash, dots or extension", name.Value)
	default:
		l.requires = append(l.requires, Mention{name.Value, e.Line()})
	}
}

// validModule accepts slash-separated names that stay inside the plugin's folder on every system.
func validModule(name string) bool {
	if len(name) > 128 {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}
