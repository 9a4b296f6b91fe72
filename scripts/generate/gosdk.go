package main

import (
	"errors"
	"fmt"
	"go/format"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
)

// goSDK is what sdk/go has of the declarations: a type for each object and verdict, a method for each field and edit, a function for each of the
// services.
func goSDK(m *model) (string, error) {
	w := goWriter{model: m}
	w.line("// %s", notice)
	w.line("package stagepost\n")
	w.line("import (\n\"time\"\n\n\"github.com/stagepost/stagepost/sdk/go/internal/cbor\"\n)\n")
	w.numbers()
	w.stages()
	w.verdicts()
	for _, o := range m.Objects {
		if o.Inline {
			w.inline(o)
		} else {
			w.object(o)
		}
	}
	for _, s := range m.Services {
		w.service(s)
	}
	if strings.Contains(w.b.String(), "notNil(") || strings.Contains(w.b.String(), "optional(") {
		w.line("// optional is an argument that is left out by its zero value.\nfunc optional[T comparable](v T) any {\nvar zero T\nreturn notNil(v != zero, v)\n}\n")
		w.line("func notNil(given bool, v any) any {\nif !given {\nreturn nil\n}\nreturn v\n}")
	}
	if len(w.errs) > 0 {
		return "", errors.Join(w.errs...)
	}
	text, err := format.Source([]byte(w.b.String()))
	if err != nil {
		return "", fmt.Errorf("sdk/go: %w", err)
	}
	return string(text), nil
}

type goWriter struct {
	*model
	b    strings.Builder
	errs []error
}

func (w *goWriter) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *goWriter) fail(format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf(format, args...))
}

// doc writes a comment, in lines of a length that can be read.
func (w *goWriter) doc(text string) {
	line := "//"
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > 118 {
			w.line("%s", line)
			line = "//"
		}
		line += " " + word
	}
	w.line("%s", line)
}

// goName is a name of the declarations as Go writes it: local_ip is LocalIP.
func goName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if slices.Contains([]string{"id", "ip", "mx", "kv", "dns", "json", "http", "tls", "url", "esmtp", "hmac", "spf", "dkim", "dmarc", "arc", "html"}, part) || part == "sha256" {
			b.WriteString(strings.ToUpper(part))
		} else if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// goParam is the name of a parameter.
