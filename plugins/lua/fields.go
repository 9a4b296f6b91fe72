package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// The checker finds at load what would fail in a call: fields and methods that an object does not have, methods and verdicts
// at a stage that does not take them, functions that a service does not have or that needs does not ask for.
//
// It knows what a handler's first parameter is, and follows that through fields, locals and loops within the handler. It
// speaks only of what is certain: what went through an assignment, a table or a function of the plugin it does not know, and
// the call finds it. It says what the call would say.
type checker struct {
	file     string
	needs    *capability.Needs
	objects  map[string]*hooks.Object
	services map[string][]string // names of the functions of each service that is a table
	funcs    map[string]string   // what a function of a service needs, by its full name
	verdicts map[string]hooks.Kind

	scope    map[string][]*variable // by name, innermost last
	names    []string               // of scope, in the order they were declared
	depth    int
	level    int // functions around the place; 0 is the main chunk
	handler  *handler
	handlers []*handler
	lists    map[string]bool // names of the fields that hold lists of objects
	items    []*variable     // what came out of such lists
	loose    int             // mentions of such lists that may change them: a call has each list only once
	taken    map[string]bool // stages whose handler is read, so that it may be called with anything; "" is all of them
	faults   []fault
	seen     *mentions
}

// value is what is known of an expression: an object, or a list of them. The zero value is all others.
type value struct {
	object *hooks.Object
	list   bool
	from   *variable // the variable it was read from
}

// variable is a local or a parameter.
type variable struct {
	value
	changed bool // assigned to: no longer, or not always, what it was declared with
}

// handler is a function of the plugin that a stage asks; its variable stands for that.
type handler struct {
	variable
	stage hooks.Stage
}

// fault is something wrong, provided that from is what it was declared with.
type fault struct {
	line    int
	message string
	from    *variable
}

// maxFaults bounds what is kept until all is known; the nearest name to a wrong one takes time to find.
const maxFaults = 200

// compileFor is Compile for a plugin with these needs, which are checked too. The faults of both are in the order of lines.
func compileFor(c *Chunk, needs *capability.Needs) (*Program, error) {
	faults := checkUse(c, needs)
	p, err := Compile(c, hostGlobals())
	if len(faults) == 0 {
		return p, err
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = append(faults, joined.Unwrap()...)
	} else if err != nil {
		faults = append(faults, err)
	}
	line := func(err error) int {
		if e, ok := err.(*Error); ok {
			return e.Line
		}
		return 0
	}
	slices.SortStableFunc(faults, func(a, b error) int { return line(a) - line(b) })
	return nil, errors.Join(faults...)
}

// checkUse returns what is wrong in a chunk, each an *Error.
func checkUse(chunk *Chunk, needs *capability.Needs) []error {
	c := newChecker(chunk.Name, needs)
	c.block(chunk.Stmts)
	for _, h := range c.handlers {
		h.changed = c.taken[""] || c.taken[h.stage.String()]
	}
	for _, item := range c.items {
		item.changed = c.loose > 0
	}
	var errs []error
	slices.SortStableFunc(c.faults, func(a, b fault) int { return a.line - b.line })
	for _, f := range c.faults {
		if f.from.certain() && len(errs) < maxErrors {
			errs = append(errs, &Error{File: c.file, Line: f.line, Message: f.message})
		}
	}
	return errs
}

func newChecker(file string, needs *capability.Needs) *checker {
	c := &checker{file: file, needs: needs, seen: newMentions(), objects: map[string]*hooks.Object{}, services: map[string][]string{},
		funcs: map[string]string{}, verdicts: map[string]hooks.Kind{}, scope: map[string][]*variable{}, lists: map[string]bool{}, taken: map[string]bool{}}
	for _, o := range hooks.Objects() {
		c.objects[o.Name] = &o
		for _, f := range o.Fields {
			if f.Type == hooks.TypeList && f.Of != "" {
				c.lists[f.Name] = true
			}
		}
	}
	for _, s := range service.Services() {
		for _, f := range s.Funcs {
			c.funcs[f.Name] = f.Needs
			if name, ok := strings.CutPrefix(f.Name, s.Name+"."); ok {
				c.services[s.Name] = append(c.services[s.Name], name)
			}
		}
	}
	for _, k := range hooks.Verdicts() {
		if k.Kind != hooks.Next {
			c.verdicts[k.Name] = k.Kind
		}
	}
	return c
}

// certain tells whether the variable, and all it comes from, is what it was declared with.
func (v *variable) certain() bool {
	for n := 0; v != nil; n++ {
		if v.changed || n > maxDepth {
			return false
		}
		v = v.from
	}
	return true
}

func (c *checker) report(line int, from *variable, format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, fault{line, fmt.Sprintf(format, args...), from})
	}
}

