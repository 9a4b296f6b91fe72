package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/manifest"
	"github.com/stagepost/stagepost/plugins/service"
)

// stubs are the declarations for lua-language-server, in LuaCATS annotations.
func stubs() (string, error) {
	read, err := api.New()
	if err != nil {
		return "", err
	}
	w := writer{api: read}
	w.line("-- " + notice)
	w.line("-- What plugins are written against, for lua-language-server. Nothing here runs.")
	w.line("---@meta _")
	w.header()
	w.stages()
	w.verdicts()
	w.objects()
	w.services()
	return w.b.String(), errors.Join(w.errs...)
}

// writer gathers the text, and what in the declarations it cannot translate.
type writer struct {
	api  *api.API
	b    strings.Builder
	errs []error
}

func (w *writer) line(format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	w.b.WriteString(format + "\n")
}

// begin starts a block of annotations with its text.
func (w *writer) begin(doc ...string) {
	w.line("")
	w.doc(doc...)
}

// doc writes lines of text; "" ends a paragraph.
func (w *writer) doc(doc ...string) {
	for _, text := range doc {
		w.line("---%s", strings.ReplaceAll(text, "\n", " "))
	}
}

// field is a line of a class. Its text begins with a letter, so that it cannot be read as a part of the type.
func (w *writer) field(name, typ, doc string) {
	w.line("%s", strings.TrimRight(fmt.Sprintf("---@field %s %s %s", name, typ, strings.ReplaceAll(doc, "\n", " ")), " "))
}

// must notes an error of a declaration and passes its type on.
func (w *writer) must(where, typ string, err error) string {
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("%s: %w", where, err))
	}
	return typ
}

// function writes the annotations and the head of a function.
func (w *writer) function(name string, params []param, result string) {
	var names []string
	for _, p := range params {
		w.line("---@param %s %s", p.name, p.typ)
		names = append(names, p.bare())
	}
	if result != "" {
		w.line("---@return %s", result)
	}
	w.line("function %s(%s) end", name, strings.Join(names, ", "))
}

// sectionClass names the class of a table in a header: "hook.STAGE.when" is stagepost.header.when.
func sectionClass(section string) string {
	class := "stagepost.header"
	for part := range strings.SplitSeq(section, ".") {
		if part != "" && part == strings.ToLower(part) {
			class = "stagepost.header." + part
		}
	}
	return class
}

func (w *writer) header() {
	sections := manifest.Document()
	known := func(name string) bool {
		return slices.ContainsFunc(sections, func(s manifest.Section) bool { return s.Name == name })
	}
	for _, s := range sections {
		w.begin()
		w.line("---@class (exact) %s", sectionClass(s.Name))
		for _, k := range s.Keys {
			at := strings.TrimPrefix(s.Name+"."+k.Name, ".")
			name := k.Name
			if !k.Required {
				name += "?"
			}
			typ := headerTypes()[at]
			if typ == "" {
				var err error
				typ, err = formType(k.Form, capabilityValues(s.Name, k.Name))
				w.must("the header's key "+at, typ, err)
			}
			switch {
			case typ != "":
			case known(at):
				typ = sectionClass(at)
			case known(at + ".STAGE"):
				typ = sectionClass(at) + "s"
			case known(at + ".NAME"):
				typ = "table<string, " + sectionClass(at) + ">"
			default:
				w.must("the header's key "+at, "", errors.New("it is a table, but manifest.Document has no section for it"))
			}
			w.field(name, typ, k.Doc)
		}
	}
	w.begin()
	w.line("---@class (exact) %ss", sectionClass("hook.STAGE"))
	for _, s := range hooks.Stages() {
		class := sectionClass("hook." + s.Name)
		if !known("hook." + s.Name) {
			class = sectionClass("hook.STAGE")
		}
		w.field(s.Name+"?", class, "")
	}
	w.begin("The plugin's header: the first statement of its own file, a literal that is read and never run.")
	w.function("plugin", []param{{"header", sectionClass("")}}, "")
	w.begin("The settings under [plugin.NAME], with the defaults filled in. Durations are in seconds, sizes in bytes.")
	w.line("---@type table<string, any>")
	w.line("config = {}")
	w.begin("Loads a file of the plugin: require \"lib/x\" is lib/x.lua. Only in the main chunk, with a literal.")
	w.function("require", []param{{"name", "string"}}, "any")
}

