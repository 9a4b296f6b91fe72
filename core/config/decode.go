package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// field describes one key of a table: what it is called, what it means and where its value goes.
type field struct {
	name     string
	doc      string
	value    string // the default, as written in the file; it is decoded like a value that stands there
	absent   string // what happens without the key, for people, when no value can say it
	example  string // as written in the file; the default, if empty
	required bool
	to       target
}

// target is where the value of a field goes.
type target struct {
	kind string // what may be written, for people: "a whole number from 1 to 10"
	into any    // pointer to the Go field; nil for a table whose own fields have theirs
	set  func(d *decoder, f *field, at []string, v any)

	header string         // how the table is opened in the file; %s is its path. Empty: not a table
	below  func() []field // the fields of such a table
}

// decoder goes down the description and the file together and gathers what does not fit.
type decoder struct {
	file  string
	lines *index
	top   []field
	errs  []Error
}

// decodeFile decodes a file other than stagepost.toml by its description. What does not fit is in the decoder.
func decodeFile(name string, data []byte, fields []field) *decoder {
	d := &decoder{file: name, lines: newIndex(), top: fields}
	if len(data) > MaxFile {
		d.report(1, "the file is larger than %s, the most that is read", FormatSize(MaxFile))
		return d
	}
	if root := d.parse(data); root != nil {
		d.table(nil, fields, root)
	}
	return d
}

// table decodes the fields of one table. Values that the file lacks get their defaults.
func (d *decoder) table(at []string, fields []field, values map[string]any) {
	for i := range fields {
		f := &fields[i]
		path := append(slices.Clip(at), f.name)
		v, written := values[f.name]
		switch {
		case written:
			f.to.set(d, f, path, v)
		case f.required:
			d.fail(at, "%s is missing; write %s = %s", f.name, f.name, f.sample())
		case f.value != "":
			f.to.set(d, f, path, literal(f.value))
		case f.to.header != "":
			f.to.set(d, f, path, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			d.unknown(at, fields, name, values[name])
		}
	}
}

func (d *decoder) unknown(at []string, fields []field, name string, v any) {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].name
	}
	hint := "known here: " + strings.Join(names, ", ")
	if near := Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	} else if home := d.home(name, v); home != "" {
		hint = "it belongs " + home
	}
	d.fail(append(slices.Clip(at), name), "unknown key; %s", hint)
}

// home says where a key stands that was written in another table, the usual slip in TOML.
func (d *decoder) home(name string, v any) string {
	if _, table := v.(map[string]any); table {
		return ""
	}
	for i := range d.top {
		f := &d.top[i]
		if f.name == name {
			return "above the first [table]"
		}
		if f.to.below == nil {
			continue
		}
		if slices.ContainsFunc(f.to.below(), func(sub field) bool { return sub.name == name }) {
			return "in " + fmt.Sprintf(f.to.header, f.name)
		}
	}
	return ""
}

// literal gives the value of a TOML literal of the description; a test decodes them all.
func literal(text string) any {
	var v struct{ V any }
	if err := toml.Unmarshal([]byte("V = "+text), &v); err != nil {
		panic("core/config: default " + text + ": " + err.Error())
	}
	return v.V
}

func (f *field) sample() string {
	if f.example != "" {
		return f.example
	}
	return f.value
}

// wrong reports a value that does not fit its field.
func (f *field) wrong(d *decoder, at []string, err error) {
	if errors.As(err, new(misspelled)) {
		d.fail(at, "%v", err)
		return
	}
	d.fail(at, "%v; write %s, such as %s = %s", err, f.to.kind, f.name, f.sample())
}

// A parse function checks one value and converts it. Its error says what is wrong with the value, not what to write.
type parse[T any] func(v any) (T, error)

// one is the target for a single value.
func one[T any](into *T, kind string, p parse[T]) target {
	return target{kind: kind, into: into, set: func(d *decoder, f *field, at []string, v any) {
		t, err := p(v)
		if err != nil {
			f.wrong(d, at, err)
			return
		}
		*into = t
	}}
}

// maybe is the target for a value whose absence means something.
func maybe[T any](into **T, kind string, p parse[T]) target {
	return target{kind: kind, into: into, set: func(d *decoder, f *field, at []string, v any) {
		t, err := p(v)
		if err != nil {
			f.wrong(d, at, err)
			return
		}
		*into = &t
	}}
}

