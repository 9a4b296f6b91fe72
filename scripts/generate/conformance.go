package main

import (
	"fmt"
	"go/format"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

// The plugins of plugins/conformance do by name what a case of its table says. What they reach by name is made here, so that all that is
// declared is called through each SDK.

// conformanceLua is a module with the functions of the services, the verdicts, and the names of the fields.
func conformanceLua(m *model) string {
	var w writer
	w.line("-- " + notice)
	w.line("return {")
	w.line("  services = {")
	for _, s := range m.Services {
		for _, f := range s.Funcs {
			if len(f.Args) > 0 && f.Args[0].Kind == service.Given { // a method of an object
				w.line("    [%q] = function(o, ...) return o:%s(...) end,", f.Name, f.Short)
				continue
			}
			w.line("    [%q] = %s,", f.Name, f.Name)
		}
	}
	w.line("  },\n  verdicts = {")
	for _, v := range m.Verdicts {
		if v.KindInfo.Kind != hooks.Next {
			w.line("    %s = %s,", v.Name, v.Name)
		}
	}
	w.line("  },\n  fields = {")
	for _, o := range m.Objects {
		w.line("    %s = {", o.Name)
		for _, f := range o.Fields {
			of := ""
			switch t := f.Type; {
			case t.Kind == objectType && m.inline(t.Name):
				of = t.Name
			case t.Kind == objectType:
				of = "handle"
			case t.Kind == factsType:
				of = f.Name
			case t.Kind == listType && t.Elem.Kind == objectType:
				of = t.Elem.Name + "s"
				if m.inline(t.Elem.Name) {
					of = t.Elem.Name + "[]"
				}
			}
			w.line("      { %q, %q },", f.Name, of)
		}
		w.line("    },")
	}
	w.line("  },\n}")
	return w.b.String()
}

// conformanceGo is the same for the SDK in Go, where everything is called with its own types.
func conformanceGo(m *model) (string, error) {
	w := goWriter{model: m}
	w.line("// %s", notice)
	w.line("package main\n\nimport stagepost \"github.com/stagepost/stagepost/sdk/go\"\n")
	w.line("func register(h func(o any) stagepost.Verdict) {")
	for _, s := range m.Stages {
		w.line("stagepost.On%s(func(o stagepost.%s) stagepost.Verdict { return h(o) })", goName(s.Name), goName(s.Scope.Object()))
	}
	w.line("}\n\n// member is a field that holds an object with fields of its own.\nfunc member(o any, name string) any {\nswitch o := o.(type) {")
	for _, o := range m.Objects {
		if o.Inline {
			continue
		}
		var cases []string
		for _, f := range o.Fields {
			if f.Type.Kind == objectType && !m.inline(f.Type.Name) {
				star := ""
				if f.Type.Optional {
					star = "*"
				}
				cases = append(cases, fmt.Sprintf("case %q:\nreturn %so.%s()", f.Name, star, goName(f.Name)))
			}
			if f.Type.Kind == listType && f.Type.Elem.Kind == objectType && !m.inline(f.Type.Elem.Name) {
				cases = append(cases, fmt.Sprintf("case %q:\nreturn o.%s()", f.Name, goName(f.Name)))
			}
		}
		if cases != nil {
			w.line("case stagepost.%s:\nswitch name {\n%s\n}", goName(o.Name), strings.Join(cases, "\n"))
		}
	}
	w.line("}\npanic(\"no member \" + name)\n}\n\nfunc fields(o any) map[string]any {\nm := map[string]any{}\nswitch o := o.(type) {")
	for _, o := range m.Objects {
		if o.Inline {
			continue
		}
		w.line("case stagepost.%s:", goName(o.Name))
		for _, f := range o.Fields {
			w.line("put(m, %q, %v, %s)", f.Name, f.Type.Optional, w.plain("o."+goName(f.Name)+"()", f.Type, goName(o.Name)+goName(f.Name)))
		}
	}
	w.line("}\nreturn m\n}\n")
	for _, o := range m.Objects {
		if o.Inline {
			w.plainRecord(goName(o.Name), o.Fields)
		}
		for _, f := range o.Fields {
			w.plainRecords(f.Type, goName(o.Name)+goName(f.Name))
		}
	}
	w.line("func verdict(m map[string]any) stagepost.Verdict {\nswitch text(m[\"kind\"]) {")
	for _, v := range m.Verdicts {
		switch {
		case v.KindInfo.Kind == hooks.Next:
		case v.Form.Each:
			w.line("case %q:\nvar each stagepost.Each\nfor _, e := range list(m[\"verdicts\"]) {\neach = append(each, verdict(object(e)))\n}\nreturn each", v.Name)
		default:
			w.line("case %q:\nreturn stagepost.%s{%s}", v.Name, goName(v.Name), namedGo(v.Form.Keys, false))
		}
	}
	w.line("}\nreturn nil\n}\n\nfunc edit(o any, method string, a []any) {\nswitch method {")
	for _, o := range m.Objects {
		for _, method := range o.Methods {
			if method.Edit < 0 {
				continue
			}
			var args []string
			for i, arg := range method.Shape {
				at := fmt.Sprintf("at(a, %d)", i)
				switch {
				case arg.Type == api.Named:
					args = append(args, fmt.Sprintf("stagepost.%s{%s}", goName(method.Name), namedGo(arg.Of, true)))
				case arg.Type == api.Addresses || arg.Type == api.Texts:
					args = append(args, "texts("+at+")...")
				case arg.Optional:
					args = append(args, fmt.Sprintf("ints(a, %d)...", i))
				default:
					args = append(args, argGo(arg, at, false))
				}
			}
			named := ""
			if len(method.Shape) == 1 && method.Shape[0].Type == api.Named {
				named = "m := object(at(a, 0))\n"
			}
			w.line("case \"%s.%s\":\n%so.(stagepost.%s).%s(%s)", o.Name, method.Name, named, goName(o.Name), goName(method.Name), strings.Join(args, ", "))
		}
	}
	w.line("default:\npanic(\"no edit \" + method)\n}\n}\n\nfunc service(name string, a []any) (any, error) {\nswitch name {")
	for _, s := range m.Services {
		for _, f := range s.Funcs {
			w.callGo(s, f)
		}
	}
	w.line("}\npanic(\"no service \" + name)\n}\n")
	for _, s := range m.Services {
		for _, f := range s.Funcs {
			for _, t := range f.Results {
				w.plainRecords(t, goName(s.Name)+goName(f.Short))
			}
		}
	}
	if len(w.errs) > 0 {
		return "", w.errs[0]
	}
	text, err := format.Source([]byte(w.b.String()))
	return string(text), err
}

// plain is an expression that makes a value of one of the SDK's types.
func (w *goWriter) plain(v string, t typ, name string) string {
	switch t.Kind {
	case timeType:
		return "seconds(" + v + ")"
	case factsType:
		return "known(" + v + ", " + fmt.Sprint(strings.HasSuffix(name, "My")) + ")"
	case recordType:
		return w.plainInline(name, v, t.Optional)
	case objectType:
		if w.isInline(t.Name) {
			return w.plainInline(goName(t.Name), v, t.Optional)
		}
		if t.Optional {
			return "handle(" + v + " != nil)"
		}
		return "\"object\""
	case listType:
		switch e := *t.Elem; {
		case e.Name == "part":
			return "types(" + v + ")"
		case e.Kind == objectType && !w.isInline(e.Name):
			return "addresses(" + v + ")"
		case e.Kind == objectType:
			return "each(" + v + ", plain" + goName(e.Name) + ")"
		case e.Kind == recordType:
			return "each(" + v + ", plain" + name + ")"
		}
	}
	return v
}

func (w *goWriter) plainInline(name, v string, optional bool) string {
	if optional {
		return "maybe(" + v + ", plain" + name + ")"
	}
	return "plain" + name + "(" + v + ")"
}

func (w *goWriter) plainRecords(t typ, name string) {
	switch t.Kind {
	case listType, mapType:
		w.plainRecords(*t.Elem, name)
	case recordType:
		w.plainRecord(name, t.Fields)
	}
}

func (w *goWriter) plainRecord(name string, fields []fieldModel) {
	w.line("func plain%s(v stagepost.%s) any {\nm := map[string]any{}", name, name)
	for _, f := range fields {
		w.line("put(m, %q, %v, %s)", f.Name, f.Type.Optional, w.plain("v."+goName(f.Name), f.Type, name+goName(f.Name)))
	}
	w.line("return m\n}\n")
	for _, f := range fields {
		w.plainRecords(f.Type, name+goName(f.Name))
	}
}

// namedGo are the fields of a struct of named arguments, read from m.
func namedGo(keys []api.Arg, pointer bool) string {
	var fields []string
	for _, k := range keys {
		fields = append(fields, goName(k.Name)+": "+argGo(k, fmt.Sprintf("m[%q]", k.Name), pointer))
	}
	return strings.Join(fields, ", ")
}

func argGo(a api.Arg, v string, pointer bool) string {
	read := ""
	switch a.Type {
	case api.Int:
		read = "integer"
	case api.Number:
		read = "number"
	case api.Bool:
		read = "boolean"
	case api.Seconds:
		read = "duration"
	case api.Time:
		return "moment(" + v + ")"
	case api.Texts, api.Addresses:
		return "texts(" + v + ")"
	case api.TextMap:
		return "textMap(" + v + ")"
	default:
		read = "text"
	}
	if pointer {
		return "given(" + v + ", " + read + ")"
	}
	return read + "(" + v + ")"
}

func (w *goWriter) callGo(s serviceModel, f funcModel) {
	w.line("case %q:", f.Name)
	if f.Name == "now" {
		w.line("return seconds(stagepost.Now()), nil")
		return
	}
	var args []string
	optional := 0
	for _, a := range f.Args {
		if a.Optional {
			optional++
		}
	}
	for i, a := range f.Args {
		at := fmt.Sprintf("at(a, %d)", i)
		switch a.Type.Kind {
		case textType:
			at = "text(" + at + ")"
		case intType:
			at = "integer(" + at + ")"
		case numberType:
			at = "number(" + at + ")"
		case boolType:
			at = "boolean(" + at + ")"
		case mapType:
			at = "object(" + at + ")"
		}
		if a.Optional && optional == 1 && i == len(f.Args)-1 {
			at = strings.Replace(fmt.Sprintf("tail(a, %d, func(v any) T { return %s })...", i, strings.Replace(at, fmt.Sprintf("at(a, %d)", i), "v", 1)), "T", w.typeOf(plainType(a.Type), ""), 1)
		}
		args = append(args, at)
	}
	call := "stagepost."
	if !s.Plain {
		call += goName(s.Name) + "."
	}
	call += goName(f.Short) + "(" + strings.Join(args, ", ") + ")"
	if len(f.Results) == 0 {
		w.line("return nil, %s", call)
		return
	}
	var names, values []string
	for i, t := range f.Results {
		v := fmt.Sprintf("v%d", i)
		names = append(names, v)
		value := w.plain(v, t, goName(s.Name)+goName(f.Short))
		if t.Optional && t.Kind != objectType && t.Kind != recordType && t.Kind != listType && t.Kind != mapType && t.Kind != anyType {
			names = append(names, "ok")
			value = "when(ok, " + value + ")"
		} else if t.Optional && (t.Kind == listType || t.Kind == mapType) {
			value = "when(" + v + " != nil, " + value + ")"
		}
		values = append(values, value)
	}
	value := values[0]
	if len(values) > 1 {
		value = "[]any{" + strings.Join(values, ", ") + "}"
	}
	w.line("%s, err := %s\nif err != nil {\nreturn nil, err\n}\nreturn %s, nil", strings.Join(names, ", "), call, value)
}

// plainType is the type of an argument without that it may be left out; of a list any will do.
func plainType(t typ) typ {
	if t.Optional = false; t.Kind == listType {
		t = typ{Kind: anyType}
	}
	return t
}
