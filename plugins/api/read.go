package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/service"
)

// Bounds of what an argument may hold.
const (
	maxItems   = 1000
	maxSeconds = 1e9
	maxShown   = 320 // bytes of a value in an error
)

// errType is that a value is not of the type wanted; the caller says which.
var errType = errors.New("wrong type")

// read converts a value to the type of the argument. what names it in errors: "route: sender".
func (a *Arg) read(what string, v any) (any, error) {
	got, err := a.convert(v)
	if err == errType {
		return nil, fmt.Errorf("%s is %s; it must be %s", what, typeName(v), a.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if s, ok := got.(string); ok && a.Words != nil && !slices.Contains(a.Words, s) {
		return nil, fmt.Errorf("%s is %q; it must be %s", what, s[:min(len(s), maxShown)], quoted(a.Words))
	}
	return got, nil
}

func (a *Arg) convert(v any) (any, error) {
	switch a.Type {
	case Text:
		return is(textOf(v))
	case Int:
		return is(intOf(v))
	case Number:
		return is(numberOf(v))
	case Bool:
		b, ok := v.(bool)
		return is(b, ok)
	case Seconds:
		n, ok := numberOf(v)
		if ok && !(n >= 0 && n <= maxSeconds) {
			return nil, fmt.Errorf("it is %v seconds", n)
		}
		return is(time.Duration(n*float64(time.Second)), ok)
	case Time:
		n, ok := numberOf(v)
		return is(time.UnixMicro(int64(max(0, min(n, 1<<32))*1e6)), ok && n == n)
	case Texts:
		return listOf(v, maxItems, func(e any) (string, error) {
			s, ok := textOf(e)
			if !ok {
				return "", errType
			}
			return s, nil
		})
	case TextMap:
		return textMapOf(v, a.Of)
	case Address:
		return addressOf(v)
	case Addresses:
		return listOf(v, hooks.MaxRenames+1, addressOf) // one more, so that Rename finds them too many
	case Named:
		return nil, errType // by names
	}
	return v, nil
}

// is gives the value if it is of the type.
func is[T any](v T, ok bool) (any, error) {
	if !ok {
		return nil, errType
	}
	return v, nil
}

// listOf reads a list, for which a single item may stand.
func listOf[T any](v any, most int, item func(any) (T, error)) (any, error) {
	list, ok := v.([]any)
	if m, empty := v.(map[string]any); empty && len(m) == 0 { // engines cannot tell an empty table from an empty list
		list, ok = nil, true
	}
	if !ok {
		list = []any{v}
	}
	out := make([]T, 0, min(len(list), most))
	for i, e := range list[:min(len(list), most)] {
		t, err := item(e)
		if err == errType && ok {
			return nil, fmt.Errorf("item %d is %s", i+1, typeName(e))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// textMapOf reads a table of texts by name.
func textMapOf(v any, known []Arg) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errType
	}
	out := make(map[string]string, len(known))
	for name, v := range m {
		if !slices.ContainsFunc(known, func(a Arg) bool { return a.Name == name }) {
			return nil, fmt.Errorf("there is no %q%s", name[:min(len(name), maxShown)], nearest(name, known))
		}
		if v == nil {
			continue
		}
		if out[name], ok = textOf(v); !ok {
			return nil, fmt.Errorf("%s is %s; it must be %s", name, typeName(v), Text)
		}
	}
	return out, nil
}

// textOf is a text, which may be written as bytes.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}

func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// intOf is an integer, which may be written as a float.
func intOf(v any) (int64, bool) {
	if f, ok := v.(float64); ok && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
		return int64(f), true
	}
	n, ok := v.(int64)
	return n, ok
}

// addressOf reads an address; "" is the null one.
func addressOf(v any) (smtp.Address, error) {
	if a, ok := v.(*smtp.Address); ok {
		return *a, nil
	}
	s, ok := textOf(v)
	if !ok {
		return smtp.Address{}, errType
	}
	if s == "" {
		return smtp.Address{}, nil
	}
	a, err := smtp.ParseUTF8Address(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an address: %s", s[:min(len(s), maxShown)], reason(err))
	}
	return a, nil
}

// reason is the text of an error that may be a reply.
func reason(err error) string {
	if r, ok := err.(smtp.Reply); ok && len(r.Text) > 0 {
		return r.Text[0]
	}
	return err.Error()
}

func typeName(v any) string {
	if _, ok := v.(*smtp.Address); ok {
		return "an address"
	}
	return service.TypeName(v)
}

func quoted(words []string) string {
	return `"` + strings.Join(words, `" or "`) + `"`
}

// readNamed reads a table of named arguments. An unknown name is an error with the nearest one.
func readNamed(what string, v any, known []Arg) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if list, empty := v.([]any); empty && len(list) == 0 {
		ok = true
	}
	if !ok {
		return nil, fmt.Errorf("%s takes a table of names, as in %s{%s = ...}, not %s", what, what, known[0].Name, typeName(v))
	}
	out := make(map[string]any, len(m))
	for name, v := range m {
		i := slices.IndexFunc(known, func(a Arg) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%s has no %q%s", what, name[:min(len(name), maxShown)], nearest(name, known))
		}
		if v == nil {
			continue
		}
		got, err := known[i].read(what+": "+name, v)
		if err != nil {
			return nil, err
		}
		out[name] = got
	}
	return out, nil
}

func nearest(name string, known []Arg) string {
	names := make([]string, len(known))
	for i := range known {
		names[i] = known[i].Name
	}
	if near := config.Nearest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; it has " + strings.Join(names, ", ")
}

// get is a named argument, the zero value where it was left out.
func get[T any](m map[string]any, name string) T {
	v, _ := m[name].(T)
	return v
}

// given is a pointer to a named argument; nil where it was left out.
func given[T any](m map[string]any, name string) *T {
	if v, ok := m[name].(T); ok {
		return &v
	}
	return nil
}

func class(s string) message.Class { return message.Class(s) }
