package lua

import (
	"github.com/yuin/gopher-lua/ast"

	"github.com/stagepost/stagepost/hooks"
)

// How the checker goes through a file: with the scopes of Lua, knowing of each local what fields.go says about it.

// declare puts a local in scope. A list is not followed: the plugin may change it.
func (c *checker) declare(name string, v value) {
	if v.list {
		v = value{}
	}
	c.scope[name] = append(c.scope[name], &variable{value: v})
	c.names = append(c.names, name)
}

// leave ends the scope of what was declared since there were mark names.
func (c *checker) leave(mark int) {
	for _, name := range c.names[mark:] {
		c.scope[name] = c.scope[name][:len(c.scope[name])-1]
	}
	c.names = c.names[:mark]
}

// lookup finds a local; nil is a global.
func (c *checker) lookup(name string) *variable {
	if vs := c.scope[name]; len(vs) > 0 {
		return vs[len(vs)-1]
	}
	return nil
}

// global is the name of an expression that names a global, else "".
func (c *checker) global(e ast.Expr) string {
	if id, ok := e.(*ast.IdentExpr); ok && c.lookup(id.Value) == nil {
		return id.Value
	}
	return ""
}

func (c *checker) block(stmts []ast.Stmt) {
	mark := len(c.names)
	for _, s := range stmts {
		c.stmt(s)
	}
	c.leave(mark)
}

// stmt declares the names of a local statement for what follows it; other statements leave none.
func (c *checker) stmt(s ast.Stmt) {
	if c.depth > maxDepth {
		return // the linter refuses the file
	}
	c.depth++
	defer func() { c.depth-- }()
	mark := len(c.names)
	switch s := s.(type) {
	case *ast.LocalAssignStmt:
		c.local(s)
		return
	case *ast.AssignStmt:
		for i, target := range s.Lhs {
			c.assign(target)
			if stage, ok := c.stageOf(target); ok && i < len(s.Rhs) {
				if f, ok := s.Rhs[i].(*ast.FunctionExpr); ok {
					c.handle(stage, f.ParList.Names, f)
					continue
				}
			}
			if i < len(s.Rhs) {
				c.expr(s.Rhs[i])
			}
		}
		c.exprs(s.Rhs[min(len(s.Lhs), len(s.Rhs)):])
	case *ast.FuncDefStmt:
		target, params := s.Name.Func, s.Func.ParList.Names
		if target == nil {
			key := at(&ast.StringExpr{Value: s.Name.Method}, s.Line())
			target, params = at(&ast.AttrGetExpr{Object: s.Name.Receiver, Key: key}, s.Line()), append([]string{"self"}, params...)
		}
		c.assign(target)
		if stage, ok := c.stageOf(target); ok {
			c.handle(stage, params, s.Func)
		} else {
			c.function(params, s.Func, value{})
		}
	case *ast.FuncCallStmt:
		c.expr(s.Expr)
	case *ast.ReturnStmt:
		c.exprs(s.Exprs)
		if len(s.Exprs) == 1 && c.handler != nil && c.level == 1 {
			c.verdict(s.Exprs[0])
		}
	case *ast.DoBlockStmt:
		c.block(s.Stmts)
	case *ast.WhileStmt:
		c.expr(s.Condition)
		c.block(s.Stmts)
	case *ast.RepeatStmt:
		for _, inner := range s.Stmts {
			c.stmt(inner)
		}
		c.expr(s.Condition) // sees the locals of the block
	case *ast.IfStmt:
		c.expr(s.Condition)
		c.block(s.Then)
		c.block(s.Else)
	case *ast.NumberForStmt:
		c.exprs([]ast.Expr{s.Init, s.Limit, s.Step})
		c.declare(s.Name, value{})
		c.block(s.Stmts)
	case *ast.GenericForStmt:
		item := c.item(s.Exprs)
		for i, name := range s.Names {
			if i == 1 {
				c.declare(name, item)
			} else {
				c.declare(name, value{})
			}
		}
		c.block(s.Stmts)
	}
	c.leave(mark)
}

func (c *checker) local(s *ast.LocalAssignStmt) {
	if f, ok := oneOf(s.Exprs).(*ast.FunctionExpr); ok && len(s.Names) == 1 {
		c.declare(s.Names[0], value{}) // it can name itself
		c.expr(f)
		return
	}
	values := make([]value, max(len(s.Names), len(s.Exprs)))
	for i, e := range s.Exprs {
		values[i] = c.expr(e)
	}
	for i, name := range s.Names {
		c.declare(name, values[i])
	}
}

// item is what a loop over these expressions gives second: the items of ipairs(LIST).
func (c *checker) item(exprs []ast.Expr) value {
	call, ok := oneOf(exprs).(*ast.FuncCallExpr)
	if name := c.calls(call); ok && (name == "ipairs" || name == "pairs") && len(call.Args) == 1 {
		return c.itemOf(c.look(call.Args[0]))
	}
	c.exprs(exprs)
	return value{}
}

func (c *checker) itemOf(list value) value {
	if !list.list {
		return value{}
	}
	item := &variable{value: value{from: list.from}}
	c.items = append(c.items, item)
	return value{object: list.object, from: item}
}

// look is expr where a list is only looked at.
func (c *checker) look(e ast.Expr) value {
	v := c.expr(e)
	if c.isList(e) {
		c.loose--
	}
	return v
}

// isList tells whether an expression ends in the name of a list of objects, be it of an object that is known or not.
func (c *checker) isList(e ast.Expr) bool {
	if e, ok := e.(*ast.AttrGetExpr); ok {
		key, ok := e.Key.(*ast.StringExpr)
		return ok && c.lists[key.Value]
	}
	return false
}

