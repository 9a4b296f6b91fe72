package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/plugins/api"
)

// cWriter writes sdk/c/stagepost_api.h.
type cWriter struct {
	strings.Builder
	*model
	errs []error
}

func (w *cWriter) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *cWriter) doc(text string) { comment(&w.Builder, "//", text) }

func (w *cWriter) section(title string) {
	w.line("\n// --- %s %s\n", title, strings.Repeat("-", max(3, 111-len(title))))
}

// isNew notes what C has no form for yet.
func (w *cWriter) isNew(what string) { w.errs = append(w.errs, errNew(what, "C")) }

// cHeader is the part of the C SDK that follows from the declarations.
func cHeader(m *model) (string, error) {
	w := &cWriter{model: m}
	w.line("// %s", notice)
	w.line("// Numbers of the interface, and a function for each field, method, verdict and service. stagepost.h includes it.\n#ifndef STAGEPOST_API_H\n#define STAGEPOST_API_H")
	w.constants()
	w.objects()
	w.verdicts()
	w.services()
	w.handlers()
	w.line("\n#endif")
	return w.String(), errors.Join(w.errs...)
}

func (w *cWriter) constants() {
	w.section("numbers")
	what := ""
	for _, c := range w.numbers() {
		if c.what != what {
			w.line("%senum {", pick(what == "", "", "};\n"))
		}
		what = c.what
		w.line("  SP_%s_%s = %d,", pick(what == "errno", "ERR", upper(what)), upper(c.name), c.n)
	}
	w.line("};")
}

func (w *cWriter) objects() {
	w.section("objects")
	for _, o := range w.Objects {
		switch {
		case o.indexed():
			w.line("typedef struct {\n  uint32_t index;\n} sp_%s;", o.Name)
		case !o.Inline:
			w.line("typedef struct {\n  char none;\n} sp_%s;", o.Name)
		}
	}
	for _, o := range w.Objects {
		if o.Inline {
			w.small(o)
		}
	}
	for _, o := range w.Objects {
		if o.Inline {
			continue
		}
		w.line("")
		w.doc(o.Name + ": " + o.Doc + ".")
		for _, f := range o.Fields {
			w.field(o, f)
		}
		for _, m := range o.Methods {
			w.method(o, m)
		}
	}
}

// small is an object that comes whole.
func (w *cWriter) small(o objectModel) {
	w.line("")
	w.doc(firstUpper(o.Doc) + ".")
	w.line("typedef struct {")
	for _, f := range o.Fields {
		w.line("  %s %s; // %s", cType(f.Type), f.Name, f.Doc)
	}
	w.line("} sp_%s;\n", o.Name)
	w.line("static inline sp_%s sp_%s_of(sp_value v) {\n  return (sp_%s){", o.Name, o.Name, o.Name)
	for _, f := range o.Fields {
		w.line("      .%s = %s,", f.Name, cFrom(cType(f.Type), fmt.Sprintf("sp_get(v, SP(%q))", f.Name)))
	}
	w.line("  };\n}")
}

// cType is the type of what a field or service yields.
func cType(t typ) string {
	switch t.Kind {
	case textType:
		return "sp_text"
	case intType:
		return "int64_t"
	case boolType:
		return "bool"
	case numberType, timeType:
		return "double"
	}
	return "sp_value"
}

// cFrom converts an expression for a value.
func cFrom(typ, v string) string {
	switch typ {
	case "sp_text":
		return "sp_as_text(" + v + ")"
	case "int64_t":
		return "sp_as_int(" + v + ", 0)"
	case "double":
		return "sp_as_float(" + v + ", 0)"
	case "bool":
		return "sp_as_bool(" + v + ")"
	}
	return v
}

// cOf makes a value of an expression.
func cOf(typ, v string) string {
	switch typ {
	case "sp_text":
		return "sp_of_text(" + v + ")"
	case "int64_t":
		return "sp_of_int(" + v + ")"
	case "double":
		return "sp_of_float(" + v + ")"
	case "bool":
		return "sp_of_bool(" + v + ")"
	}
	return v
}

