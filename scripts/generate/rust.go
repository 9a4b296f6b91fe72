package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/plugins/api"
)

// rustWriter writes sdk/rust/src/api.rs.
type rustWriter struct {
	strings.Builder
	*model
	errs []error
}

func (w *rustWriter) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// doc writes a comment in which what is bracketed is no link.
func (w *rustWriter) doc(indent, text string) {
	comment(&w.Builder, indent+"///", strings.NewReplacer("[", `\[`, "]", `\]`, "<", `\<`).Replace(text))
}

// isNew notes what Rust has no form for yet.
func (w *rustWriter) isNew(what string) { w.errs = append(w.errs, errNew(what, "Rust")) }

// rustAPI is the part of the Rust SDK that follows from the declarations.
func rustAPI(m *model) (string, error) {
	w := &rustWriter{model: m}
	w.line("// %s", notice)
	w.line("//! Numbers of the interface, and a function for each field, method, verdict and service.\n")
	w.line("use crate::error::{Error, Result};\nuse crate::host;\nuse crate::value::Value;\nuse crate::verdict::Verdict;")
	w.constants()
	w.objects()
	w.verdicts()
	w.services()
	w.stages()
	return w.String(), errors.Join(w.errs...)
}

func (w *rustWriter) constants() {
	what := ""
	for _, c := range w.numbers() {
		if c.what != what {
			if what != "" {
				w.line("}")
			}
			w.line("\n/// Numbers of the interface.\n#[allow(dead_code, missing_docs)]\npub%s mod %s {", pick(c.what == "errno", "", "(crate)"), c.what)
		}
		what = c.what
		w.line("    pub const %s: %s = %d;", upper(c.name), pick(what == "errno", "i32", "u32"), c.n)
	}
	w.line("}")
}

func (w *rustWriter) objects() {
	for _, o := range w.Objects {
		if o.Inline {
			w.small(o)
		}
	}
	for _, o := range w.Objects {
		if o.Inline {
			continue
		}
		name := firstUpper(o.Name)
		w.line("")
		w.doc("", firstUpper(o.Doc)+".")
		w.line("pub struct %s {\n    pub(crate) index: u32,\n}\n\nimpl %s {", name, name)
		w.line("    pub(crate) fn at(index: u32) -> %s {\n        %s { index }\n    }", name, name)
		for _, f := range o.Fields {
			w.field(o, f)
		}
		for _, m := range o.Methods {
			w.method(o, m)
		}
		w.line("}")
	}
}

// small is an object that comes whole.
func (w *rustWriter) small(o objectModel) {
	name := firstUpper(o.Name)
	w.line("")
	w.doc("", firstUpper(o.Doc)+".")
	w.line("#[derive(Clone, Debug, Default, PartialEq)]\npub struct %s {", name)
	for _, f := range o.Fields {
		typ, _ := rustType(f.Type)
		w.doc("    ", firstUpper(f.Doc)+".")
		w.line("    pub %s: %s,", f.Name, typ)
	}
	w.line("}\n\nimpl %s {\n    fn of(mut v: Value) -> %s {\n        %s {", name, name, name)
	for _, f := range o.Fields {
		_, from := rustType(f.Type)
		w.line("            %s: %s,", f.Name, fmt.Sprintf(from, fmt.Sprintf("v.take(%q)", f.Name)))
	}
	w.line("        }\n    }\n}")
	if o.Name == "address" {
		w.line("\nimpl From<&Address> for Value {\n    fn from(v: &Address) -> Value {\n        Value::Text(v.text.clone())\n    }\n}")
		w.line("\nimpl From<Address> for Value {\n    fn from(v: Address) -> Value {\n        Value::Text(v.text)\n    }\n}")
	}
}

