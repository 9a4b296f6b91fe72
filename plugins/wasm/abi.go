package wasm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/wasm/meter"
)

// ABI is the version of the interface that this server speaks; Module is the name that its functions are imported from.
const (
	ABI    = 0
	Module = "stagepost_v0"
)

// What the functions of the ABI return when they cannot do what was asked.
const (
	ErrNone    = -1 // there is no such thing: the optional field, the header field, the end
	ErrInvalid = -2 // a number or an encoding makes no sense
	ErrAbsent  = -3 // this server does not have it
	ErrRefused = -4 // not here, not granted, or too much
	ErrFailed  = -5 // it cannot be told, now
)

// Errno declares one of them.
type Errno struct {
	Code int
	Name string
	Doc  string
}

// Errnos declares them all, for the manual and the SDKs.
func Errnos() []Errno { return slices.Clone(errnoTable) }

// Levels are the names of the levels of the log, by number.
func Levels() []string { return slices.Clone(logLevels) }

var errnoTable = []Errno{
	{ErrNone, "none", "there is no such thing: the optional field, the header field, the end"},
	{ErrInvalid, "invalid", "a number or an encoding makes no sense"},
	{ErrAbsent, "absent", "this server does not have it"},
	{ErrRefused, "refused", "not at this stage, not granted, or too much"},
	{ErrFailed, "failed", "it cannot be told now"},
}

// Signatures of what a plugin exports and may import.
var (
	i32, i64 = meter.I32, meter.I64

	exported = map[string]meter.FuncType{
		"stagepost_abi":   {Results: []meter.ValueType{i32}},
		"stagepost_alloc": {Params: []meter.ValueType{i32}, Results: []meter.ValueType{i32}},
		"stagepost_load":  {Params: []meter.ValueType{i32, i32}, Results: []meter.ValueType{i32}},
		"stagepost_hook":  {Params: []meter.ValueType{i32}, Results: []meter.ValueType{i64}},
	}
)

// hostFunc is one function that guests may import.
type hostFunc struct {
	name string
	typ  meter.FuncType
	cost int64 // fuel, besides what is charged by length
	call func(in *instance, a []uint64) uint64
}

func typeOf(params string, result string) meter.FuncType {
	one := func(c rune) meter.ValueType {
		if c == 'I' {
			return i64
		}
		return i32
	}
	var t meter.FuncType
	for _, c := range params {
		t.Params = append(t.Params, one(c))
	}
	for _, c := range result {
		t.Results = append(t.Results, one(c))
	}
	return t
}

// hostFuncs are the functions of the ABI; in types, i is i32 and I is i64.
func hostFuncs() []hostFunc {
	return []hostFunc{
		{"field", typeOf("iiiii", "i"), 100, (*instance).field},
		{"header", typeOf("iiiii", "i"), 200, (*instance).header},
		{"content_read", typeOf("iIii", "i"), 200, (*instance).contentRead},
		{"content_emit", typeOf("ii", "i"), 100, (*instance).contentEmit},
		{"edit", typeOf("iiiii", "i"), 200, (*instance).edit},
		{"svc", typeOf("iiii", "I"), 200, (*instance).svc},
		{"svc_read", typeOf("iIii", "i"), 100, (*instance).svcRead},
		{"svc_close", typeOf("i", "i"), 50, (*instance).svcClose},
		{"log", typeOf("iii", ""), 500, (*instance).log},
		{"now", typeOf("", "I"), 50, (*instance).now},
	}
}

