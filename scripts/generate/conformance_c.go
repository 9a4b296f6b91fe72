package main

import (
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// conformanceC is what the plugin in C of plugins/conformance reaches by name, called with the types of its SDK. An object is its word and,
// for a recipient, the handle.
func conformanceC(m *model) string {
	w := &cWriter{model: m}
	w.line("// %s", notice)
	w.line("typedef struct {\n  const char *word;\n  sp_rcpt rcpt;\n} object;\n\nstatic bool is(object o, const char *word) { return sp_equal(sp_string(o.word), sp_string(word)); }\n")
	w.line("static sp_verdict run(object o);")
	var handlers []string
	for _, s := range m.Stages {
		object := s.Scope.Object()
		w.line("static sp_verdict on_%s(sp_%s o) {\n  (void)o;\n  return run((object){.word = %q%s});\n}", s.Name, object, object, pick(object == "rcpt", ", .rcpt = o", ""))
		handlers = append(handlers, fmt.Sprintf(".%s = on_%s", s.Name, s.Name))
	}
	w.line("#define HANDLERS %s\n", strings.Join(handlers, ", "))
	w.line("// The field of an object that has fields of its own; place is that of a recipient, from 1.\nstatic object member(object o, sp_text name, int64_t place) {\n  (void)place;")
	for _, o := range m.Objects {
		for _, f := range o.Fields {
			this := fmt.Sprintf("  if (is(o, %q) && sp_equal(name, SP(%q))) return (object){.word = ", o.Name, f.Name)
			switch t := f.Type; {
			case o.Inline:
			case t.Kind == objectType && !m.inline(t.Name):
				w.line("%s%q};", this, t.Name)
			case t.Kind == listType && t.Elem.Name == "part":
				w.line("%s\"part\"};", this) // the first
			case t.Kind == listType && t.Elem.Name == "rcpt":
				w.line("%s\"rcpt\", .rcpt = sp_%s_rcpt((sp_%s){0}, (uint32_t)place - 1)};", this, o.Name, o.Name)
			}
		}
	}
	w.line("  sp_die(\"no member %%.*s\", SP_ARG(name));\n}\n")
	for _, o := range m.Objects {
		if o.Inline {
			w.line("static sp_value plain_%s(sp_%s o) {\n  return SP_OF_MAP(%s);\n}\n", o.Name, o.Name, w.entries(o, "o"))
		}
	}
	w.line("static sp_value fields(object o) {")
	for _, o := range m.Objects {
		if o.Inline {
			continue
		}
		w.line("  if (is(o, %q)) {", o.Name)
		for _, f := range o.Fields {
			if t := f.Type; t.Kind == objectType && t.Optional {
				w.line("    sp_%s %s;\n    bool has_%s = sp_%s_%s(%s, &%s);", t.Name, f.Name, f.Name, o.Name, f.Name, o.cSelf(), f.Name)
				if !m.inline(t.Name) {
					w.line("    (void)%s;", f.Name)
				}
			}
		}
		w.line("    return SP_OF_MAP(%s);\n  }", w.entries(o, ""))
	}
	w.line("  sp_die(\"no object %%s\", o.word);\n}\n")
	w.answers()
	w.line("static sp_error edit(object o, sp_text method, sp_value a) {")
	for _, o := range m.Objects {
		for _, method := range o.Methods {
			if method.byHand() {
				continue
			}
			var args []string
			for i, a := range method.Shape {
				if a.Type == api.Named {
					for _, key := range a.Of {
						args = append(args, fmt.Sprintf(".%s = %s", key.Name, cFrom(w.arg(key, true), fmt.Sprintf("sp_get(sp_at(a, 1), SP(%q))", key.Name))))
					}
					continue
				}
				args = append(args, cFrom(w.arg(a, false), fmt.Sprintf("sp_at(a, %d)", i+1)))
			}
			w.line("  if (sp_equal(method, SP(\"%s.%s\"))) return sp_%s_%s(%s, %s);", o.Name, method.Name, o.Name, method.Name, o.cSelf(), strings.Join(args, ", "))
		}
	}
	w.line("  (void)o;\n  sp_die(\"no edit %%.*s\", SP_ARG(method));\n}\n\nstatic sp_error service(sp_text name, sp_value a, sp_value *result) {\n  sp_error e;\n  (void)a;\n  *result = SP_NO_VALUE;")
	for _, s := range m.Services {
		for _, f := range s.Funcs {
			var args []string
			for i, a := range f.Args {
				args = append(args, cFrom(cServiceArg(a), fmt.Sprintf("sp_at(a, %d)", i)))
			}
			w.line("  if (sp_equal(name, SP(%q))) {", f.Name)
			typ := cServiceResult(f)
			if f.Results != nil {
				w.line("    %s v;", typ)
				args = append(args, "&v")
			}
			w.line("    e = sp_%s(%s);", strings.ReplaceAll(f.Name, ".", "_"), strings.Join(args, ", "))
			if f.Results != nil {
				w.line("    *result = %s;", cOf(typ, "v"))
			}
			w.line("    return e;\n  }")
		}
	}
	w.line("  sp_die(\"no service %%.*s\", SP_ARG(name));\n}")
	return w.String()
}

// cSelf is the handle of an object in what conformanceC writes.
func (o objectModel) cSelf() string {
	return pick(o.Name == "rcpt", "o.rcpt", "(sp_"+o.Name+"){0}")
}

// entries are the fields of an object as pairs of a map; from is the struct of a small one.
func (w *cWriter) entries(o objectModel, from string) string {
	var out []string
	for _, f := range o.Fields {
		get := fmt.Sprintf("sp_%s_%s(%s)", o.Name, f.Name, o.cSelf())
		if from != "" {
			get = from + "." + f.Name
		}
		expr := cOf(cType(f.Type), get)
		switch t := f.Type; {
		case t.Kind == objectType && t.Optional && w.inline(t.Name):
			expr = fmt.Sprintf("has_%s ? plain_%s(%s) : SP_NO_VALUE", f.Name, t.Name, f.Name)
		case t.Kind == objectType && t.Optional:
			expr = fmt.Sprintf("has_%s ? sp_of_text(SP(\"object\")) : SP_NO_VALUE", f.Name)
		case t.Kind == objectType && w.inline(t.Name):
			expr = fmt.Sprintf("plain_%s(%s)", t.Name, get)
		case t.Kind == objectType:
			expr = "sp_of_text(SP(\"object\"))"
		case t.Kind == timeType && t.Optional:
			expr = fmt.Sprintf("%s != 0 ? %s : SP_NO_VALUE", get, expr)
		case t.Kind == factsType:
			expr = fmt.Sprintf("known(%s, SP(%q))", get, pick(f.Name == "my", "known", "p.known"))
		case t.Kind == listType && t.Elem.Name == "part":
			expr = "types(" + get + ")"
		case t.Kind == listType && t.Elem.Name == "rcpt":
			expr = fmt.Sprintf("addresses(%s, sp_%s_rcpt(%s, 0))", get, o.Name, o.cSelf())
		}
		out = append(out, fmt.Sprintf("{SP(%q), %s}", f.Name, expr))
	}
	return strings.Join(out, ", ")
}

// answers makes a verdict, but for each, of what a case has.
func (w *cWriter) answers() {
	w.line("static sp_verdict verdict(sp_value v) {\n  sp_text kind = sp_as_text(sp_get(v, SP(\"kind\")));")
	for _, v := range w.Verdicts {
		if v.Each || v.KindInfo.Kind == hooks.Next {
			continue
		}
		var named []string
		for _, a := range v.table() {
			named = append(named, fmt.Sprintf(".%s = %s", a.Name, cFrom(w.arg(a, false), fmt.Sprintf("sp_get(v, SP(%q))", a.Name))))
		}
		word := fmt.Sprintf("sp_%s(sp_as_text(sp_get(v, SP(%q))))", v.Name, v.Word)
		with := fmt.Sprintf("sp_%s_with(%s)", v.Name, strings.Join(named, ", "))
		switch inTable := len(v.table()) == len(v.Keys); {
		case named == nil:
			w.line("  if (sp_equal(kind, SP(%q))) return %s;", v.Name, word)
		case inTable:
			w.line("  if (sp_equal(kind, SP(%q))) return %s;", v.Name, with)
		default: // what a text stands for is not in the table, as the class of accept
			w.line("  if (sp_equal(kind, SP(%q))) return sp_get(v, SP(%q)).type ? %s : %s;", v.Name, v.Word, word, with)
		}
	}
	w.line("  return SP_NEXT;\n}\n")
}