func goParam(name string) string {
	s := goName(name)
	if s == strings.ToUpper(s) {
		s = strings.ToLower(s)
	} else {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	if slices.Contains([]string{"type", "func", "map", "range", "var", "default"}, s) {
		s += "_"
	}
	return s
}

// goReceiver is what methods of an object call it; r is what is read.
func goReceiver(object string) string {
	if object[0] == 'r' {
		return object
	}
	return object[:1]
}

func (w *goWriter) numbers() {
	w.line("// What the server answers instead of a value.\nconst (")
	texts := make([]string, 1)
	for _, e := range w.Errnos {
		w.line("Err%s = %d // %s", goName(e.Name), e.Code, e.Doc)
		for len(texts) <= -e.Code {
			texts = append(texts, "")
		}
		texts[-e.Code] = e.Doc
	}
	w.line(")\n")
	w.line("var errnos = [...]string{")
	for _, t := range texts {
		w.line("%q,", t)
	}
	w.line("}\n\n// Levels of the log.\nconst (")
	for i, l := range w.Levels {
		w.line("level%s = %d", goName(l), i)
	}
	w.line(")\n\nconst (")
	for i, e := range w.Edits {
		w.line("edit%s = %d", goName(e), i)
	}
	w.line(")\n\nvar editNames = [...]string{")
	for _, e := range w.Edits {
		w.line("%q,", e)
	}
	w.line("}\n\nvar stageNames = [...]string{")
	for _, s := range w.Stages {
		w.line("%q,", s.Name)
	}
	w.line("}\n\nconst (")
	for i := hooks.ScopeSession; i <= hooks.ScopeTick; i++ {
		w.line("scope%s = %d", goName(i.Object()), i)
	}
	w.line(")\n\nconst (")
	for _, o := range w.Objects {
		if !o.Inline {
			w.line("object%s = %d", goName(o.Name), o.Number)
		}
	}
	w.line(")\n")
	w.table()
}

// table is what tests of plugins look names up in.
func (w *goWriter) table() {
	list := func(names []string) string { return strings.ReplaceAll(fmt.Sprintf("%#v", names), "[]string", "") }
	var verdicts, objects []string
	for _, v := range w.Verdicts {
		verdicts = append(verdicts, v.Name)
	}
	for _, o := range w.Objects {
		objects = append(objects, o.Name)
	}
	w.line("// Numbers are the names of all there is; what is tested by package plugintest needs them.\nfunc Numbers() NumberTable {\nreturn NumberTable{")
	w.line("Stages: stageNames[:], Edits: editNames[:], Verdicts: []string%s, Levels: []string%s, Objects: []string%s,", list(verdicts), list(w.Levels), list(objects))
	w.line("Fields: map[string][]string{")
	for _, o := range w.Objects {
		var fields []string
		for _, f := range o.Fields {
			fields = append(fields, f.Name)
		}
		w.line("%q: %s,", o.Name, list(fields))
	}
	w.line("},\n}\n}\n")
}

func (w *goWriter) stages() {
	for _, s := range w.Stages {
		name, object := goName(s.Name), goName(s.Scope.Object())
		may := "takes no verdict but nil."
		if names := s.Verdicts.Names(); len(names) > 0 {
			may = "may answer " + strings.Join(names, ", ") + ". When no plugin answers: " + s.Default + "."
		}
		w.doc(fmt.Sprintf("On%s registers the handler of the stage %s: %s. It %s", name, s.Name, s.Asked, may))
		w.line("func On%s(h func(%s %s) Verdict) {\non(%d, scope%s, func() Verdict { return h(%s{}) })\n}\n", name, strings.ToLower(object[:1]), object, s.Stage, object, object)
	}
}

// argType is the type of a named argument of a verdict, or of one of a method.
func (w *goWriter) argType(a api.Arg) string {
	switch a.Type {
	case api.Text, api.Address:
		return "string"
	case api.Int:
		return "int"
	case api.Number:
		return "float64"
	case api.Bool:
		return "bool"
	case api.Seconds:
		return "time.Duration"
	case api.Time:
		return "time.Time"
	case api.Texts, api.Addresses:
		return "[]string"
	case api.TextMap:
		return "map[string]string"
	}
	w.fail("sdk/go: the argument %s, %s, has no type in Go", a.Name, a.Type)
	return "any"
}

// pair writes the statements that count and append a named argument that is not the zero value; pointer is true where nil is.
func (w *goWriter) pair(of string, a api.Arg, pointer bool) (given, put string) {
	v := of + "." + goName(a.Name)
	given = v + ` != ""`
	value := v
	if pointer && a.Type != api.Time && a.Type != api.Texts && a.Type != api.Addresses {
		given, value = v+" != nil", "*"+v
	} else {
		switch a.Type {
		case api.Int, api.Number, api.Seconds:
			given = v + " != 0"
		case api.Bool:
			given = v
		case api.Time:
			given = "!" + v + ".IsZero()"
		case api.Texts, api.Addresses, api.TextMap:
			given = "len(" + v + ") > 0"
		}
	}
	switch a.Type {
	case api.Text, api.Address:
		put = "cbor.AppendText(b, " + value + ")"
	case api.Int:
		put = "cbor.AppendInt(b, int64(" + value + "))"
	case api.Number:
		put = "cbor.AppendFloat(b, " + value + ")"
	case api.Bool:
		put = "cbor.AppendBool(b, " + value + ")"
	case api.Seconds:
		put = "cbor.AppendFloat(b, " + value + ".Seconds())"
	case api.Time:
		put = "cbor.AppendFloat(b, secondsOf(" + value + "))"
	case api.Texts, api.Addresses:
		put = "cbor.AppendTexts(b, " + value + ")"
	case api.TextMap:
		put = "cbor.AppendTextMap(b, " + value + ")"
	}
	return given, put
}

// namedMap writes statements that append the map of named arguments; fixed are pairs that always stand there.
func (w *goWriter) namedMap(of string, args []api.Arg, fixed int, pointer bool) {
	w.line("n := %d", fixed)
	for _, a := range args {
		given, _ := w.pair(of, a, pointer)
		w.line("if %s {\nn++\n}", given)
	}
	w.line("b = cbor.AppendMap(b, n)")
}

func (w *goWriter) namedPairs(of string, args []api.Arg, pointer bool) {
	for _, a := range args {
		given, put := w.pair(of, a, pointer)
		w.line("if %s {\nb = cbor.AppendText(b, %q)\nb = %s\n}", given, a.Name, put)
	}
}

func (w *goWriter) verdicts() {
	for _, v := range w.Verdicts {
		if v.KindInfo.Kind == hooks.Next {
			continue
		}
		name := goName(v.Name)
		w.doc(fmt.Sprintf("%s is a verdict: %s.", name, v.Doc))
		if v.Form.Each {
			w.line("type %s []Verdict\n", name)
			w.doc(fmt.Sprintf("%sOf asks a function for the verdict on each recipient.", name))
			w.line("func %sOf(rcpts []Rcpt, h func(r Rcpt) Verdict) %s {\nv := make(%s, len(rcpts))\nfor i, r := range rcpts {\nv[i] = h(r)\n}\nreturn v\n}\n", name, name, name)
			w.line("func (v %s) append(b []byte) (_ []byte, err error) {", name)
			w.line("b = cbor.AppendInt(cbor.AppendText(cbor.AppendMap(b, 2), \"kind\"), %d)", v.KindInfo.Kind)
			w.line("b = cbor.AppendArray(cbor.AppendText(b, \"verdicts\"), len(v))")
			w.line("for _, e := range v {\nif e == nil {\nb = cbor.AppendNil(b)\n} else if b, err = e.append(b); err != nil {\nreturn nil, err\n}\n}\nreturn b, nil\n}\n")
			continue
		}
		w.line("type %s struct {", name)
		for _, a := range v.Form.Keys {
			doc := a.Doc
			if a.Type == api.Seconds {
				if doc = strings.TrimPrefix(doc, "seconds "); strings.Contains(doc, "at most") {
					doc += " s"
				}
			}
			w.line("%s %s // %s", goName(a.Name), w.argType(a), doc)
		}
		w.line("}\n")
		w.line("func (v %s) append(b []byte) ([]byte, error) {", name)
		w.namedMap("v", v.Form.Keys, 1, false)
		w.line("b = cbor.AppendInt(cbor.AppendText(b, \"kind\"), %d)", v.KindInfo.Kind)
		w.namedPairs("v", v.Form.Keys, false)
		w.line("return b, nil\n}\n")
	}
}

// typeOf is a type in Go; records get a type of their own, which is called name.
func (w *goWriter) typeOf(t typ, name string) string {
	switch t.Kind {
	case textType:
		return "string"
	case intType:
		return "int"
	case numberType:
		return "float64"
	case boolType:
		return "bool"
	case timeType:
		return "time.Time"
	case anyType:
		return "any"
	case listType:
		return "[]" + w.typeOf(*t.Elem, name)
	case mapType:
		return "map[string]" + w.typeOf(*t.Elem, name)
	case factsType:
		return "Facts"
	case recordType:
		if t.Optional {
			return "*" + name
		}
		return name
	case objectType:
		if t.Optional {
			return "*" + goName(t.Name)
		}
		return goName(t.Name)
	}
	w.fail("sdk/go: %s has no type in Go", name)
	return "any"
}

func (w *goWriter) isInline(object string) bool {
	return slices.ContainsFunc(w.Objects, func(o objectModel) bool { return o.Name == object && o.Inline })
}

// reading is the expression that reads a value from r, a *cbor.Reader.
func (w *goWriter) reading(t typ, name string) string {
	switch t.Kind {
	case textType:
		return "r.Text()"
	case intType:
		return "int(r.Int())"
	case numberType:
		return "r.Float()"
	case boolType:
		return "r.Bool()"
	case timeType:
		return "timeOf(r.Float())"
	case anyType:
		return "r.Value()"
	case listType:
		return "listOf(r, " + w.reader(*t.Elem, name) + ")"
	case mapType:
		return "mapOf(r, " + w.reader(*t.Elem, name) + ")"
	case recordType, objectType:
		if t.Optional {
			return "given(r, " + w.reader(t, name) + ")"
		}
		return w.reader(t, name) + "(r)"
	}
	w.fail("sdk/go: %s cannot be read", name)
	return "nil"
}

// reader is a function that reads a value.
func (w *goWriter) reader(t typ, name string) string {
	switch t.Kind {
	case textType:
		return "(*cbor.Reader).Text"
	case anyType:
		return "(*cbor.Reader).Value"
	case recordType:
		return "read" + name
	case objectType:
		return "read" + goName(t.Name)
	}
	return "func(r *cbor.Reader) " + w.typeOf(t, name) + " { return " + w.reading(t, name) + " }"
}

// records writes the types of the records in a type.
func (w *goWriter) records(t typ, name, doc string) {
	switch t.Kind {
	case listType, mapType:
		w.records(*t.Elem, name, doc)
	case recordType:
		w.doc(name + " is " + doc + ".")
		w.structure(name, t.Fields)
	}
}

// structure writes a struct and the function that reads it.
func (w *goWriter) structure(name string, fields []fieldModel) {
	w.line("type %s struct {", name)
	for _, f := range fields {
		w.line("%s %s // %s", goName(f.Name), w.typeOf(f.Type, name+goName(f.Name)), f.Doc)
	}
	w.line("}\n\nfunc read%s(r *cbor.Reader) (v %s) {\nfor range r.Map() {\nswitch string(r.Key()) {", name, name)
	for _, f := range fields {
		w.line("case %q:\nv.%s = %s", f.Name, goName(f.Name), w.reading(f.Type, name+goName(f.Name)))
	}
	w.line("default:\nr.Value()\n}\n}\nreturn v\n}\n")
	for _, f := range fields {
		w.records(f.Type, name+goName(f.Name), "an item of "+f.Name)
	}
}