// allow tells why a module may not have an import.
func allow(im meter.Import) error {
	var list []hostFunc
	switch im.Module {
	case Module:
		list = hostFuncs()
	case wasiModule:
		list = wasiFuncs()
	default:
		if strings.HasPrefix(im.Module, "stagepost_v") {
			return fmt.Errorf("the plugin is made for another version: it imports from %q, and this server has %q", im.Module, Module)
		}
		return fmt.Errorf("the import %q.%q does not exist; a plugin may import from %q and %q", im.Module, im.Name, Module, wasiModule)
	}
	i := slices.IndexFunc(list, func(f hostFunc) bool { return f.name == im.Name })
	switch {
	case i < 0 && im.Module == wasiModule:
		return fmt.Errorf("the import %q.%q is not there: of WASI a plugin has clocks, random numbers and standard output", im.Module, im.Name)
	case i < 0:
		return fmt.Errorf("the import %q.%q does not exist", im.Module, im.Name)
	case im.Kind != meter.Function || im.Type.String() != list[i].typ.String():
		return fmt.Errorf("the import %q.%q has the wrong type: it is a function of type %s", im.Module, im.Name, list[i].typ)
	}
	return nil
}

// complete tells what a module does not export that a plugin must.
func complete(m *meter.Module) error {
	var missing []string
	memory := false
	have := map[string]meter.Export{}
	for _, e := range m.Exports {
		have[e.Name] = e
		memory = memory || e.Name == "memory" && e.Kind == meter.Memory
	}
	if !memory {
		missing = append(missing, "memory")
	}
	for _, name := range []string{"stagepost_abi", "stagepost_alloc", "stagepost_load", "stagepost_hook"} {
		if e, ok := have[name]; !ok || e.Kind != meter.Function {
			missing = append(missing, name)
		} else if want := exported[name]; e.Type.String() != want.String() {
			return fmt.Errorf("the export %s is of type %s; it must be %s", name, e.Type, want)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the module does not export %s", strings.Join(missing, ", "))
	}
	return nil
}

// Numbers says what the numbers of the ABI mean, one to a line: they are the places in the tables of package hooks, where new
// entries come at the end.
func Numbers() string {
	var b strings.Builder
	line := func(what string, n int, name string) { fmt.Fprintf(&b, "%s %d %s\n", what, n, name) }
	for _, s := range hooks.Stages() {
		line("stage", int(s.Stage), s.Name)
	}
	for _, k := range hooks.Verdicts() {
		line("verdict", int(k.Kind), k.Name)
	}
	for i, name := range hooks.Edits() {
		line("edit", i, name)
	}
	for i, name := range logLevels {
		line("level", i, name)
	}
	for _, e := range errnoTable {
		line("errno", e.Code, e.Name)
	}
	for i, o := range hooks.Objects() {
		line("object", i, o.Name)
		for j, f := range o.Fields {
			line("field", j, o.Name+"."+f.Name)
		}
	}
	return b.String()
}

// Manual is the table of the numbers, in Markdown.
func Manual() string {
	var b strings.Builder
	row := func(what string, entries []string) { fmt.Fprintf(&b, "- %s: %s\n", what, strings.Join(entries, ", ")) }
	entry := func(n int, name string) string { return fmt.Sprintf("%d `%s`", n, name) }
	var stages, verdicts, edits, levels []string
	for _, s := range hooks.Stages() {
		stages = append(stages, entry(int(s.Stage), s.Name))
	}
	for _, k := range hooks.Verdicts() {
		verdicts = append(verdicts, entry(int(k.Kind), k.Name))
	}
	for i, name := range hooks.Edits() {
		edits = append(edits, entry(i, name))
	}
	for i, name := range logLevels {
		levels = append(levels, entry(i, name))
	}
	row("stages", stages)
	row("verdicts", verdicts)
	row("edits", edits)
	row("levels of the log", levels)
	for _, e := range errnoTable {
		fmt.Fprintf(&b, "- %d %s: %s\n", e.Code, e.Name, e.Doc)
	}
	for i, o := range hooks.Objects() {
		var fields []string
		for j, f := range o.Fields {
			fields = append(fields, entry(j, f.Name))
		}
		row(fmt.Sprintf("object %d `%s`, fields", i, o.Name), fields)
	}
	return b.String()
}