// field is o[key].
func (c *checker) field(o value, key ast.Expr) value {
	name, isName := key.(*ast.StringExpr)
	switch _, isNumber := key.(*ast.NumberExpr); {
	case o.object == nil:
	case o.list && !isName:
		return c.itemOf(o)
	case o.list:
	case isNumber:
		c.report(key.Line(), o.from, "%s is not a list: its fields have names", o.object.Name)
	case isName:
		f, known := fieldOf(o.object, name.Value)
		switch {
		case !known:
			c.unknown(o, name.Value, name.Line())
		case f.Type == hooks.TypeObject, f.Type == hooks.TypeList && f.Of != "":
			return value{object: c.objects[f.Of], list: f.Type == hooks.TypeList, from: o.from}
		}
	}
	return value{}
}

// set is o[key] = v.
func (c *checker) set(o value, key ast.Expr) {
	name, ok := key.(*ast.StringExpr)
	if o.object == nil || o.list || !ok {
		return
	}
	if _, known := fieldOf(o.object, name.Value); known {
		c.report(name.Line(), o.from, "the field %q of %s cannot be set", name.Value, o.object.Name)
	} else {
		c.report(name.Line(), o.from, "%s has no field %q", o.object.Name, name.Value)
	}
}

// fieldOf finds a field; of a method the field is empty.
func fieldOf(o *hooks.Object, name string) (f hooks.Field, known bool) {
	if i := slices.IndexFunc(o.Fields, func(f hooks.Field) bool { return f.Name == name }); i >= 0 {
		return o.Fields[i], true
	}
	return f, slices.ContainsFunc(o.Methods, func(m hooks.Method) bool { return m.Name == name })
}

func (c *checker) unknown(o value, name string, line int) {
	var known []string
	for _, f := range o.object.Fields {
		known = append(known, f.Name)
	}
	for _, m := range o.object.Methods {
		known = append(known, m.Name)
	}
	c.report(line, o.from, "%s has no field %q%s", o.object.Name, name, hint(name, known))
}

// method is o:name().
func (c *checker) method(o value, name string, line int) {
	if o.object == nil || o.list {
		return
	}
	i := slices.IndexFunc(o.object.Methods, func(m hooks.Method) bool { return m.Name == name })
	if i < 0 {
		if _, known := fieldOf(o.object, name); !known {
			c.unknown(o, name, line)
		}
		return
	}
	m, stage := o.object.Methods[i], c.handler.stage
	if !slices.Contains(m.Stages, stage) {
		if m.Needs == "read" {
			c.report(line, o.from, "there is no header yet: it is there from data on, not at %s", stage)
			return
		}
		var at []string
		for _, s := range m.Stages {
			at = append(at, s.String())
		}
		c.report(line, o.from, "%s works at %s, not at %s", name, strings.Join(at, ", "), stage)
		return
	}
	what := name
	switch m.Needs {
	case "read":
		what = "reading the headers"
	case "read body":
		what = "reading the body"
	}
	c.need(m.Needs, what, line, o.from)
}

// service is a mention of the function of a service.
func (c *checker) service(service, name string, line int) {
	if known := c.services[service]; !slices.Contains(known, name) {
		near := hint(name, slices.Clone(known))
		if near == "" {
			near = "; it has " + strings.Join(known, ", ")
		}
		c.report(line, nil, "%s has no function %q%s", service, name, near)
		return
	}
	c.granted(service+"."+name, line)
}

func (c *checker) granted(function string, line int) {
	name, _, _ := strings.Cut(function, ".")
	c.seen.global(name)
	c.need(c.funcs[function], function+": it", line, nil)
}

// need reports that the plugin does not ask for what it does.
func (c *checker) need(need, what string, line int, from *variable) {
	if need == "" {
		return
	}
	if err := c.needs.Refuse(what, need); err != nil {
		c.report(line, from, "%s", err)
	}
}

// verdict is what the handler itself returns.
func (c *checker) verdict(e ast.Expr) {
	call, _ := e.(*ast.FuncCallExpr)
	kind, ok := c.verdicts[c.calls(call)]
	if !ok {
		return
	}
	h, v := c.handler, &hooks.Verdict{Kind: kind}
	if h.stage.Verdicts().Has(kind) {
		class, literal := oneOf(call.Args).(*ast.StringExpr)
		if kind != hooks.Accept || !literal && len(call.Args) > 0 {
			return
		}
		if literal {
			v.Class = message.Class(class.Value)
		}
	}
	if err := v.Check(h.stage); err != nil {
		c.report(call.Line(), &h.variable, "%s", err)
	} else if h.stage == hooks.Rcpt && v.Class == hooks.Relay {
		c.need("relay", `accept "relay"`, call.Line(), &h.variable)
	}
}