// capabilityValues are the words that a key of needs may hold.
func capabilityValues(section, key string) []string {
	for _, c := range capability.Capabilities() {
		if section == "needs" && c.Name == key {
			return c.Values
		}
	}
	return nil
}

func (w *writer) stages() {
	w.begin("The handlers. A hook exists because the main chunk defines it here: function on.rcpt(r) ... end")
	w.line("---@class (exact) stagepost.on")
	for _, s := range hooks.Stages() {
		object := s.Scope.Object()
		answer := ""
		w.doc(s.Asked + ".")
		if names := s.Verdicts.Names(); names != nil {
			answer = ": stagepost.verdict?"
			w.doc("May answer "+strings.Join(names, ", ")+".", "When no plugin answers: "+s.Default+".")
		}
		w.line("---@field %s fun(%s: stagepost.%s)%s", s.Name, object[:1], object, answer)
	}
	w.begin()
	w.line("---@type stagepost.on")
	w.line("on = {}")
}

func (w *writer) verdicts() {
	w.begin("What a handler returns. Returning nothing, or nil, is next: no opinion.")
	w.line("---@class (exact) stagepost.verdict")
	w.begin("An address of the message, or its text.")
	w.line("---@alias %s string|stagepost.address", addressLike)
	for _, k := range hooks.Verdicts() {
		if k.Kind == hooks.Next {
			continue
		}
		f := w.api.Form(k.Kind)
		p, err := verdictParam(f, k.Name)
		w.must("the verdict "+k.Name, "", err)
		if f.Table != nil {
			w.namedArguments(k.Name, slices.DeleteFunc(slices.Clone(f.Keys), func(a api.Arg) bool { return !slices.Contains(f.Table, a.Name) }))
		}
		w.begin(k.Doc+".", "", "`"+k.Form+"`")
		w.function(k.Name, []param{p}, "stagepost.verdict")
	}
}

// verdictParam is the parameter of a verdict: the types of all alternatives.
func verdictParam(f *api.Form, name string) (param, error) {
	p := param{name: "answer"}
	if f.Bare {
		p.name = "answer?"
	}
	var types []string
	for _, a := range f.Keys {
		if a.Name == f.Word {
			typ, err := argType(a)
			if err != nil {
				return p, err
			}
			types = append(types, typ)
		}
	}
	if f.Table != nil {
		types = append(types, "stagepost.args."+name)
	}
	if f.Each {
		types = append(types, "fun(r: stagepost.rcpt): stagepost.verdict?")
	}
	p.typ = strings.Join(types, "|")
	return p, nil
}

// namedArguments writes the class of a table of arguments. All of them are optional.
func (w *writer) namedArguments(of string, args []api.Arg) {
	w.begin()
	w.line("---@class (exact) stagepost.args.%s", of)
	for _, a := range args {
		typ, err := argType(a)
		w.field(a.Name+"?", w.must(of, typ, err), a.Doc)
	}
}

func (w *writer) objects() {
	w.begin("Facts, which plugins set for each other: values are nil, booleans, numbers, strings and tables of these.")
	w.line("---@class stagepost.facts")
	w.field("[string]", "any", "")
	for _, o := range hooks.Objects() {
		w.begin(o.Doc)
		w.line("---@class (exact) stagepost.%s", o.Name)
		for _, f := range o.Fields {
			name := f.Name
			if f.Optional {
				name += "?"
			}
			typ, err := fieldType(o.Name, f)
			w.field(name, w.must(o.Name+"."+f.Name, typ, err), f.Doc)
		}
		if len(o.Methods) > 0 {
			w.line("local %s = {}", o.Name)
		}
		for _, m := range o.Methods {
			w.method(o.Name, m)
		}
	}
}