// rustType is the type of what a field or service yields, and how it is made of a value.
func rustType(t typ) (typ, from string) {
	switch {
	case t.Kind == textType && t.Optional:
		return "Option<String>", "%s.into_text()"
	case t.Kind == textType:
		return "String", "%s.into_text().unwrap_or_default()"
	case t.Kind == intType && t.Optional:
		return "Option<i64>", "%s.int()"
	case t.Kind == intType:
		return "i64", "%s.int().unwrap_or(0)"
	case t.Kind == boolType:
		return "bool", "%s.bool()"
	case (t.Kind == numberType || t.Kind == timeType) && t.Optional:
		return "Option<f64>", "%s.float()"
	case t.Kind == numberType || t.Kind == timeType:
		return "f64", "%s.float().unwrap_or(0.0)"
	case t.Kind == listType && t.Elem.Kind == textType:
		return "Vec<String>", "%s.into_texts()"
	}
	return "Value", "%s"
}

func (w *rustWriter) field(o objectModel, f fieldModel) {
	read := fmt.Sprintf("host::field(object::%s, self.index, field::%s)", upper(o.Name), upper(o.Name+"_"+f.Name))
	get := func(typ, expr string) {
		w.line("")
		w.doc("    ", firstUpper(f.Doc)+".")
		w.line("    pub fn %s(&self) -> %s {\n        %s\n    }", strings.Replace(f.Name, "type", "r#type", 1), typ, expr)
	}
	switch name := f.Type.Name; {
	case f.Type.Kind == objectType && name == "rcpt":
		w.isNew("the one recipient " + o.Name + "." + f.Name)
	case f.Type.Kind == objectType && !w.inline(name) && f.Type.Optional: // there if its first field is
		get("Option<"+firstUpper(name)+">", fmt.Sprintf("match host::field(object::%s, 0, 0) {\n            Value::Nil => None,\n            _ => Some(%s::at(0)),\n        }", upper(name), firstUpper(name)))
	case o.Name == "part" && name == "content":
		get("Content", "Content::at(self.index + 1)")
	case f.Type.Kind == objectType && !w.inline(name):
		get(firstUpper(name), firstUpper(name)+"::at(0)")
	case f.Type.Kind == objectType && f.Type.Optional:
		get("Option<"+firstUpper(name)+">", "match "+read+" {\n            Value::Nil => None,\n            v => Some("+firstUpper(name)+"::of(v)),\n        }")
	case f.Type.Kind == objectType:
		get(firstUpper(name), firstUpper(name)+"::of("+read+")")
	case f.Type.Kind == listType && f.Type.Elem.Name == "rcpt": // by hand
	case f.Type.Kind == listType && f.Type.Elem.Kind == objectType && !w.inline(f.Type.Elem.Name): // by hand
	default:
		typ, from := rustType(f.Type)
		get(typ, fmt.Sprintf(from, read))
		switch f.Name {
		case "facts":
			w.setter(o, "set_fact", "Sets a fact, by its full name.", "name.into()")
		case "my":
			w.setter(o, "set_my", "Sets a fact of the plugin's own, by its key.", `format!(".{name}").into()`)
		}
	}
}

func (w *rustWriter) setter(o objectModel, method, doc, name string) {
	w.line("")
	w.doc("    ", doc)
	w.line("    pub fn %s(&self, name: &str, value: impl Into<Value>) -> Result<()> {\n        host::edit(edit::FACT, object::%s, self.index, Value::List(vec![%s, value.into()]))\n    }", method, upper(o.Name), name)
}

// arg is the type of an argument and how a value is made of it. What may be left out takes (), too.
func (w *rustWriter) arg(a api.Arg) (typ, value string) {
	switch {
	case a.Type == api.Named || a.Type == api.Function:
		w.isNew("the argument " + a.Name + ", " + a.Type.String() + ",")
	case a.Optional:
	case a.Type == api.Text:
		return "impl AsRef<[u8]>", "Value::of_text(" + a.Name + ".as_ref())"
	case a.Type == api.Int:
		return "i64", "Value::Int(" + a.Name + ")"
	case a.Type == api.Number || a.Type == api.Seconds || a.Type == api.Time:
		return "f64", "Value::Float(" + a.Name + ")"
	case a.Type == api.Bool:
		return "bool", "Value::Bool(" + a.Name + ")"
	}
	return "impl Into<Value>", a.Name + ".into()"
}

