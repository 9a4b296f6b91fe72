package main

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// conformanceRust is what the plugin in Rust of plugins/conformance reaches by name, called with the types of its SDK.
func conformanceRust(m *model) string {
	w := &rustWriter{model: m}
	w.line("// %s", notice)
	w.line("use crate::plain::*;\nuse crate::Case;\nuse stagepost::*;\n\npub enum Object<'a> {")
	for _, o := range m.Objects {
		if !o.Inline {
			w.line("    %s(&'a %s),", firstUpper(o.Name), firstUpper(o.Name))
		}
	}
	w.line("}\n\nimpl Plugin for Case {\n    fn load(config: &Value) -> Result<Self> {\n        Case::new(config)\n    }")
	for _, s := range m.Stages {
		object := firstUpper(s.Scope.Object())
		w.line("    fn %s(&self, o: &%s) -> Result<%s> {\n        self.run(Object::%s(o))%s\n    }", s.Name, object, pick(s.Verdicts == 0, "()", "Verdict"), object, pick(s.Verdicts == 0, ".map(|_| ())", ""))
	}
	w.line("}\n\n/// What a field holds that has fields of its own: one, or several recipients.\npub fn member(o: &Object, name: &str) -> Vec<Object<'static>> {\n    match (o, name) {")
	for _, o := range m.Objects {
		for _, f := range o.Fields {
			this := fmt.Sprintf("        (Object::%s(o), %q) => ", firstUpper(o.Name), f.Name)
			switch t := f.Type; {
			case o.Inline:
			case t.Kind == objectType && !m.inline(t.Name):
				w.line("%svec![Object::%s(keep(o.%s()%s))],", this, firstUpper(t.Name), f.Name, pick(t.Optional, ".expect(\"it is there\")", ""))
			case t.Kind == listType && (t.Elem.Name == "rcpt" || t.Elem.Name == "part"):
				w.line("%so.%s().map(|r| Object::%s(keep(r))).collect(),", this, f.Name, firstUpper(t.Elem.Name))
			}
		}
	}
	w.line("        _ => panic!(\"no member {name}\"),\n    }\n}\n\npub fn fields(o: &Object) -> Value {\n    match o {")
	for _, o := range m.Objects {
		if !o.Inline {
			w.line("        Object::%s(o) => map(vec![", firstUpper(o.Name))
			w.entries(o)
			w.line("        ]),")
		}
	}
	w.line("    }\n}")
	for _, o := range m.Objects {
		if o.Inline {
			w.line("\nfn plain_%s(o: %s) -> Value {\n    map(vec![", o.Name, firstUpper(o.Name))
			w.entries(o)
			w.line("    ])\n}")
		}
	}
	w.answers()
	w.line("\npub fn edit(o: &Object, method: &str, a: &[Value]) -> Result<()> {\n    match (o, method) {")
	for _, o := range m.Objects {
		for _, method := range o.Methods {
			if method.byHand() {
				continue
			}
			var args []string
			for i, a := range method.Shape {
				if a.Type == api.Named {
					args = append(args, fmt.Sprintf("named(a, %d)", i))
					continue
				}
				typ, _ := w.arg(a)
				args = append(args, taken(typ, i))
			}
			w.line("        (Object::%s(o), \"%s.%s\") => o.%s(%s),", firstUpper(o.Name), o.Name, method.Name, method.Name, strings.Join(args, ", "))
		}
	}
	w.line("        _ => panic!(\"no edit {method}\"),\n    }\n}\n\npub fn service(name: &str, a: &[Value]) -> Result<Value> {\n    match name {")
	for _, s := range m.Services {
		for _, f := range s.Funcs {
			var args []string
			for i, a := range f.Args {
				args = append(args, taken(serviceArgType(a), i))
			}
			path := rustName(f.Short)
			if !s.Plain {
				path = s.Name + "::" + path
			}
			into := ".map(Value::from)"
			if len(f.Results) > 1 {
				into = ".map(|r| Value::List(vec![r.0.into(), r.1.into()]))"
			}
			w.line("        %q => %s(%s)%s,", f.Name, path, strings.Join(args, ", "), into)
		}
	}
	w.line("        _ => panic!(\"no service {name}\"),\n    }\n}")
	return w.String()
}

// entries are the fields of an object o with their names.
func (w *rustWriter) entries(o objectModel) {
	for _, f := range o.Fields {
		get := "o." + strings.Replace(f.Name, "type", "r#type", 1) + pick(o.Inline, "", "()")
		expr := get + ".into()"
		switch t := f.Type; {
		case t.Kind == objectType && w.inline(t.Name) && t.Optional:
			expr = fmt.Sprintf("%s.map(plain_%s).into()", get, t.Name)
		case t.Kind == objectType && w.inline(t.Name):
			expr = fmt.Sprintf("plain_%s(%s)", t.Name, get)
		case t.Kind == objectType && t.Optional:
			expr = get + ".map(|_| \"object\").into()"
		case t.Kind == objectType:
			expr = "\"object\".into()"
		case t.Kind == factsType:
			expr = fmt.Sprintf("known(%s, %q)", get, pick(f.Name == "my", "known", "p.known"))
		case t.Kind == listType && t.Elem.Name == "rcpt":
			expr = "addresses(" + get + ")"
		case t.Kind == listType && t.Elem.Name == "part":
			expr = "types(" + get + ")"
		}
		w.line("            (%q, %s),", f.Name, expr)
	}
}

// answers makes a verdict, but for each, of what a case has.
func (w *rustWriter) answers() {
	w.line("\npub fn verdict(v: &Value) -> Verdict {\n    let mut out = match v.get(\"kind\").text() {")
	setters := map[string]bool{}
	var lines []string
	for _, v := range w.Verdicts {
		if v.Each || v.KindInfo.Kind == hooks.Next {
			continue
		}
		w.line("        Some(%q) => Verdict::%s(%s),", v.Name, v.Name, pick(v.oneText(), "\"\"", ""))
		for _, a := range v.Keys {
			if !setters[a.Name] {
				setters[a.Name] = true
				a.Optional = a.Type == api.Address
				typ, _ := w.arg(a)
				lines = append(lines, fmt.Sprintf("            %q => out.%s(%s),", a.Name, a.Name, strings.ReplaceAll(taken(typ, 0), "(a, 0)", "(std::slice::from_ref(value), 0)")))
			}
		}
	}
	w.line("        _ => Verdict::next(),\n    };\n    for (name, value) in v.entries() {\n        out = match name.as_str() {")
	w.line("%s\n            _ => out,\n        };\n    }\n    out\n}", strings.Join(lines, "\n"))
}

// taken is the i-th argument of a case in the type that a function of the SDK takes.
func taken(typ string, i int) string {
	read := map[string]string{"impl AsRef<[u8]>": "bytes", "i64": "int", "f64": "float", "bool": "truth"}[typ]
	if read == "" {
		read = "at"
	}
	return fmt.Sprintf("%s(a, %d)", read, i)
}
