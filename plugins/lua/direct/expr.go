package direct

import (
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// expr is an expression. One that is certain to give a host object also gives it without a value around it, or its facts.
type expr struct {
	value  func(*frame) value
	object *hooks.Object
	get    func(*frame) any            // with object; nil where the object has none of that
	facts  func(*frame) *message.Facts // of x.facts and x.my, which have no value here
	my     bool
}

func oddValue(f *frame) value {
	f.odd = true
	return value{}
}

var odd = expr{value: oddValue}

func constant(v value) expr { return expr{value: func(*frame) value { return v }} }

func (t *translator) expr(e ast.Expr) expr {
	t.depth++
	t.nodes++
	defer func() { t.depth-- }()
	if t.depth > maxDepth || t.nodes > maxNodes {
		return odd
	}
	switch e := e.(type) {
	case *ast.NilExpr:
		return constant(value{})
	case *ast.TrueExpr:
		return constant(boolean(true))
	case *ast.FalseExpr:
		return constant(boolean(false))
	case *ast.StringExpr:
		return constant(text(e.Value))
	case *ast.NumberExpr:
		if n, err := strconv.ParseFloat(e.Value, 64); err == nil && strings.Trim(e.Value, "0123456789.") == "" {
			return constant(number(n))
		}
	case *ast.IdentExpr:
		return t.name(e.Value)
	case *ast.AttrGetExpr:
		return t.attribute(e)
	case *ast.FuncCallExpr:
		return t.call(e)
	case *ast.LogicalOpExpr:
		return t.logical(e)
	case *ast.RelationalOpExpr:
		return t.relation(e)
	case *ast.ArithmeticOpExpr:
		return t.arithmetic(e)
	case *ast.StringConcatOpExpr:
		return t.concat(e)
	case *ast.UnaryNotOpExpr:
		of := t.expr(e.Expr).value
		return expr{value: func(f *frame) value {
			v := of(f)
			return boolean(!v.truthy())
		}}
	case *ast.UnaryLenOpExpr:
		of := t.expr(e.Expr).value
		return expr{value: func(f *frame) value {
			v := of(f)
			return f.length(&v)
		}}
	case *ast.UnaryMinusOpExpr:
		of := t.expr(e.Expr).value
		return expr{value: func(f *frame) value {
			v := of(f)
			if v.kind != isNumber {
				return oddValue(f)
			}
			return number(-v.number)
		}}
	}
	return odd
}

func (t *translator) name(name string) expr {
	l := t.find(name)
	if l == nil {
		i := t.outer(name)
		return expr{value: func(f *frame) value {
			v := f.fn.free[i]
			f.odd = f.odd || v.kind == isOdd
			return v
		}}
	}
	slot := l.slot
	e := expr{value: func(f *frame) value { return f.locals[f.base+slot] }}
	if l.object != nil {
		e.object, e.get = l.object, func(f *frame) any { return f.locals[f.base+slot].any }
	}
	return e
}

// attribute is object.name or table[key].
func (t *translator) attribute(e *ast.AttrGetExpr) expr {
	of := t.expr(e.Object)
	name, named := e.Key.(*ast.StringExpr)
	switch {
	case of.facts != nil && named:
		full := t.factName(of, name.Value)
		return expr{value: func(f *frame) value {
			if facts := of.facts(f); facts != nil {
				return f.from(f.call.Fact(facts, full(f)))
			}
			return oddValue(f)
		}}
	case of.object != nil && named:
		for i := range of.object.Fields {
			if f := &of.object.Fields[i]; f.Name == name.Value {
				return t.field(of.get, f)
			}
		}
		return odd
	case of.object != nil || of.facts != nil:
		return odd
	}
	key := t.expr(e.Key).value
	return expr{value: func(f *frame) value {
		table, k := of.value(f), key(f)
		return f.index(&table, &k)
	}}
}

// field reads a declared field of an object.
func (t *translator) field(of func(*frame) any, fd *hooks.Field) expr {
	switch {
	case fd.Type == hooks.TypeFacts, fd.Type == hooks.TypeMyFacts:
		return expr{value: oddValue, my: fd.Type == hooks.TypeMyFacts, facts: func(f *frame) *message.Facts { return hooks.FactsOf(of(f)) }}
	case fd.Str != nil:
		get, optional := fd.Str, fd.Optional
		return expr{value: func(f *frame) value {
			o := of(f)
			if o == nil {
				return oddValue(f)
			}
			if s := get(o); s != "" || !optional {
				return text(s)
			}
			return value{}
		}}
	case fd.Type == hooks.TypeObject && fd.Value != nil && t.objects[fd.Of] != nil:
		get := func(f *frame) any {
			o := of(f)
			if o == nil {
				f.odd = true
				return nil
			}
			return fd.Value(o)
		}
		return expr{object: t.objects[fd.Of], get: get, value: func(f *frame) value {
			if o := get(f); o != nil {
				return value{kind: isObject, any: o}
			}
			return value{}
		}}
	}
	return expr{value: func(f *frame) value {
		o := of(f)
		if o == nil {
			return oddValue(f)
		}
		switch {
		case fd.Int != nil:
			return number(float64(fd.Int(o)))
		case fd.Bool != nil:
			return boolean(fd.Bool(o))
		case fd.Time != nil:
			at := fd.Time(o)
			if at.IsZero() {
				return value{}
			}
			return number(float64(at.UnixMicro()) / 1e6)
		case fd.Value != nil && fd.Of == "":
			return f.from(fd.Value(o))
		}
		return oddValue(f)
	}}
}

func (t *translator) logical(e *ast.LogicalOpExpr) expr {
	a, b := t.expr(e.Lhs).value, t.expr(e.Rhs).value
	and := e.Operator == "and"
	return expr{value: func(f *frame) value {
		if v := a(f); v.truthy() != and {
			return v
		}
		return b(f)
	}}
}

func (t *translator) relation(e *ast.RelationalOpExpr) expr {
	left, right := t.expr(e.Lhs).value, t.expr(e.Rhs).value
	switch e.Operator {
	case "==", "~=":
		want := e.Operator == "=="
		return expr{value: func(f *frame) value {
			a, b := left(f), right(f)
			return boolean(f.equal(&a, &b) == want)
		}}
	}
	var holds func(order int) bool
	switch e.Operator {
	case "<":
		holds = func(order int) bool { return order < 0 }
	case "<=":
		holds = func(order int) bool { return order <= 0 }
	case ">":
		holds = func(order int) bool { return order > 0 }
	case ">=":
		holds = func(order int) bool { return order >= 0 }
	default:
		return odd
	}
	return expr{value: func(f *frame) value {
		a, b := left(f), right(f)
		switch {
		case a.kind == isNumber && b.kind == isNumber && a.number == a.number && b.number == b.number:
			order := 0
			if a.number < b.number {
				order = -1
			} else if a.number > b.number {
				order = 1
			}
			return boolean(holds(order))
		case a.kind == isText && b.kind == isText:
			return boolean(holds(strings.Compare(a.text, b.text)))
		}
		return oddValue(f)
	}}
}

func (t *translator) arithmetic(e *ast.ArithmeticOpExpr) expr {
	left, right := t.expr(e.Lhs).value, t.expr(e.Rhs).value
	var do func(a, b float64) float64
	switch e.Operator {
	case "+":
		do = func(a, b float64) float64 { return a + b }
	case "-":
		do = func(a, b float64) float64 { return a - b }
	case "*":
		do = func(a, b float64) float64 { return a * b }
	case "/":
		do = func(a, b float64) float64 { return a / b }
	default:
		return odd
	}
	return expr{value: func(f *frame) value {
		a, b := left(f), right(f)
		if a.kind != isNumber || b.kind != isNumber {
			return oddValue(f)
		}
		return number(do(a.number, b.number))
	}}
}

// concat joins texts. Numbers are the engine's to write.
func (t *translator) concat(e *ast.StringConcatOpExpr) expr {
	left, right := t.expr(e.Lhs).value, t.expr(e.Rhs).value
	return expr{value: func(f *frame) value {
		a, b := left(f), right(f)
		if a.kind != isText || b.kind != isText || f.spend((len(a.text)+len(b.text))/64, len(a.text)+len(b.text)) != nil {
			return oddValue(f)
		}
		return text(a.text + b.text)
	}}
}