// index is how an object is asked for; where it has no index, the argument is used for nothing.
func (o objectModel) index() (index, unused string) {
	if o.indexed() {
		return "o.index", ""
	}
	return "0", "(void)o; "
}

// indexed tells whether there may be several in a call.
func (o objectModel) indexed() bool {
	return o.Name == "rcpt" || o.Name == "part" || o.Name == "content"
}

func (w *cWriter) field(o objectModel, f fieldModel) {
	index, unused := o.index()
	name := o.Name + "_" + f.Name
	read := fmt.Sprintf("sp_field(SP_OBJECT_%s, %s, SP_FIELD_%s)", upper(o.Name), index, upper(name))
	of := f.Type.Name
	switch {
	case f.Type.Kind == objectType && of == "rcpt":
		w.isNew("the one recipient " + o.Name + "." + f.Name)
	case o.Name == "part" && of == "content":
		w.line("static inline sp_content sp_part_content(sp_part o) { return (sp_content){o.index + 1}; }")
	case f.Type.Kind == objectType && !w.inline(of) && f.Type.Optional: // there if its first field is
		w.doc(firstUpper(f.Doc) + "; false if there is none.")
		w.line("static inline bool sp_%s(sp_%s o, sp_%s *%s) {\n  %s*%s = (sp_%s){0};\n  return sp_field(SP_OBJECT_%s, 0, 0).type != SP_NIL;\n}", name, o.Name, of, f.Name, unused, f.Name, of, upper(of))
	case f.Type.Kind == objectType && !w.inline(of):
		w.line("static inline sp_%s sp_%s(sp_%s o) {\n  (void)o;\n  return (sp_%s){0};\n}", of, name, o.Name, of)
	case f.Type.Kind == objectType && f.Type.Optional:
		w.doc(firstUpper(f.Doc) + "; false if there is none.")
		w.line("static inline bool sp_%s(sp_%s o, sp_%s *%s) {\n  %ssp_value v = %s;\n  *%s = sp_%s_of(v);\n  return v.type != SP_NIL;\n}", name, o.Name, of, f.Name, unused, read, f.Name, of)
	case f.Type.Kind == objectType:
		w.doc(firstUpper(f.Doc) + ".")
		w.line("static inline sp_%s sp_%s(sp_%s o) { %sreturn sp_%s_of(%s); }", of, name, o.Name, unused, of, read)
	case f.Type.Kind == listType && f.Type.Elem.Name == "rcpt":
		w.doc(firstUpper(f.Doc) + ": how many, and the one at a place from 0.")
		w.line("static inline uint32_t sp_%s(sp_%s o) { %sreturn (uint32_t)sp_as_int(%s, 0); }", name, o.Name, unused, read)
		w.line("static inline sp_rcpt sp_%s_rcpt(sp_%s o, uint32_t place) { %sreturn (sp_rcpt){%splace}; }", o.Name, o.Name, unused, pick(o.Name == "message", "sp_asked_rcpt() + ", ""))
	case f.Type.Kind == listType && f.Type.Elem.Name == "part":
		w.doc(firstUpper(f.Doc) + ": how many, and the one at a place from 0.")
		w.line("static inline uint32_t sp_%s(sp_%s o) { %sreturn (uint32_t)sp_as_int(%s, 0); }", name, o.Name, unused, read)
		w.line("static inline sp_part sp_%s_part(sp_%s o, uint32_t place) { %sreturn (sp_part){place}; }", o.Name, o.Name, unused)
	case f.Type.Kind == listType && f.Type.Elem.Kind == objectType && !w.inline(f.Type.Elem.Name): // by hand
	default:
		w.doc(firstUpper(f.Doc) + pick(f.Type.Optional, ". Or nil.", "."))
		typ := cType(f.Type)
		w.line("static inline %s sp_%s(sp_%s o) { %sreturn %s; }", typ, name, o.Name, unused, cFrom(typ, read))
		switch f.Name {
		case "facts":
			w.fact(o, "fact", "sp_of_text(name)")
		case "my":
			w.fact(o, "my", `sp_of_text(sp_format(".%.*s", SP_ARG(name)))`)
		}
	}
}

