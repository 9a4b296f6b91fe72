package service

import (
	"fmt"
	"slices"
)

// Object declares a kind of thing that a service gives and that is no fact: it cannot be kept, printed or looked into. In Lua it
// is a value with the methods. In WebAssembly it is what its Plain says, and the methods are functions of the service that take it
// as their first argument.
type Object struct {
	Name    string
	Doc     string
	Number  bool   // its Plain is an integer, which is the thing's for as long as the call
	Methods []Func // named like functions, "net.send"; the object is the first of Args
}

// Thing is an object that a service gave.
type Thing interface {
	Object() string // the name of its declaration
	Plain() any     // what stands for it in WebAssembly
}

// All are the functions that are called by name: those of the service and the methods of its objects.
func (s *Service) All() []Func {
	all := slices.Clone(s.Funcs)
	for _, o := range s.Objects {
		all = append(all, o.Methods...)
	}
	return all
}

// method tells a method of an object from a function.
func (f *Func) method() bool {
	return len(f.Args) > 0 && f.Args[0].Kind == Given && f.Args[0].Name == f.Args[0].Of[0]
}

// Takes lists the objects that are taken as arguments, or within the tables of arguments.
func (f *Func) Takes() (names []string) {
	for _, a := range f.Args {
		names = append(names, a.Of...)
	}
	return names
}

// thing gives the object that a value of a plugin stands for, if it is one that is taken; else nil.
func (c *Context) thing(of []string, v any) (Thing, error) {
	var t Thing
	switch v := v.(type) {
	case Thing:
		t = v
	case int64:
		t = c.held[v]
	case map[string]any:
		if name, ok := v[secretObject].(string); ok && len(v) == 1 && slices.Contains(of, secretObject) {
			return c.secret(name)
		}
	}
	if t == nil || !slices.Contains(of, t.Object()) {
		return nil, nil
	}
	return t, nil
}

// hold makes t known by a number until the call ends.
func (c *Context) hold(t Thing) int64 {
	if c.held == nil {
		c.held = map[int64]Thing{}
	}
	n := int64(len(c.held) + 1) // none is taken away before the end
	c.held[n] = t
	return n
}

// accept checks one argument.
func (a *Arg) accept(c *Context, v any) (any, error) {
	if a.Kind&Given != 0 {
		if t, err := c.thing(a.Of, v); t != nil || err != nil {
			return t, err
		}
	}
	if v, ok := a.Kind.accept(v); ok {
		return v, nil
	}
	want := a.Kind.String()
	if a.Kind&Given != 0 {
		want = a.Of[0]
		if k := a.Kind &^ Given; k != 0 {
			want = k.String() + "|" + want
		}
	}
	return nil, fmt.Errorf("%s is %s; it must be of type %s", a.Name, TypeName(v), want)
}