// list is the target for a list of at most a number of elements.
func list[T any](into *[]T, most int, kind string, p parse[T]) target {
	return target{kind: kind, into: into, set: func(d *decoder, f *field, at []string, v any) {
		elements, ok := v.([]any)
		switch {
		case !ok:
			f.wrong(d, at, fmt.Errorf("%s is not a list", show(v)))
			return
		case len(elements) > most:
			d.fail(at, "%d elements are too many; the most is %d", len(elements), most)
			return
		}
		all := make([]T, len(elements))
		for i, e := range elements {
			t, err := p(e)
			if err != nil {
				f.wrong(d, append(slices.Clip(at), Index(i)), err)
				continue
			}
			all[i] = t
		}
		*into = all
	}}
}

// section is the target for a [table] with fields of its own.
func section(fields []field) target {
	return target{kind: "a table", header: "[%s]", below: func() []field { return fields },
		set: func(d *decoder, _ *field, at []string, v any) {
			if values, ok := d.asTable(at, v); ok {
				d.table(at, fields, values)
			}
		}}
}

// maxTables bounds how often a table is repeated.
const maxTables = 100

// repeated is the target for [[tables]]; fields describes one of them.
func repeated[T any](into *[]T, fields func(*T) []field) target {
	return target{kind: "tables", into: into, header: "[[%s]]", below: func() []field { return fields(new(T)) },
		set: func(d *decoder, _ *field, at []string, v any) {
			elements, ok := v.([]any)
			if v != nil && !ok {
				d.fail(at, "%s stands where tables are repeated; write the header of each as [[%s]]", show(v), dotted(at))
				return
			}
			if len(elements) > maxTables {
				d.fail(at, "%d tables are too many, the most is %d", len(elements), maxTables)
				return
			}
			all := make([]T, len(elements))
			for i, e := range elements {
				at := append(slices.Clip(at), Index(i))
				if values, ok := d.asTable(at, e); ok {
					d.table(at, fields(&all[i]), values)
				}
			}
			*into = all
		}}
}

// named is the target for [table.NAME] with a NAME of the operator's choice.
func named[T any](into *map[string]T, fields func(*T) []field) target {
	return namedBy(into, "[%s.NAME]", identifier, identifierKind, fields)
}

// namedBy is named for names that are not identifiers.
func namedBy[T any](into *map[string]T, header string, name parse[string], kind string, fields func(*T) []field) target {
	return target{kind: "tables by name", into: into, header: header, below: func() []field { return fields(new(T)) },
		set: func(d *decoder, _ *field, at []string, v any) {
			*into = map[string]T{}
			d.eachName(at, v, name, kind, func(name string, at []string, values map[string]any) {
				var t T
				d.table(at, fields(&t), values)
				(*into)[name] = t
			})
		}}
}

// free is the target for [table.NAME] whose content somebody else knows.
func free(into *map[string]map[string]any) target {
	return target{kind: "tables by name", into: into, header: "[%s.NAME]",
		set: func(d *decoder, _ *field, at []string, v any) {
			*into = map[string]map[string]any{}
			d.eachName(at, v, identifier, identifierKind, func(name string, at []string, values map[string]any) {
				d.plain(at, values)
				(*into)[name] = values
			})
		}}
}

// freeTable is the target for one table whose content somebody else knows.
func freeTable(into *map[string]any) target {
	return target{kind: "a table", into: into, set: func(d *decoder, _ *field, at []string, v any) {
		if values, ok := d.asTable(at, v); ok {
			d.plain(at, values)
			*into = values
		}
	}}
}

// eachName calls do for each [table.NAME] below at.
func (d *decoder) eachName(at []string, v any, check parse[string], kind string, do func(name string, at []string, values map[string]any)) {
	tables, ok := d.asTable(at, v)
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		at := append(slices.Clip(at), name)
		if _, err := check(name); err != nil {
			d.fail(at, "%v; a name is %s", err, kind)
			continue
		}
		if values, ok := d.asTable(at, tables[name]); ok {
			do(name, at, values)
		}
	}
}

// asTable accepts a table, or nil for one that the file does not hold.
func (d *decoder) asTable(at []string, v any) (map[string]any, bool) {
	values, ok := v.(map[string]any)
	if !ok && v != nil {
		d.fail(at, "%s stands where a table is wanted; write its keys under a header [%s]", show(v), dotted(at))
		return nil, false
	}
	return values, true
}

// plain refuses what plugin settings cannot hold: TOML's dates and times, which no plugin type takes.
func (d *decoder) plain(at []string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			d.plain(append(slices.Clip(at), k), v[k])
		}
	case []any:
		for i := range v {
			d.plain(append(slices.Clip(at), Index(i)), v[i])
		}
	case bool, int64, float64, string:
	default:
		d.fail(at, "%s has no meaning here; write it as a string, in quotes", show(v))
	}
}