// fact sets a fact by its full name, or one of the plugin's own by its key.
func (w *cWriter) fact(o objectModel, which, name string) {
	index, unused := o.index()
	w.line("static inline sp_error sp_%s_set_%s(sp_%s o, sp_text name, sp_value value) {\n  %sreturn sp_edit(SP_EDIT_FACT, SP_OBJECT_%s, %s, SP_OF_LIST(%s, value));\n}",
		o.Name, which, o.Name, unused, upper(o.Name), index, name)
}

// arg is the type of an argument. In tables of edits numbers are values, since 0 is not the same as none.
func (w *cWriter) arg(a api.Arg, inTable bool) string {
	switch a.Type {
	case api.Text, api.Address:
		return "sp_text"
	case api.Int:
		return pick(inTable, "sp_value", "int64_t")
	case api.Number, api.Seconds, api.Time:
		return pick(inTable, "sp_value", "double")
	case api.Bool:
		return pick(inTable, "sp_value", "bool")
	case api.Named, api.Function:
		w.isNew("the argument " + a.Name + ", " + a.Type.String() + ",")
	}
	return "sp_value"
}

func (w *cWriter) method(o objectModel, m methodModel) {
	if m.byHand() {
		return
	}
	index, unused := o.index()
	name := o.Name + "_" + m.Name
	edit := fmt.Sprintf("sp_edit(SP_EDIT_%s, SP_OBJECT_%s, %s, ", upper(m.Name), upper(o.Name), index)
	if len(m.Shape) == 1 && m.Shape[0].Type == api.Named {
		keys := m.Shape[0].Of
		w.table(name, keys, true)
		w.doc(m.doc() + fmt.Sprintf(" sp_%s(%s, .%s = ...)", name, o.Name, keys[0].Name))
		w.line("static inline sp_error sp_%s_fields_(sp_%s o, sp_%s_fields f) {\n  %sreturn %sSP_OF_MAP(%s));\n}", name, o.Name, name, unused, edit, strings.Join(w.pairs(keys, true), ", "))
		w.line("#define sp_%s(o, ...) sp_%s_fields_((o), (sp_%s_fields){__VA_ARGS__})", name, name, name)
		return
	}
	var params, values []string
	doc := m.doc()
	for _, a := range m.Shape {
		typ := w.arg(a, false)
		v := cOf(typ, a.Name)
		if a.Optional && typ == "int64_t" {
			v = a.Name + " ? " + v + " : SP_NO_VALUE"
			doc += " " + a.Name + " = 0: left out."
		}
		params, values = append(params, fmt.Sprintf(", %s %s", typ, a.Name)), append(values, v)
	}
	argument := "SP_OF_LIST(" + strings.Join(values, ", ") + ")"
	if len(values) == 1 {
		argument = values[0]
	}
	w.doc(doc)
	w.line("static inline sp_error sp_%s(sp_%s o%s) {\n  %sreturn %s%s);\n}", name, o.Name, strings.Join(params, ""), unused, edit, argument)
}

// table is a struct of named arguments.
func (w *cWriter) table(name string, keys []api.Arg, inTable bool) {
	w.line("typedef struct {")
	for _, a := range keys {
		w.line("  %s %s; // %s", w.arg(a, inTable), a.Name, a.Doc)
	}
	w.line("} sp_%s_fields;\n", name)
}

// pairs are the entries of a map of such a struct, f.
func (w *cWriter) pairs(keys []api.Arg, inTable bool) (out []string) {
	for _, a := range keys {
		typ := w.arg(a, inTable)
		v := cOf(typ, "f."+a.Name)
		if typ == "int64_t" || typ == "double" {
			v = fmt.Sprintf("f.%s != 0 ? %s : SP_NO_VALUE", a.Name, v)
		}
		out = append(out, fmt.Sprintf("{SP(%q), %s}", a.Name, v))
	}
	return out
}

