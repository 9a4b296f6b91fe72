package direct

import (
	"slices"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
)

// value is a value of Lua. Tables are in the types of facts and never change.
type value struct {
	kind   kind
	number float64 // a boolean is 0 or 1
	text   string
	any    any
}

type kind uint8

const (
	isNil kind = iota
	isBool
	isNumber
	isText
	isTable   // []any or map[string]any
	isMatch   // *service.Captures
	isObject  // of package hooks
	isVerdict // *hooks.Verdict
	isFunc    // *Func
	isForm    // *api.Form, which makes a verdict
	isService // *service.Func
	isLibrary // map[string]value
	isBuiltin // builtin
	isOdd
)

func boolean(b bool) value {
	if b {
		return value{kind: isBool, number: 1}
	}
	return value{kind: isBool}
}

func number(n float64) value { return value{kind: isNumber, number: n} }
func text(s string) value    { return value{kind: isText, text: s} }

func (v *value) truthy() bool { return v.kind != isNil && (v.kind != isBool || v.number != 0) }

// fromFact is what Lua gets for a value in the types of facts.
func fromFact(v any) value {
	switch v := v.(type) {
	case nil:
		return value{}
	case bool:
		return boolean(v)
	case int64:
		return number(float64(v))
	case float64:
		return number(v)
	case string:
		return text(v)
	case []byte:
		return text(string(v))
	case []any, map[string]any:
		return value{kind: isTable, any: v}
	case *service.Captures:
		if v != nil {
			return value{kind: isMatch, any: v}
		}
		return value{}
	}
	return value{kind: isOdd}
}

// from is fromFact, odd where there is none.
func (f *frame) from(v any) value {
	out := fromFact(v)
	f.odd = f.odd || out.kind == isOdd
	return out
}

// fact is a value in the types of facts; what has none is odd.
func (f *frame) fact(v *value) any {
	switch v.kind {
	case isNil:
		return nil
	case isBool:
		return v.number != 0
	case isNumber:
		return Number(v.number)
	case isText:
		return v.text
	case isTable:
		return v.any
	}
	f.odd = true
	return nil
}

// Number is a number of Lua in the types of facts: a whole one is an int64 where floats are exact.
func Number(n float64) any {
	if n == float64(int64(n)) && n > -1<<53 && n < 1<<53 {
		return int64(n)
	}
	return n
}

// equal is ==. Whether two tables or objects are the same is not known here.
func (f *frame) equal(a, b *value) bool {
	if a.kind != b.kind {
		f.odd = f.odd || a.kind == isOdd || b.kind == isOdd
		return false
	}
	switch a.kind {
	case isNil:
		return true
	case isBool, isNumber:
		return a.number == b.number
	case isText:
		return a.text == b.text
	}
	f.odd = true
	return false
}

// index is t[key] for a table.
func (f *frame) index(t, key *value) value {
	switch t.kind {
	case isLibrary:
		if v, ok := t.any.(map[string]value)[key.text]; ok && key.kind == isText {
			return v
		}
	case isMatch:
		m := t.any.(*service.Captures)
		switch i := int(key.number); {
		case key.kind == isNumber && float64(i) == key.number && i >= 0 && i < len(m.Groups):
			return f.from(m.Groups[i])
		case key.kind == isText && key.text != "":
			i := slices.Index(m.Names, key.text)
			if i < 0 {
				return value{}
			}
			return f.from(m.Groups[i])
		}
	case isTable:
		switch m := t.any.(type) {
		case []any:
			if i := int(key.number); key.kind == isNumber && float64(i) == key.number && i >= 1 && i <= len(m) {
				return f.from(m[i-1])
			}
			if key.kind == isText || key.kind == isNumber {
				return value{}
			}
		case map[string]any:
			if key.kind == isText {
				return f.from(m[key.text])
			}
			if key.kind == isNumber {
				return value{}
			}
		}
	}
	f.odd = true
	return value{}
}

// length is #v.
func (f *frame) length(v *value) value {
	if v.kind == isText {
		return number(float64(len(v.text)))
	}
	switch m := v.any.(type) {
	case []any:
		if len(m) > 0 && m[len(m)-1] == nil { // where such a list ends is the engine's to say
			f.odd = true
		}
		return number(float64(len(m)))
	case map[string]any:
		if v.kind == isTable {
			return number(0)
		}
	}
	f.odd = true
	return value{}
}

// globals are the host's functions that can be run here, by name.
func globals(a *api.API) map[string]value {
	g := map[string]value{"string": {kind: isLibrary, any: stringLibrary()}, "ipairs": {kind: isBuiltin, any: builtin(func(f *frame, _ []value) value { return oddValue(f) })}}
	for _, k := range hooks.Verdicts() {
		if form := a.Form(k.Kind); k.Kind != hooks.Next && !form.Each {
			g[k.Name] = value{kind: isForm, any: form}
		}
	}
	for _, s := range service.Services() {
		library := map[string]value{}
		for i := range s.Funcs {
			fn := &s.Funcs[i]
			if !fn.Pure || fn.Result == "" {
				continue
			}
			if v := (value{kind: isService, any: fn}); fn.Name == s.Name {
				g[s.Name] = v
			} else {
				library[strings.TrimPrefix(fn.Name, s.Name+".")] = v
			}
		}
		if len(library) > 0 {
			g[s.Name] = value{kind: isLibrary, any: library}
		}
	}
	return g
}
