package lua

import (
	"strconv"

	"github.com/yuin/gopher-lua/ast"
)

// The builtins that rewritten code calls. They are the first locals of every chunk, and no identifier that a
// plugin can write names them.
const (
	builtinConcat = "(concat)" // (a, b, ...): a .. b .. ...
	builtinSet    = "(set)"    // (t, k, v): t[k] = v
	builtinTable  = "(table)"  // (new, cost, k, v, ...): charges a constructor, sets what has a computed key
	builtinAppend = "(append)" // (t, n, ...): the items of a constructor from n+1 on that a last call or ... gives
	builtinFunc   = "(func)"   // (f): charges a closure
)

var builtinNames = []string{builtinConcat, builtinSet, builtinTable, builtinAppend, builtinFunc}

// rewrite replaces everything in a chunk that allocates without bound by calls of the builtins, and makes the
// globals that the chunk defines its locals. It also steps around places that gopher-lua miscompiles.
func rewrite(stmts []ast.Stmt, hoist []string) []ast.Stmt {
	take := &ast.LocalAssignStmt{Names: builtinNames, Exprs: []ast.Expr{&ast.Comma3Expr{}}}
	out := []ast.Stmt{at(take, 1)}
	if len(hoist) > 0 {
		out = append(out, at(&ast.LocalAssignStmt{Names: hoist}, 1))
	}
	return append(out, block(stmts)...)
}

func at[N ast.PositionHolder](n N, line int) N {
	n.SetLine(line)
	n.SetLastLine(line)
	return n
}

func ident(name string, line int) *ast.IdentExpr { return at(&ast.IdentExpr{Value: name}, line) }

func number(n, line int) ast.Expr { return at(&ast.NumberExpr{Value: strconv.Itoa(n)}, line) }

// builtin calls one of the builtins; each of them returns at most one value.
func builtin(name string, line int, args ...ast.Expr) *ast.FuncCallExpr {
	if n := len(args); n > 0 {
		args[n-1] = single(args[n-1])
	}
	return at(&ast.FuncCallExpr{Func: ident(name, line), Args: args}, line)
}

// single cuts an expression to one value where it would otherwise give all.
func single(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		e.AdjustRet = true
	case *ast.Comma3Expr:
		e.AdjustRet = true
	}
	return e
}

func block(stmts []ast.Stmt) []ast.Stmt {
	var out []ast.Stmt
	for _, s := range stmts {
		out = append(out, statement(s)...)
	}
	return out
}