func (w *writer) method(object string, m hooks.Method) {
	name := object + "." + m.Name
	shape := w.api.Method(object, m.Name).Shape
	params, err := params(shape, "stagepost.args."+m.Name)
	w.must(name, "", err)
	for _, a := range shape {
		if a.Type == api.Named {
			w.namedArguments(m.Name, a.Of)
		}
	}
	result := ""
	if m.Result != "" {
		result, err = objectWords().luaType(m.Result)
		w.must(name, "", err)
	}
	need, err := needForm(m.Needs)
	w.must(name, "", err)
	stages := make([]string, len(m.Stages))
	for i, s := range m.Stages {
		stages[i] = s.String()
	}
	w.begin(m.Doc+".", "", "Works at "+strings.Join(stages, ", ")+"."+need)
	w.function(object+":"+m.Name, params, result)
}

// needForm says how to ask for what a method needs: "edit headers" is ` Needs `edit = {"headers"}`.`.
func needForm(needs string) (string, error) {
	if needs == "" {
		return "", nil
	}
	form := capability.AskFor(needs)
	if form == "" {
		return "", fmt.Errorf("%q is not among capability.Capabilities", needs)
	}
	return " Needs `" + form + "`.", nil
}

func (w *writer) services() {
	w.begin("A mail address that a service read.")
	w.line("---@class (exact) stagepost.addr.address")
	for _, o := range hooks.Objects() {
		if o.Name == "address" { // the table has the fields of the object; a test compares them
			for _, f := range o.Fields {
				w.field(f.Name, string(f.Type), f.Doc)
			}
		}
	}
	w.begin("What re.match found: [0] is the whole match, [1] and so on its groups, named ones also by name.")
	w.line("---@class stagepost.re.captures")
	w.field("[integer]", "string?", "")
	w.field("[string]", "string?", "")
	for _, s := range service.Services() {
		for _, o := range s.Objects {
			w.begin(o.Doc)
			w.line("---@class (exact) stagepost.%s", o.Name)
			if len(o.Methods) > 0 {
				w.line("local %s = {}", o.Name)
			}
			for i := range o.Methods {
				f := &o.Methods[i]
				w.service(f, o.Name+":"+strings.TrimPrefix(f.Name, s.Name+"."), f.Args[1:])
			}
		}
		if serviceFields(s) != nil {
			w.begin(s.Doc)
			w.line("---@class (exact) stagepost.service.%s", s.Name)
			w.line("%s = {}", s.Name)
		}
		for i := range s.Funcs {
			w.service(&s.Funcs[i], s.Funcs[i].Name, s.Funcs[i].Args)
		}
	}
}

// service writes a function, or the method of an object, whose first argument the object itself is.
func (w *writer) service(f *service.Func, name string, args []service.Arg) {
	var params []param
	for _, a := range args {
		kind := a.Kind.String()
		if a.Kind&service.Given != 0 {
			kind = strings.TrimPrefix(strings.Join(append([]string{kind}, a.Of...), "|"), "|")
		}
		typ, err := serviceWords().luaType(kind)
		p := param{a.Name, w.must(f.Name, typ, err)}
		if a.Optional {
			p.name += "?"
		}
		params = append(params, p)
	}
	result := ""
	if f.Result != "" {
		var err error
		result, err = serviceWords().luaType(f.Result)
		w.must(f.Name, "", err)
	}
	notes := []string{f.Doc}
	if f.Form != "" {
		notes = append(notes, "Called as `"+f.Form+"`.")
	}
	if f.AtLoad {
		notes = append(notes, "Works while the plugin loads, too.")
	}
	need, err := needForm(f.Needs)
	w.must(f.Name, "", err)
	w.begin(strings.Join(notes, " ") + need)
	w.function(name, params, result)
}