// calls is the name of the global that is called, or "".
func (c *checker) calls(call *ast.FuncCallExpr) string {
	if call == nil {
		return ""
	}
	return c.global(call.Func)
}

// oneOf is the only expression of a list, or nil.
func oneOf(exprs []ast.Expr) ast.Expr {
	if len(exprs) != 1 {
		return nil
	}
	return exprs[0]
}

// stageOf tells whether the target of an assignment is on.STAGE in the main chunk.
func (c *checker) stageOf(target ast.Expr) (hooks.Stage, bool) {
	t, ok := target.(*ast.AttrGetExpr)
	if !ok || c.level > 0 || c.global(t.Object) != "on" {
		return 0, false
	}
	key, ok := t.Key.(*ast.StringExpr)
	if !ok {
		return 0, false
	}
	return hooks.StageByName(key.Value)
}

// handle walks the handler of a stage.
func (c *checker) handle(stage hooks.Stage, params []string, f *ast.FunctionExpr) {
	c.handler = &handler{stage: stage}
	c.handlers = append(c.handlers, c.handler)
	c.function(params, f, value{object: c.objects[stage.Scope().Object()], from: &c.handler.variable})
	c.handler = nil
}

// function walks a function of which the first argument is known.
func (c *checker) function(params []string, f *ast.FunctionExpr, first value) {
	mark := len(c.names)
	c.level++
	for i, name := range params {
		if i > 0 {
			first = value{}
		}
		c.declare(name, first)
	}
	c.block(f.Stmts)
	c.level--
	c.leave(mark)
}

func (c *checker) assign(target ast.Expr) {
	switch t := target.(type) {
	case *ast.IdentExpr:
		if v := c.lookup(t.Value); v != nil {
			v.changed = true
		}
	case *ast.AttrGetExpr:
		if c.global(t.Object) != "on" {
			c.set(c.owner(t, c.expr, &c.seen.sets), t.Key)
		}
		c.expr(t.Key)
	}
}

func (c *checker) exprs(list []ast.Expr) {
	for _, e := range list {
		c.expr(e)
	}
}

// expr walks an expression and returns what is known of it.
func (c *checker) expr(e ast.Expr) value {
	if c.depth > maxDepth {
		return value{}
	}
	c.depth++
	defer func() { c.depth-- }()
	switch e := e.(type) {
	case *ast.IdentExpr:
		return c.read(e)
	case *ast.StringExpr:
		c.seen.names[e.Value] = true
	case *ast.AttrGetExpr:
		if c.isList(e) {
			c.loose++
		}
		return c.index(e)
	case *ast.FuncCallExpr:
		c.call(e)
	case *ast.FunctionExpr:
		c.function(e.ParList.Names, e, value{})
	case *ast.TableExpr:
		for _, f := range e.Fields {
			c.expr(f.Key)
			c.expr(f.Value)
		}
	case *ast.LogicalOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.RelationalOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.StringConcatOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.ArithmeticOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.UnaryMinusOpExpr:
		c.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		c.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		c.look(e.Expr)
	}
	return value{}
}

func (c *checker) read(id *ast.IdentExpr) value {
	v := c.lookup(id.Value)
	if v == nil {
		c.seen.global(id.Value)
	}
	switch {
	case v != nil && v.object != nil:
		return value{object: v.object, from: v}
	case v == nil && id.Value == "on":
		c.taken[""] = true
	case v == nil:
		c.granted(id.Value, id.Line())
	}
	return value{}
}

func (c *checker) index(e *ast.AttrGetExpr) value {
	key, ok := e.Key.(*ast.StringExpr)
	if name := c.global(e.Object); ok && name == "on" {
		c.taken[key.Value] = true
		return value{}
	} else if ok && c.services[name] != nil {
		c.service(name, key.Value, key.Line())
		return value{}
	} else if ok && name == "config" {
		c.seen.settings = append(c.seen.settings, Mention{key.Value, key.Line()})
		return value{}
	}
	object := c.owner(e, c.look, &c.seen.reads)
	c.expr(e.Key)
	if object.object != nil && !ok && !object.list {
		c.seen.anything = true
	}
	if ok && (key.Value == "facts" || key.Value == "my") {
		c.seen.anyFact = true
	}
	return c.field(object, e.Key)
}

// owner is what is known of o in o[key], found by walk; a fact that this names is noted.
func (c *checker) owner(e *ast.AttrGetExpr, walk func(ast.Expr) value, facts *[]Mention) value {
	key, literal := e.Key.(*ast.StringExpr)
	before := c.seen.anyFact
	object := walk(e.Object)
	if o, ok := e.Object.(*ast.AttrGetExpr); ok && literal {
		switch of, _ := o.Key.(*ast.StringExpr); {
		case of == nil:
		case of.Value == "my":
			*facts = append(*facts, Mention{"my." + key.Value, key.Line()})
			c.seen.anyFact = before
		case of.Value == "facts":
			*facts = append(*facts, Mention{key.Value, key.Line()})
			c.seen.anyFact = before
		}
	}
	return object
}

func (c *checker) call(e *ast.FuncCallExpr) {
	if e.Func == nil {
		if name := c.global(e.Receiver); c.services[name] != nil {
			c.service(name, e.Method, e.Line())
		} else {
			c.seen.names[e.Method] = true
			c.method(c.expr(e.Receiver), e.Method, e.Line())
		}
	} else {
		c.expr(e.Func)
	}
	if f, ok := oneOf(e.Args).(*ast.FunctionExpr); ok && c.handler != nil && c.handler.stage.Verdicts().Has(hooks.Each) && c.calls(e) == hooks.Each.String() {
		c.function(f.ParList.Names, f, value{object: c.objects["rcpt"], from: &c.handler.variable})
		return
	}
	c.exprs(e.Args)
}
