package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/api"
	"github.com/stagepost/stagepost/plugins/service"
	"github.com/stagepost/stagepost/plugins/wasm"
)

// model is what the SDKs for WebAssembly are made from: all that is declared, with the numbers of the ABI. Each language has a file
// here that walks it.
type model struct {
	ABI      int
	Module   string // that the functions of the ABI are imported from
	Stages   []hooks.StageInfo
	Verdicts []verdictModel
	Edits    []string // by number
	Levels   []string // of the log, by number
	Errnos   []wasm.Errno
	Objects  []objectModel
	Services []serviceModel
}

// objectModel is an object, by number.
type objectModel struct {
	Number int
	Name   string
	Doc    string
	// Inline objects have no number that a field can be asked of: the value of a field that holds one is a map of its fields. The
	// fields that hold others cannot be asked: in a call there is one of each, but rcpt, of which there is one for each index.
	Inline  bool
	Fields  []fieldModel
	Methods []methodModel
}

// fieldModel is a field, by number.
type fieldModel struct {
	Number int
	Name   string
	Doc    string
	Type   typ
}

// methodModel is a method. Edit is its number; -1 for one that reads, which each SDK makes by hand of the functions of the ABI.
type methodModel struct {
	*api.Method
	Edit   int
	Result typ // zero: there is none
}

// verdictModel is a verdict, by number; Form.Keys are what its map may hold besides kind.
type verdictModel struct {
	hooks.KindInfo
	*api.Form
}

// serviceModel is a group of functions. Where its only function bears its name, there is no group: now().
type serviceModel struct {
	Name  string
	Doc   string
	Plain bool // its only function bears its name
	Funcs []funcModel
}

// funcModel is a function of a service.
type funcModel struct {
	*service.Func
	Short   string // the name within the group
	Args    []serviceArg
	Results []typ // none, one, or several, which come as a list
}

type serviceArg struct {
	service.Arg
	Type typ // any where several kinds are taken
}

// typeKind is what a type is.
type typeKind uint8

const (
	noType     typeKind = iota
	textType            // a string, which may be bytes
	intType             // 64 bits
	numberType          // 64 bits of floating point
	boolType
	timeType   // a number: seconds since 1970
	anyType    // whatever facts may hold
	listType   // of Elem
	mapType    // from text to Elem
	recordType // a map with the Fields
	objectType // the object Name
	factsType  // a map from text to any
	functionType
)

// typ is a type of a field, a result or a part of one.
type typ struct {
	Kind     typeKind
	Optional bool // it may be nil
	Elem     *typ
	Fields   []fieldModel
	Name     string // of the object; "captures" of a match
}

// newModel reads the declarations.
func newModel() (*model, error) {
	read, err := api.New()
	if err != nil {
		return nil, err
	}
	m := &model{ABI: wasm.ABI, Module: wasm.Module, Stages: hooks.Stages(), Edits: hooks.Edits(), Levels: wasm.Levels(), Errnos: wasm.Errnos()}
	var errs []error
	must := func(where string, t typ, err error) typ {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		return t
	}
	for _, k := range hooks.Verdicts() {
		m.Verdicts = append(m.Verdicts, verdictModel{k, read.Form(k.Kind)})
	}
	for i, o := range hooks.Objects() {
		om := objectModel{Number: i, Name: o.Name, Doc: o.Doc, Inline: wasm.Inline(o.Name)}
		for j, f := range o.Fields {
			t, err := typeOfField(o.Name, f)
			om.Fields = append(om.Fields, fieldModel{j, f.Name, f.Doc, must(o.Name+"."+f.Name, t, err)})
		}
		for _, method := range o.Methods {
			t, err := parseResult(method.Result)
			am := read.Method(o.Name, method.Name)
			om.Methods = append(om.Methods, methodModel{am, am.Edit(), must(o.Name+"."+method.Name, t, err)})
		}
		m.Objects = append(m.Objects, om)
	}
	for _, s := range service.Services() {
		sm := serviceModel{Name: s.Name, Doc: s.Doc, Plain: serviceFields(s) == nil}
		for _, f := range s.All() {
			f := &f
			fm := funcModel{Func: f, Short: strings.TrimPrefix(f.Name, s.Name+".")}
			for _, a := range f.Args {
				fm.Args = append(fm.Args, serviceArg{a, typeOfArg(a)})
			}
			for _, word := range api.Split(f.Result) {
				t, err := parseResult(word)
				fm.Results = append(fm.Results, must(f.Name, t, err))
			}
			sm.Funcs = append(sm.Funcs, fm)
		}
		m.Services = append(m.Services, sm)
	}
	return m, errors.Join(errs...)
}

