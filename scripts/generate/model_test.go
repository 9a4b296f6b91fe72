package main

import (
	"strings"
	"testing"
)

// TestModel: all that is declared has a type for the SDKs, and each method that is no edit is one that their authors know.
func TestModel(t *testing.T) {
	m, err := newModel()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range m.Objects {
		for _, f := range o.Fields {
			if f.Type.Kind == noType {
				t.Errorf("%s.%s has no type", o.Name, f.Name)
			}
		}
	}
	for _, s := range m.Services {
		for _, f := range s.Funcs {
			if f.Result == "" != (len(f.Results) == 0) {
				t.Errorf("%s: %q became %+v", f.Name, f.Result, f.Results)
			}
		}
	}
}

func TestParseResult(t *testing.T) {
	for text, want := range map[string]string{
		"string?": "string?", "address[]?": "[address]?", "{name: string, n?: integer}[]": "[{name string, n integer?}]", "table<string, string>": "{string}",
		"any": "any", "fun(): string?": "function", "captures?": "{string}?", "string|integer": "any", "": "", "stream": "!does not", "{name}": "!no type", "words[]": "!does not",
	} {
		got, err := parseResult(text)
		if part, fails := strings.CutPrefix(want, "!"); fails {
			if err == nil {
				t.Errorf("%q: %s, want an error with %q", text, got, part)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

// String writes a type so that tests can compare it.
func (t typ) String() string {
	var s string
	switch t.Kind {
	case listType:
		s = "[" + t.Elem.String() + "]"
	case mapType:
		s = "{" + t.Elem.String() + "}"
	case recordType:
		var fields []string
		for _, f := range t.Fields {
			fields = append(fields, f.Name+" "+f.Type.String())
		}
		s = "{" + strings.Join(fields, ", ") + "}"
	case objectType:
		s = t.Name
	default:
		s = [...]string{textType: "string", intType: "integer", numberType: "number", boolType: "boolean", timeType: "time", anyType: "any", factsType: "facts", functionType: "function"}[t.Kind]
	}
	if t.Optional {
		s += "?"
	}
	return s
}