func (w *rustWriter) method(o objectModel, m methodModel) {
	if m.byHand() {
		return
	}
	edit := fmt.Sprintf("host::edit(edit::%s, object::%s, self.index, ", upper(m.Name), upper(o.Name))
	w.line("")
	if len(m.Shape) == 1 && m.Shape[0].Type == api.Named {
		var keys []string
		for _, a := range m.Shape[0].Of {
			keys = append(keys, fmt.Sprintf("`%s`: %s", a.Name, a.Doc))
		}
		w.doc("    ", m.doc()+" The entries may be "+strings.Join(keys, "; ")+".")
		w.line("    pub fn %s<'a, V: Into<Value>>(&self, entries: impl IntoIterator<Item = (&'a str, V)>) -> Result<()> {\n        %sentries.into_iter().collect())\n    }", m.Name, edit)
		return
	}
	var params, values []string
	for _, a := range m.Shape {
		typ, v := w.arg(a)
		params, values = append(params, ", "+a.Name+": "+typ), append(values, v)
	}
	argument := "Value::List(vec![" + strings.Join(values, ", ") + "])"
	if len(values) == 1 {
		argument = values[0]
	}
	w.doc("    ", m.doc())
	w.line("    pub fn %s(&self%s) -> Result<()> {\n        %s%s)\n    }", m.Name, strings.Join(params, ""), edit, argument)
}

// verdicts are constructors by kind, and a setter for each name; what is the same for all kinds is in sdk/rust/src/verdict.rs.
func (w *rustWriter) verdicts() {
	w.line("\nimpl Verdict {")
	var keys []api.Arg
	for i, v := range w.Verdicts {
		if v.Each {
			continue // by hand
		}
		doc := firstUpper(v.KindInfo.Doc) + "."
		if len(v.Keys) > 0 {
			names := make([]string, len(v.Keys))
			for i, a := range v.Keys {
				names[i] = "`" + a.Name + "`"
				if !slices.ContainsFunc(keys, func(have api.Arg) bool { return have.Name == a.Name }) {
					keys = append(keys, a)
				}
			}
			doc += " Setters: " + strings.Join(names, ", ") + "."
		}
		if i > 0 {
			w.line("")
		}
		w.doc("    ", doc)
		kind := "verdict::" + upper(v.Name)
		if v.oneText() {
			w.line("    pub fn %s(%s: impl AsRef<[u8]>) -> Verdict {\n        Verdict::of(%s).%s(%s)\n    }", v.Name, v.Word, kind, v.Word, v.Word)
		} else {
			w.line("    pub fn %s() -> Verdict {\n        Verdict::of(%s)\n    }", v.Name, kind)
		}
	}
	for _, a := range keys {
		a.Optional = a.Type == api.Address // text or an Address
		typ, v := w.arg(a)
		w.line("")
		w.doc("    ", firstUpper(a.Doc)+".")
		w.line("    pub fn %s(self, %s: %s) -> Verdict {\n        self.set(%q, %s)\n    }", a.Name, a.Name, typ, a.Name, v)
	}
	w.line("}")
}

// rustName avoids the words of the language.
func rustName(s string) string {
	return pick(slices.Contains([]string{"type", "match", "ref", "move", "use", "in"}, s), "r#"+s, s)
}

func (w *rustWriter) services() {
	for _, s := range w.Services {
		if s.Plain {
			w.service("", s.Funcs[0])
			continue
		}
		w.line("")
		w.doc("", s.Doc)
		w.line("pub mod %s {\n    #[allow(unused_imports)]\n    use super::{host, Result, Value};", s.Name)
		for _, f := range s.Funcs {
			w.service("    ", f)
		}
		w.line("}")
	}
}