func typeOfField(object string, f hooks.Field) (typ, error) {
	t := typ{Optional: f.Optional}
	switch f.Type {
	case hooks.TypeTime:
		t.Kind = timeType
	case hooks.TypeFacts, hooks.TypeMyFacts:
		t.Kind = factsType
	case hooks.TypeObject:
		t.Kind, t.Name = objectType, f.Of
	case hooks.TypeList, hooks.TypeMap:
		text := f.Of + "[]"
		if f.Of == "" {
			text = contents()[object+"."+f.Name]
		}
		got, err := parseResult(text)
		got.Optional = f.Optional
		return got, err
	default:
		return parseResult(string(f.Type) + map[bool]string{true: "?"}[f.Optional])
	}
	return t, nil
}

func typeOfArg(a service.Arg) typ {
	t := typ{Kind: anyType, Optional: a.Optional}
	switch a.Kind {
	case service.Given:
		t.Kind = given(a.Of[0])
	case service.Bool:
		t.Kind = boolType
	case service.Int:
		t.Kind = intType
	case service.Number:
		t.Kind = numberType
	case service.String:
		t.Kind = textType
	case service.List:
		t.Kind, t.Elem = listType, &typ{Kind: anyType}
	case service.Map:
		t.Kind, t.Elem = mapType, &typ{Kind: anyType}
	}
	return t
}

// given is what stands for an object that a service gives.
func given(name string) typeKind {
	for _, s := range service.Services() {
		for _, o := range s.Objects {
			if o.Name == name && o.Number {
				return intType
			} else if o.Name == name {
				return anyType
			}
		}
	}
	return noType
}

var typeMap = regexp.MustCompile(`^table<string, (.+)>$`)

// parseResult reads a type as declarations name it: "{name: string, raw: string}[]", "address?". "" is none.
func parseResult(text string) (typ, error) {
	text = strings.TrimSpace(text)
	inner, optional := strings.CutSuffix(text, "?")
	if strings.HasPrefix(text, "fun(") {
		return typ{Kind: functionType}, nil
	}
	if elem, ok := strings.CutSuffix(inner, "[]"); ok {
		t, err := parseResult(elem)
		return typ{Kind: listType, Elem: &t, Optional: optional}, err
	}
	if m := typeMap.FindStringSubmatch(inner); m != nil {
		t, err := parseResult(m[1])
		return typ{Kind: mapType, Elem: &t, Optional: optional}, err
	}
	if strings.HasPrefix(inner, "{") && strings.HasSuffix(inner, "}") {
		t := typ{Kind: recordType, Optional: optional}
		for i, part := range api.Split(inner[1 : len(inner)-1]) {
			name, of, ok := strings.Cut(part, ":")
			if !ok {
				return t, fmt.Errorf("%q of the type %q has no type", part, text)
			}
			f, err := parseResult(of)
			if err != nil {
				return t, err
			}
			name, may := strings.CutSuffix(strings.TrimSpace(name), "?")
			f.Optional = f.Optional || may
			t.Fields = append(t.Fields, fieldModel{Number: i, Name: name, Type: f})
		}
		return t, nil
	}
	t := typ{Optional: optional}
	words := map[string]typeKind{"": noType, "string": textType, "integer": intType, "number": numberType, "boolean": boolType, "any": anyType}
	k, known := words[inner]
	switch {
	case known:
		t.Kind = k
	case inner == "list":
		t.Kind, t.Elem = listType, &typ{Kind: anyType}
	case inner == "table", inner == "map":
		t.Kind, t.Elem = mapType, &typ{Kind: anyType}
	case strings.Contains(inner, "|"):
		t.Kind = anyType
	case inner == "captures":
		t.Kind, t.Name = mapType, inner
		t.Elem = &typ{Kind: textType}
	case slices.ContainsFunc(hooks.Objects(), func(o hooks.Object) bool { return o.Name == inner }):
		t.Kind, t.Name = objectType, inner
	case given(inner) != noType:
		t.Kind = given(inner)
	default:
		return t, fmt.Errorf("the type %q has a word that SDKs do not know; give it a meaning in scripts/generate/model.go", text)
	}
	return t, nil
}