func statement(s ast.Stmt) []ast.Stmt {
	switch s := s.(type) {
	case *ast.LocalAssignStmt:
		if len(s.Names) == 1 && len(s.Exprs) == 1 {
			if f, ok := s.Exprs[0].(*ast.FunctionExpr); ok {
				f.Stmts = block(f.Stmts) // charged after it exists, so that it can still name itself
				charge := builtin(builtinFunc, s.Line(), ident(s.Names[0], s.Line()))
				return []ast.Stmt{s, at(&ast.FuncCallStmt{Expr: charge}, s.Line())}
			}
		}
		expressions(s.Exprs)
	case *ast.AssignStmt:
		expressions(s.Lhs)
		expressions(s.Rhs)
		return []ast.Stmt{assignment(s)}
	case *ast.FuncDefStmt:
		return []ast.Stmt{assignment(definition(s))}
	case *ast.FuncCallStmt:
		s.Expr = expression(s.Expr)
	case *ast.ReturnStmt:
		expressions(s.Exprs)
		if len(s.Exprs) == 1 {
			if call, ok := s.Exprs[0].(*ast.FuncCallExpr); ok && isBuiltin(call) {
				call.AdjustRet = true // a tail call of a Go function only costs
			}
		}
	case *ast.DoBlockStmt:
		s.Stmts = block(s.Stmts)
	case *ast.WhileStmt:
		s.Condition, s.Stmts = expression(s.Condition), block(s.Stmts)
	case *ast.RepeatStmt:
		s.Stmts, s.Condition = block(s.Stmts), expression(s.Condition)
	case *ast.IfStmt:
		s.Condition, s.Then, s.Else = expression(s.Condition), block(s.Then), block(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit = expression(s.Init), expression(s.Limit)
		if s.Step != nil {
			s.Step = expression(s.Step)
		}
		s.Stmts = block(s.Stmts)
	case *ast.GenericForStmt:
		expressions(s.Exprs)
		s.Stmts = block(s.Stmts)
	}
	return []ast.Stmt{s}
}

func isBuiltin(call *ast.FuncCallExpr) bool {
	id, ok := call.Func.(*ast.IdentExpr)
	return ok && id.Value[0] == '('
}

// definition turns `function a.b:c() end` into `a.b.c = function(self) end`.
func definition(s *ast.FuncDefStmt) *ast.AssignStmt {
	target := s.Name.Func
	if target == nil {
		key := at(&ast.StringExpr{Value: s.Name.Method}, s.Line())
		target = at(&ast.AttrGetExpr{Object: s.Name.Receiver, Key: key}, s.Line())
		s.Func.ParList.Names = append([]string{"self"}, s.Func.ParList.Names...)
	}
	def := &ast.AssignStmt{Lhs: []ast.Expr{expression(target)}, Rhs: []ast.Expr{expression(s.Func)}}
	return at(def, s.Line())
}

// assignment makes table writes calls. Its parts are rewritten already.
func assignment(s *ast.AssignStmt) ast.Stmt {
	if len(s.Lhs) == 1 && len(s.Rhs) == 1 {
		if t, ok := s.Lhs[0].(*ast.AttrGetExpr); ok {
			call := builtin(builtinSet, t.Line(), t.Object, t.Key, s.Rhs[0])
			return at(&ast.FuncCallStmt{Expr: call}, s.Line())
		}
		// gopher-lua overwrites the last parameter p with the function before it evaluates the argument in
		// p = (f(p)), and in p, q = f(p), 1. One target takes one value anyway.
		if call, ok := s.Rhs[0].(*ast.FuncCallExpr); ok {
			call.AdjustRet = false
		}
		return s
	}
	return throughTemporaries(s)
}

// throughTemporaries evaluates everything on both sides, then assigns from the last target to the first. gopher-lua
// assigns a, b = b, a one after the other.
func throughTemporaries(s *ast.AssignStmt) ast.Stmt {
	line := s.Line()
	temps := &ast.LocalAssignStmt{}
	temp := func(kind string, i int) *ast.IdentExpr { return ident("("+kind+strconv.Itoa(i)+")", line) }
	var sets []ast.Stmt
	for i, target := range s.Lhs {
		value := temp("value", i)
		t, ok := target.(*ast.AttrGetExpr)
		if !ok {
			set := &ast.AssignStmt{Lhs: []ast.Expr{target}, Rhs: []ast.Expr{value}}
			sets = append([]ast.Stmt{at(set, line)}, sets...)
			continue
		}
		object, key := temp("object", i), temp("key", i)
		temps.Names = append(temps.Names, object.Value, key.Value)
		temps.Exprs = append(temps.Exprs, t.Object, t.Key)
		call := builtin(builtinSet, t.Line(), object, key, value)
		sets = append([]ast.Stmt{at(&ast.FuncCallStmt{Expr: call}, t.Line())}, sets...)
	}
	for i := range s.Lhs {
		temps.Names = append(temps.Names, temp("value", i).Value)
	}
	temps.Exprs = append(temps.Exprs, s.Rhs...)
	return at(&ast.DoBlockStmt{Stmts: append([]ast.Stmt{at(temps, line)}, sets...)}, line)
}

func expressions(list []ast.Expr) {
	for i, e := range list {
		list[i] = expression(e)
	}
}

func expression(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.StringConcatOpExpr:
		return concatenation(e)
	case *ast.TableExpr:
		return constructor(e)
	case *ast.FunctionExpr:
		e.Stmts = block(e.Stmts)
		return builtin(builtinFunc, e.Line(), e)
	case *ast.NumberExpr:
		if f, ok := parseNumber(e.Value); ok { // gopher-lua reads 010 as octal
			e.Value = strconv.FormatFloat(f, 'g', -1, 64)
		}
	case *ast.FuncCallExpr:
		if e.Func != nil {
			e.Func = expression(e.Func)
		} else {
			e.Receiver = expression(e.Receiver)
		}
		expressions(e.Args)
	case *ast.AttrGetExpr:
		e.Object, e.Key = expression(e.Object), expression(e.Key)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = expression(e.Lhs), expression(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = expression(e.Lhs), expression(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = expression(e.Lhs), expression(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = expression(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = expression(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = expression(e.Expr)
	}
	return e
}

// Arguments of one builtin call; a function has 200 registers for locals and arguments together.
const maxArguments = 50

// concatenation makes a .. b .. c one call, so that it is one allocation.
func concatenation(e *ast.StringConcatOpExpr) ast.Expr {
	var parts []ast.Expr
	for rest := ast.Expr(e); ; {
		c, ok := rest.(*ast.StringConcatOpExpr)
		if !ok {
			parts = append(parts, expression(rest))
			break
		}
		parts = append(parts, expression(c.Lhs))
		rest = c.Rhs
	}
	for len(parts) > maxArguments { // .. associates to the right
		cut := len(parts) - maxArguments
		tail := builtin(builtinConcat, parts[cut].Line(), append([]ast.Expr{}, parts[cut:]...)...)
		parts = append(parts[:cut], tail)
	}
	return builtin(builtinConcat, e.Line(), parts...)
}

// Charges for tables, in bytes; TestAttackMemory holds them against the heap.
const (
	tableBytes   = 1200 // an empty table and its first field of each kind
	itemBytes    = 40   // an item appended to the array part
	fieldBytes   = 240  // any other new key
	closureBytes = 128
	upvalueBytes = 64
)

// largestItem is the largest number that may stand as a key in a constructor without being checked.
const largestItem = 64

// constructor charges a table constructor and takes computed keys out of it.
func constructor(e *ast.TableExpr) ast.Expr {
	cost := tableBytes
	var fields []*ast.Field
	var computed []ast.Expr
	var many ast.Expr
	items := 0
	for i, f := range e.Fields {
		value := expression(f.Value)
		if f.Key == nil && i == len(e.Fields)-1 && givesMany(value) {
			many = value
			continue
		}
		if f.Key == nil {
			items++
			fields = append(fields, &ast.Field{Value: single(value)})
			cost += itemBytes
			continue
		}
		key := expression(f.Key)
		if checkedKey(key) {
			computed = append(computed, key, value)
			continue
		}
		fields = append(fields, &ast.Field{Key: key, Value: single(value)}) // gopher-lua would take all values of a last one
		cost += fieldBytes
	}
	line := e.Line()
	table := at(&ast.TableExpr{Fields: fields}, line)
	table.SetLastLine(e.LastLine())
	args := []ast.Expr{table, number(cost, line)}
	for len(computed) > maxArguments {
		args = append(args, computed[:maxArguments]...)
		computed = computed[maxArguments:]
		args = []ast.Expr{builtin(builtinTable, line, args...), number(0, line)}
	}
	made := builtin(builtinTable, line, append(args, computed...)...)
	if many == nil {
		return made
	}
	return at(&ast.FuncCallExpr{Func: ident(builtinAppend, line), Args: []ast.Expr{made, number(items, line), many}}, line)
}

func givesMany(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.FuncCallExpr:
		return !e.AdjustRet && !isBuiltin(e)
	case *ast.Comma3Expr:
		return !e.AdjustRet
	}
	return false
}

func checkedKey(key ast.Expr) bool {
	switch key := key.(type) {
	case *ast.StringExpr:
		return false
	case *ast.NumberExpr:
		f, _ := parseNumber(key.Value)
		return f < 1 || f > largestItem || f != float64(int(f))
	}
	return true
}