func (w *cWriter) verdicts() {
	w.section("verdicts")
	w.doc("What is left out has its default. Functions whose name ends in _with take names: sp_reject_with(.text = SP(\"no\"), .code = 554).")
	for _, v := range w.Verdicts {
		if v.Keys == nil {
			continue // next, and each, which is by hand
		}
		w.line("")
		w.doc(v.Name + ": " + v.KindInfo.Doc + ".")
		if v.Word != "" {
			w.line("static inline sp_verdict sp_%s(sp_text %s) {\n  return sp_answer(SP_VERDICT_%s, (const sp_pair[]){{SP(%q), sp_of_text(%s)}}, 1);\n}", v.Name, v.Word, upper(v.Name), v.Word, v.Word)
		}
		keys := v.table()
		if keys == nil {
			continue
		}
		w.table(v.Name, keys, false)
		w.line("static inline sp_verdict sp_%s_fields_(sp_%s_fields f) {\n  return sp_answer(SP_VERDICT_%s, (const sp_pair[]){%s}, %d);\n}", v.Name, v.Name, upper(v.Name), strings.Join(w.pairs(keys, false), ", "), len(keys))
		w.line("#define sp_%s_with(...) sp_%s_fields_((sp_%s_fields){__VA_ARGS__})", v.Name, v.Name, v.Name)
	}
}

func (w *cWriter) services() {
	w.section("services")
	w.doc("How each is called in Lua, and what it does. What may be left out there is nil here: SP_NO_TEXT or SP_NO_VALUE. Where there are " +
		"several results the value is a list.")
	for _, s := range w.Services {
		w.line("")
		w.doc(s.Name + ": " + s.Doc)
		for _, f := range s.Funcs {
			w.service(f)
		}
	}
}

func (w *cWriter) service(f funcModel) {
	var params, values []string
	for _, a := range f.Args {
		typ := cServiceArg(a)
		params, values = append(params, typ+" "+a.Name), append(values, cOf(typ, a.Name))
	}
	typ := cServiceResult(f)
	if f.Results != nil {
		params = append(params, typ+" *result")
	}
	if params == nil {
		params = []string{"void"}
	}
	w.doc(f.doc())
	w.line("static inline sp_error sp_%s(%s) {", strings.ReplaceAll(f.Name, ".", "_"), strings.Join(params, ", "))
	args := "NULL"
	if len(values) > 0 {
		args = "(const sp_value[]){" + strings.Join(values, ", ") + "}"
	}
	call := fmt.Sprintf("sp_call(SP(%q), %s, %d, ", f.Name, args, len(values))
	switch {
	case f.Results == nil:
		w.line("  return %sNULL);\n}", call)
	case typ == "sp_value":
		w.line("  return %sresult);\n}", call)
	default:
		w.line("  sp_value v = SP_NO_VALUE;\n  sp_error e = %s&v);\n  *result = %s;\n  return e;\n}", call, cFrom(typ, "v"))
	}
}

// cServiceArg is the type of an argument; one that may be left out is a value, or a text of nil.
func cServiceArg(a serviceArg) string {
	if typ := cType(a.Type); !a.Optional || typ == "sp_text" {
		return typ
	}
	return "sp_value"
}

// cServiceResult is the type of what a service yields: a value where there are several results, or where it may be nil.
func cServiceResult(f funcModel) string {
	if len(f.Results) == 1 && (!f.Results[0].Optional || f.Results[0].Kind == textType) {
		return cType(f.Results[0])
	}
	return "sp_value"
}

// handlers is what a plugin fills in, and the choice by stage.
func (w *cWriter) handlers() {
	w.section("handlers")
	w.line("typedef struct {\n  // Begins an instance: 0, or what sp_fail returned, and the plugin does not load.\n  sp_error (*load)(void);")
	for _, s := range w.Stages {
		comment(&w.Builder, "  //", stageDoc(s))
		w.line("  sp_verdict (*%s)(sp_%s);", s.Name, s.Scope.Object())
	}
	w.line("} sp_plugin;\n\nstatic inline sp_verdict sp_dispatch(const sp_plugin *p, uint32_t stage) {\n  switch (stage) {")
	for _, s := range w.Stages {
		w.line("  case SP_STAGE_%s:\n    return p->%s ? p->%s((sp_%s){0}) : sp_unhandled(%q);", upper(s.Name), s.Name, s.Name, s.Scope.Object(), s.Name)
	}
	w.line("  }\n  return sp_unhandled(\"a new stage\");\n}")
}
