package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/ast"
)

// fromLua builds the tree of a header and reports what is no literal.
func (d *decoder) fromLua(header ast.Expr) *node {
	t, ok := header.(*ast.TableExpr)
	if !ok {
		d.report(lineOf(header), "the header is a table: write plugin { ... }, not %s", expression(header))
		return nil
	}
	b := luaBuilder{d: d, left: maxNodes}
	return b.table("", t, 0)
}

type luaBuilder struct {
	d    *decoder
	left int // nodes that may still be made
	full bool
}

func (b *luaBuilder) table(at string, t *ast.TableExpr, depth int) *node {
	n := &node{line: max(t.Line(), 1), kind: empty}
	if depth >= maxDepth {
		b.d.report(n.line, "nested more than %d levels deep; write it flatter", maxDepth)
		return n
	}
	for _, f := range t.Fields {
		if b.left--; b.left < 0 {
			if !b.full {
				b.full = true
				b.d.report(n.line, "the header holds more than %d values; move lists to the configuration", maxNodes)
			}
			return n
		}
		if f.Key == nil {
			if n.kind == table {
				b.d.report(lineOf(f.Value), "%sa value without a name among named ones; a table holds either a list or keys", prefix(at))
				continue
			}
			n.kind = list
			n.items = append(n.items, b.value(at, f.Value, depth+1))
			continue
		}
		line := lineOf(f.Key)
		key, ok := f.Key.(*ast.StringExpr)
		switch {
		case !ok:
			b.d.report(line, "%s%s cannot be a key; write key = value", prefix(at), expression(f.Key))
		case n.kind == list:
			b.d.report(line, "%sa value named %q in a list; a table holds either a list or keys", prefix(at), shorten(key.Value))
		default:
			n.kind = table
			if !n.add(key.Value, line, b.value(join(at, key.Value), f.Value, depth+1)) {
				b.d.report(line, "%sthe key stands here twice; remove one", prefix(join(at, key.Value)))
			}
		}
	}
	return n
}

func (b *luaBuilder) value(at string, e ast.Expr, depth int) *node {
	n := &node{line: lineOf(e), kind: scalar}
	sign := ""
	if minus, ok := e.(*ast.UnaryMinusOpExpr); ok {
		if _, ok := minus.Expr.(*ast.NumberExpr); ok {
			sign, e = "-", minus.Expr
		}
	}
	switch e := e.(type) {
	case *ast.TableExpr:
		return b.table(at, e, depth)
	case *ast.StringExpr:
		n.value = e.Value
	case *ast.TrueExpr:
		n.value = true
	case *ast.FalseExpr:
		n.value = false
	case *ast.NumberExpr:
		v, err := number(sign + e.Value)
		if err != nil {
			b.d.report(n.line, "%s%s is no number that can stand here", prefix(at), shorten(e.Value))
		}
		n.value = v
	default:
		b.d.report(n.line, "%s%s cannot stand here; the header is read and never run, so it holds only strings, numbers, true, false and tables of them",
			prefix(at), expression(e))
		n.kind, n.value = other, expression(e)
	}
	return n
}

// number reads a Lua number: hexadecimal with 0x, else decimal, whole ones as int64.
func number(s string) (any, error) {
	digits := strings.TrimPrefix(s, "-")
	if len(digits) > 1 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X') {
		return strconv.ParseInt(s, 0, 64)
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	return strconv.ParseFloat(s, 64)
}

func lineOf(e ast.Expr) int {
	if e == nil {
		return 1
	}
	return max(e.Line(), 1)
}

// expression names what somebody wrote for a message.
func expression(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.NilExpr:
		return "nil"
	case *ast.TrueExpr, *ast.FalseExpr:
		return "a boolean"
	case *ast.NumberExpr:
		return "a number"
	case *ast.StringExpr:
		return "a string"
	case *ast.TableExpr:
		return "a table"
	case *ast.IdentExpr:
		return fmt.Sprintf("the variable %q", shorten(e.Value))
	case *ast.AttrGetExpr:
		return "a field of a variable"
	case *ast.FuncCallExpr:
		return "a function call"
	case *ast.FunctionExpr:
		return "a function"
	case *ast.Comma3Expr:
		return `"..."`
	}
	return "an expression"
}
