package main

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/plugins/api"
)

func (w *goWriter) inline(o objectModel) {
	w.doc(goName(o.Name) + " is " + o.Doc + ".")
	w.structure(goName(o.Name), o.Fields)
}

func (w *goWriter) object(o objectModel) {
	name := goName(o.Name)
	w.doc(name + " is " + o.Doc + ".")
	w.line("type %s struct{ index int32 }\n", name)
	self := goReceiver(o.Name)
	for _, f := range o.Fields {
		w.doc(goName(f.Name) + ": " + f.Doc + ".")
		t := f.Type
		at := fmt.Sprintf("object%s, %s.index, %d", name, self, f.Number)
		typeName := name + goName(f.Name)
		body := ""
		switch {
		case t.Kind == textType:
			body = "return textField(" + at + ")"
		case t.Kind == intType:
			body = "return intField(" + at + ")"
		case t.Kind == boolType:
			body = "return boolField(" + at + ")"
		case t.Kind == timeType:
			body = "return timeField(" + at + ")"
		case t.Kind == factsType:
			body = fmt.Sprintf("return Facts{%s, %v}", at, f.Name == "my")
		case t.Kind == objectType && !w.isInline(t.Name) && t.Optional:
			body = fmt.Sprintf("if _, ok := field(object%s, 0, 0); !ok {\nreturn nil\n}\nreturn new(%s{})", goName(t.Name), goName(t.Name))
		case o.Name == "part" && t.Name == "content":
			body = fmt.Sprintf("return Content{%s.index + 1}", self)
		case t.Kind == objectType && !w.isInline(t.Name):
			body = "return " + goName(t.Name) + "{}"
		case t.Kind == listType && t.Elem.Kind == objectType && !w.isInline(t.Elem.Name):
			body = "return " + t.Elem.Name + "sOf(" + at + ")"
			if t.Elem.Name != "rcpt" && t.Elem.Name != "part" {
				w.fail("sdk/go: %s.%s is a list of %s, which Go does not know to ask for", o.Name, f.Name, t.Elem.Name)
			}
		default:
			whole := t
			whole.Optional = false
			read := w.reading(whole, typeName)
			if t.Optional && (t.Kind == objectType || t.Kind == recordType) {
				read = "new(" + read + ")"
			}
			body = "f, ok := field(" + at + ")\nif !ok {\nreturn v\n}\nr := &f\nreturn " + read
		}
		w.line("func (%s %s) %s() (v %s) {\n%s\n}\n", self, name, goName(f.Name), w.typeOf(t, typeName), body)
		w.records(t, typeName, "an item of "+f.Name)
	}
	for _, m := range o.Methods {
		if m.Edit >= 0 {
			w.edit(o, m)
		}
	}
}

func (w *goWriter) edit(o objectModel, m methodModel) {
	name, self := goName(o.Name), goReceiver(o.Name)
	stages := make([]string, len(m.Stages))
	for i, s := range m.Stages {
		stages[i] = s.String()
	}
	var params, body []string
	for _, a := range m.Shape {
		p := goParam(a.Name)
		switch {
		case a.Type == api.Named:
			typ := goName(m.Name)
			w.doc(fmt.Sprintf("%s is what %s.%s takes: what is nil, or zero, is left out. new(5) is a pointer to 5.", typ, name, typ))
			w.line("type %s struct {", typ)
			for _, k := range a.Of {
				t := w.argType(k)
				if k.Type != api.Time && k.Type != api.Texts && k.Type != api.Addresses {
					t = "*" + t
				}
				w.line("%s %s // %s", goName(k.Name), t, strings.ReplaceAll(k.Doc, ", as now() gives it", ""))
			}
			w.line("}\n\nfunc (v %s) append(b []byte) []byte {", typ)
			w.namedMap("v", a.Of, 0, true)
			w.namedPairs("v", a.Of, true)
			w.line("return b\n}\n")
			params, body = append(params, p+" "+typ), append(body, "b = "+p+".append(b)")
		case a.Type == api.Addresses || a.Type == api.Texts:
			params, body = append(params, p+" ..."+"string"), append(body, "b = cbor.AppendTexts(b, "+p+")")
		case a.Optional && a.Type == api.Int:
			params, body = append(params, p+" ...int"), append(body, "for _, n := range "+p+" {\nb = cbor.AppendInt(b, int64(n))\n}")
		case a.Optional:
			w.fail("sdk/go: %s.%s may leave out %s, which Go does not know to write", o.Name, m.Name, a.Name)
		default:
			_, put := w.pair("", a, false)
			params, body = append(params, p+" "+w.argType(a)), append(body, "b = "+strings.Replace(put, "."+goName(a.Name), p, 1))
		}
	}
	doc := fmt.Sprintf("%s: %s. It works at %s.", goName(m.Name), m.Doc, strings.Join(stages, ", "))
	if n := capability.AskFor(m.Needs); n != "" {
		doc += " Needs " + n + "."
	}
	w.doc(doc)
	w.line("func (%s %s) %s(%s) {\nb := data[:0]", self, name, goName(m.Name), strings.Join(params, ", "))
	if len(m.Shape) != 1 {
		n := fmt.Sprint(len(m.Shape))
		if last := m.Shape[len(m.Shape)-1]; last.Optional {
			n = fmt.Sprintf("%d+len(%s)", len(m.Shape)-1, goParam(last.Name))
		}
		w.line("b = cbor.AppendArray(b, %s)", n)
	}
	w.line("%s\nedit(edit%s, object%s, %s.index, b)\n}\n", strings.Join(body, "\n"), goName(m.Name), name, self)
}