func (w *rustWriter) service(indent string, f funcModel) {
	var params, values []string
	for _, a := range f.Args {
		name := rustName(a.Name)
		typ := serviceArgType(a)
		v := map[string]string{"impl AsRef<[u8]>": "Value::of_text(" + name + ".as_ref())", "i64": "Value::Int(" + name + ")", "f64": "Value::Float(" + name + ")", "bool": "Value::Bool(" + name + ")"}[typ]
		if v == "" {
			v = name + ".into()"
		}
		params, values = append(params, name+": "+typ), append(values, v)
	}
	call := fmt.Sprintf("host::call(%q, &[%s])?", f.Name, strings.Join(values, ", "))
	w.line("")
	w.doc(indent, f.doc())
	begin := indent + "pub fn " + rustName(f.Short) + "(" + strings.Join(params, ", ") + ") -> Result<"
	switch len(f.Results) {
	case 0:
		w.line("%s()> {\n%s    %s;\n%s    Ok(())\n%s}", begin, indent, call, indent, indent)
	case 1:
		typ, from := rustType(f.Results[0])
		w.line("%s%s> {\n%s    Ok(%s)\n%s}", begin, typ, indent, fmt.Sprintf(from, call), indent)
	default:
		var types, parts []string
		for i, t := range f.Results {
			typ, from := rustType(t)
			types, parts = append(types, typ), append(parts, fmt.Sprintf(from, fmt.Sprintf("v.at(%d).clone()", i)))
		}
		w.line("%s(%s)> {\n%s    let v = %s;\n%s    Ok((%s))\n%s}", begin, strings.Join(types, ", "), indent, call, indent, strings.Join(parts, ", "), indent)
	}
}

// serviceArgType is the type of a service's argument. What may be left out takes (), too.
func serviceArgType(a serviceArg) string {
	if !a.Optional {
		switch a.Type.Kind {
		case textType:
			return "impl AsRef<[u8]>"
		case intType:
			return "i64"
		case numberType:
			return "f64"
		case boolType:
			return "bool"
		}
	}
	return "impl Into<Value>"
}

// stages is what a plugin implements, and the choice by stage.
func (w *rustWriter) stages() {
	w.line("\n/// A plugin: what makes it of its settings, and a handler for each stage that plugin.toml has a hook for.\n///\n/// A stage that plugin.toml has and the plugin does not is an error when it is asked.")
	w.line("#[allow(unused_variables)]\npub trait Plugin: Sized + 'static {")
	w.line("    /// Makes an instance of the plugin's settings, a map. An error keeps the plugin from loading. No service works here but re, json,\n    /// hash, addr and log.\n    fn load(config: &Value) -> Result<Self>;")
	for _, s := range w.Stages {
		w.line("")
		w.doc("    ", stageDoc(s))
		object := s.Scope.Object()
		w.line("    fn %s(&self, %s: &%s) -> Result<%s> {\n        Err(unhandled(%q))\n    }", s.Name, object, firstUpper(object), pick(s.Verdicts == 0, "()", "Verdict"), s.Name)
	}
	w.line("}\n\nfn unhandled(stage: &str) -> Error {\n    Error::new(format!(\"plugin.toml has a hook for {stage}, and the code handles no such stage\"))\n}\n")
	w.line("/// Calls the handler of a stage.\npub(crate) fn dispatch<P: Plugin>(plugin: &P, stage: u32) -> Result<Verdict> {\n    match stage {")
	for _, s := range w.Stages {
		w.line("        stage::%s => plugin.%s(&%s::at(0))%s,", upper(s.Name), s.Name, firstUpper(s.Scope.Object()), pick(s.Verdicts == 0, ".map(|_| Verdict::next())", ""))
	}
	w.line("        _ => Err(unhandled(\"a new stage\")),\n    }\n}")
}
