package direct

import (
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

func (t *translator) call(e *ast.FuncCallExpr) expr {
	if e.Receiver != nil {
		return t.method(e)
	}
	callee := t.expr(e.Func).value
	args, ok := t.args(e.Args)
	if !ok {
		return odd
	}
	return expr{value: func(f *frame) value {
		fn := callee(f)
		start, ok := f.push(args)
		if !ok {
			return value{}
		}
		v := f.do(&fn, f.args[start:f.top])
		f.top = start
		return v
	}}
}

// multi tells whether an expression may give more than one value, or none, where it is the last of several: a call, but for
// functions that are known.
func (t *translator) multi(e ast.Expr) bool {
	call, ok := e.(*ast.FuncCallExpr)
	if !ok || call.AdjustRet {
		return false
	}
	if call.Receiver != nil {
		return call.Method == "find" || t.strings[call.Method].kind == isNil && call.Method != "header"
	}
	a, ok := call.Func.(*ast.AttrGetExpr)
	if !ok {
		return true
	}
	library, isName := a.Object.(*ast.IdentExpr)
	name, isText := a.Key.(*ast.StringExpr)
	return !isName || !isText || library.Value != "string" || name.Value == "find"
}

// args are the arguments of a call. The last one must give one value.
func (t *translator) args(list []ast.Expr) ([]func(*frame) value, bool) {
	out := make([]func(*frame) value, len(list))
	for i, a := range list {
		if i == len(list)-1 && t.multi(a) {
			return nil, false
		}
		out[i] = t.plain(a)
	}
	return out, true
}

// plain is an expression for who takes only its value, so that it may be a table.
func (t *translator) plain(e ast.Expr) func(*frame) value {
	if table, ok := e.(*ast.TableExpr); ok {
		return t.table(table)
	}
	return t.expr(e).value
}

// table is a table that nothing else has, so that it is a value.
func (t *translator) table(e *ast.TableExpr) func(*frame) value {
	if t.depth > maxDepth {
		return oddValue
	}
	t.depth++
	defer func() { t.depth-- }()
	keys, values := make([]string, len(e.Fields)), make([]func(*frame) value, len(e.Fields))
	for i, fd := range e.Fields {
		key, named := fd.Key.(*ast.StringExpr)
		if fd.Key != nil && !named || i == len(e.Fields)-1 && fd.Key == nil && t.multi(fd.Value) || i > 0 && named != (keys[0] != "") {
			return oddValue
		}
		if values[i] = t.plain(fd.Value); named {
			keys[i] = key.Value
		}
	}
	list := len(keys) > 0 && keys[0] == ""
	return func(f *frame) value {
		if list {
			items := make([]any, len(values))
			for i, v := range values {
				item := v(f)
				if items[i] = f.fact(&item); items[i] == nil {
					f.odd = true
				}
			}
			return value{kind: isTable, any: items}
		}
		named := make(map[string]any, len(values))
		for i, v := range values {
			item := v(f)
			if fact := f.fact(&item); fact != nil {
				named[keys[i]] = fact
			} else {
				delete(named, keys[i])
			}
		}
		return value{kind: isTable, any: named}
	}
}

// push evaluates arguments onto the frame and says where they begin.
func (f *frame) push(args []func(*frame) value) (start int, ok bool) {
	start = f.top
	for _, a := range args {
		v := a(f)
		if f.odd || f.top == maxArgs {
			f.odd, f.top = true, start
			return start, false
		}
		f.args[f.top] = v
		f.top++
	}
	return start, true
}

// do calls a function.
func (f *frame) do(fn *value, args []value) value {
	if f.spend(1, 0) != nil {
		return value{}
	}
	switch fn.kind {
	case isForm:
		return f.verdict(fn.any.(*api.Form), args)
	case isFunc:
		return f.function(fn.any.(*Func), args)
	case isService:
		return f.service(fn.any.(*service.Func), args)
	case isBuiltin:
		return fn.any.(builtin)(f, args)
	}
	return oddValue(f)
}

func (f *frame) function(fn *Func, args []value) value {
	outer, base := f.fn, f.base
	f.base += outer.code.slots
	end := f.base + fn.code.slots
	if end > maxSlots {
		f.base = base
		return oddValue(f)
	}
	f.used = max(f.used, end)
	for i := range fn.code.params {
		if v := &f.locals[f.base+i]; i < len(args) {
			*v = args[i]
		} else {
			*v = value{}
		}
	}
	f.fn, f.result = fn, value{}
	run(f, fn.code.body)
	v := f.result
	f.fn, f.base, f.result = outer, base, value{}
	return v
}

// facts are arguments in the types of facts.
func (f *frame) facts(args []value) []any {
	out := f.plain[:len(args)]
	for i := range args {
		out[i] = f.fact(&args[i])
	}
	return out
}

func (f *frame) service(fn *service.Func, args []value) value {
	in := f.facts(args)
	if f.odd {
		return value{}
	}
	v, err := fn.Do(f.services, in)
	clear(in)
	if err != nil {
		return oddValue(f)
	}
	return f.from(v)
}

func (f *frame) verdict(form *api.Form, args []value) value {
	var v *hooks.Verdict
	var err error
	switch {
	case len(args) == 0:
		v, err = form.Default(f.call)
	case args[0].kind == isText:
		v, err = form.Text(f.call, args[0].text)
	case args[0].kind == isTable:
		v, err = form.Of(f.call, args[0].any)
	}
	if v == nil || err != nil {
		return oddValue(f)
	}
	return value{kind: isVerdict, any: v}
}

// method is object:name() or text:name().
func (t *translator) method(e *ast.FuncCallExpr) expr {
	of := t.expr(e.Receiver)
	args, ok := t.args(e.Args)
	if !ok || of.facts != nil {
		return odd
	}
	if of.object == nil {
		fn, ok := t.strings[e.Method]
		if !ok {
			return odd
		}
		self := append([]func(*frame) value{of.value}, args...)
		return expr{value: func(f *frame) value {
			start, ok := f.push(self)
			if !ok {
				return value{}
			}
			if f.args[start].kind != isText {
				f.top = start
				return oddValue(f)
			}
			v := f.do(&fn, f.args[start:f.top])
			f.top = start
			return v
		}}
	}
	m := t.api.Method(of.object.Name, e.Method)
	if m == nil {
		return odd
	}
	method := func(f *frame, o any, args []value) value {
		in := f.facts(args)
		if f.odd || m.Do(f.call, o, in) != nil {
			f.odd = true
		}
		clear(in)
		return value{}
	}
	reads := of.object.Name == "message" && e.Method == "header"
	if reads {
		method = header
	} else if !m.Edits() {
		return odd
	}
	return expr{value: func(f *frame) value {
		o := of.get(f)
		start, ok := f.push(args)
		if !ok || o == nil {
			f.top = start
			return oddValue(f)
		}
		v := method(f, o, f.args[start:f.top])
		f.top = start
		return v
	}}
}

// header is message:header(name[, n]).
func header(f *frame, o any, args []value) value {
	n := 1
	if len(args) == 2 && args[1].kind == isNumber {
		n = int(args[1].number)
	}
	if len(args) == 0 || len(args) > 2 || args[0].kind != isText || n < 1 || f.call.Reading(capability.ReadHeaders) != nil {
		return oddValue(f)
	}
	h, err := o.(*hooks.MessageView).Header()
	if err != nil || h == nil || f.spend(4+h.Len()/8, 0) != nil {
		return oddValue(f)
	}
	if v, ok := h.Get(args[0].text, n-1); ok {
		return text(v)
	}
	return value{}
}

// builtin is a function of Lua's own.
type builtin func(f *frame, args []value) value

// stringLibrary has the functions of string that are the same here with one result.
func stringLibrary() map[string]value {
	lib := map[string]value{}
	for name, fn := range map[string]builtin{
		"lower": func(f *frame, args []value) value {
			return f.bytes(args, 'A', 'Z')
		},
		"upper": func(f *frame, args []value) value {
			return f.bytes(args, 'a', 'z')
		},
		"len": func(f *frame, args []value) value {
			if len(args) == 0 || args[0].kind != isText {
				return oddValue(f)
			}
			return number(float64(len(args[0].text)))
		},
		"sub":  sub,
		"find": find,
	} {
		lib[name] = value{kind: isBuiltin, any: fn}
	}
	return lib
}

// bytes changes the case of letters from a to z; others than ASCII stay.
func (f *frame) bytes(args []value, from, to byte) value {
	if len(args) == 0 || args[0].kind != isText || f.spend(len(args[0].text)/64, len(args[0].text)) != nil {
		return oddValue(f)
	}
	s := args[0].text
	if !strings.ContainsFunc(s, func(r rune) bool { return rune(from) <= r && r <= rune(to) }) {
		return text(s)
	}
	b := []byte(s)
	for i, c := range b {
		if from <= c && c <= to {
			b[i] = c ^ 0x20
		}
	}
	return text(string(b))
}

// sub is string.sub(s, from[, to]).
func sub(f *frame, args []value) value {
	if len(args) < 2 || len(args) > 3 || args[0].kind != isText || args[1].kind != isNumber || len(args) == 3 && args[2].kind != isNumber {
		return oddValue(f)
	}
	s := args[0].text
	from, ok := position(args[1].number, len(s))
	to, okTo := len(s), true
	if len(args) == 3 {
		to, okTo = position(args[2].number, len(s))
	}
	if !ok || !okTo {
		return oddValue(f)
	}
	from, to = max(from, 1), min(to, len(s))
	if from > to {
		return text("")
	}
	return text(s[from-1 : to])
}

// position is a place in a text, which may be counted from its end.
func position(n float64, length int) (int, bool) {
	if n != float64(int32(n)) {
		return 0, false
	}
	if n < 0 {
		return max(0, length+int(n)+1), true
	}
	return int(n), true
}

// find is string.find(s, what, from, true), the first of its results.
func find(f *frame, args []value) value {
	if len(args) < 2 || len(args) > 4 || args[0].kind != isText || args[1].kind != isText || len(args) > 2 && args[2].kind != isNumber {
		return oddValue(f)
	}
	s, what, from := args[0].text, args[1].text, 1
	if (len(args) < 4 || !args[3].truthy()) && strings.ContainsAny(what, "^$*+?.([%-") {
		return oddValue(f)
	}
	if len(args) > 2 {
		var ok bool
		if from, ok = position(args[2].number, len(s)); !ok {
			return oddValue(f)
		}
	}
	from = min(max(1, from)-1, len(s))
	if f.spend(1+(len(s)-from)/64, 0) != nil {
		return value{}
	}
	if i := strings.Index(s[from:], what); i >= 0 {
		return number(float64(from + i + 1))
	}
	return value{}
}