func (w *goWriter) service(s serviceModel) {
	group := goParam(s.Name) + "Service"
	receiver := ""
	if !s.Plain {
		w.doc(goName(s.Name) + ": " + s.Doc)
		w.line("var %s %s\n\ntype %s struct{}\n", goName(s.Name), group, group)
		receiver = "(" + group + ") "
	}
	for _, f := range s.Funcs {
		if f.Name == "now" { // the ABI has a function for it
			continue
		}
		w.function(receiver, goName(s.Name), f)
	}
}

func (w *goWriter) function(receiver, group string, f funcModel) {
	name := goName(f.Short)
	typeName := group + name
	var params, args []string
	missing := 0
	for _, a := range f.Args {
		if a.Optional {
			missing++
		}
	}
	variadic := missing == 1 && len(f.Args) > 0 && f.Args[len(f.Args)-1].Optional
	for _, a := range f.Args {
		p, typ := goParam(a.Name), w.typeOf(a.Type, typeName)
		if a.Type.Kind == listType { // any list, so that []string will do
			typ = "any"
		}
		switch {
		case a.Optional && variadic:
			params, args = append(params, p+" ..."+typ), append(args, "first("+p+")")
		case a.Optional && (typ == "any" || strings.HasPrefix(typ, "map")):
			params, args = append(params, p+" "+typ), append(args, "notNil("+p+" != nil, "+p+")")
		case a.Optional:
			params, args = append(params, p+" "+typ), append(args, "optional("+p+")")
		default:
			params, args = append(params, p+" "+typ), append(args, p)
		}
	}
	doc := fmt.Sprintf("%s: %s", name, f.Doc)
	if f.Form != "" {
		doc += " In Lua it is called as " + f.Form + "."
	}
	if f.AtLoad {
		doc += " Works in OnLoad, too."
	}
	if n := capability.AskFor(f.Needs); n != "" {
		doc += " Needs " + n + "."
	}
	if missing > 0 && !variadic {
		doc += " What is zero is left out."
	}
	var results, zero, before []string
	for i, t := range f.Results {
		v := fmt.Sprintf("v%d", i+1)
		results = append(results, v+" "+w.typeOf(t, typeName))
		zero = append(zero, v)
		read := w.reading(t, typeName)
		if t.Optional && t.Kind != objectType && t.Kind != recordType && t.Kind != listType && t.Kind != mapType && t.Kind != anyType {
			results, zero = append(results, "ok bool"), append(zero, "ok")
			before = append(before, fmt.Sprintf("if ok = !r.Null(); ok {\n%s = %s\n}", v, read))
		} else {
			before = append(before, v+" = "+read)
		}
	}
	results, zero = append(results, "err error"), append(zero, "err")
	w.doc(doc)
	w.line("func %s%s(%s) (%s) {", receiver, name, strings.Join(params, ", "), strings.Join(results, ", "))
	if len(f.Results) == 0 {
		w.line("_, err = call(%q%s)\nreturn err\n}\n", f.Name, strings.Join(append([]string{""}, args...), ", "))
		return
	}
	w.line("r, err := call(%q%s)\nif err != nil {\nreturn %s\n}", f.Name, strings.Join(append([]string{""}, args...), ", "), strings.Join(zero, ", "))
	if len(f.Results) > 1 {
		w.line("r.Array()")
	}
	zero[len(zero)-1] = "r.Err()"
	w.line("%s\nreturn %s\n}\n", strings.Join(before, "\n"), strings.Join(zero, ", "))
	for _, t := range f.Results {
		w.records(t, typeName, "a result of "+f.Name)
	}
}
