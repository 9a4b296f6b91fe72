package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/lookup"
)

// Type is what a setting holds.
type Type string

// The types of settings: how the operator writes them, and what the plugin gets.
const (
	Bool     Type = "bool"     // true                        bool
	Int      Type = "int"      // 5                           int64
	String   Type = "string"   // "text"                      string
	Duration Type = "duration" // "1h30m"                     seconds: int64, or float64 if they are not whole
	Size     Type = "size"     // "10MB"                      bytes: int64
	List     Type = "list"     // ["a", "b"], of any values   []any
	Map      Type = "map"      // a table, of any values      map[string]any
	File     Type = "file"     // "file:rules.toml", or what would stand in the file as a table: map[string]any; see Tables
)

var types = []struct {
	t    Type
	want string
}{
	{Bool, "true or false"},
	{Int, "a whole number, as 5"},
	{String, "a string"},
	{Duration, `a duration, as "5m"`},
	{Size, `a size, as "10MB"`},
	{List, `a list, as ["a", "b"]`},
	{Map, "a table"},
	{File, `a file, as "file:rules.toml", or a table`},
}

// Want names what is written for the type.
func (t Type) Want() string {
	for _, k := range types {
		if k.t == t {
			return k.want
		}
	}
	return string(t)
}

// Lookup is the name of the lookup that the operator wrote in the place of a list or a table: "lookup:NAME".
func (s *Setting) Lookup(written any) (name string, ok bool) {
	if text, is := written.(string); is && (s.Type == List || s.Type == Map) {
		return strings.CutPrefix(text, lookup.Prefix)
	}
	return "", false
}

// want is what the operator may write.
func (s *Setting) want() string {
	if s.Type == List || s.Type == Map {
		return s.Type.Want() + `, or "lookup:NAME"`
	}
	return s.Type.Want()
}

// Settings are a plugin's settings with the defaults filled in: bool, int64, float64, string, []any and map[string]any; a
// list or a table for which the operator names a lookup is the text "lookup:NAME". A setting without value and default is absent. They are shared by all instances of the plugin and never changed.
type Settings map[string]any

// raw is what one entry of config says before its type is known.
type raw struct{ value *node }

func (s *Setting) keys(r *raw) []Key {
	return []Key{
		{Name: "type", Form: `type = "duration"`, Required: true, Doc: "What it holds: bool, int, string, duration, size, list, map or file. For a list or a map the operator may write \"lookup:NAME\", too; `lookup(\"config.SETTING\", key)` asks all of these. Of a file the operator writes the path, from the configuration's folder, as in \"file:rules.toml\", or as a table what would stand in it; \"\" is none. The plugin gets what stands in it, in TOML, as a table, in which each table has two keys more: \"file\" and \"line\" say where it stands. The default is a file in the plugin's folder, as in \"file:rules.toml\".",
			set: func(d *decoder, at string, n *node) {
				known := make([]string, len(types))
				for i, k := range types {
					known[i] = string(k.t)
				}
				if word, ok := d.oneOf(at, n, "type", known); ok {
					s.Type = Type(word)
				}
			}},
		{Name: "default", Form: `default = "5m"`, Doc: "The value when the operator writes none, written as the operator would.",
			set: func(_ *decoder, _ string, n *node) { r.value = n }},
		{Name: "required", Form: "required = true", Doc: "The operator must write it; then it has no default.",
			set: func(d *decoder, at string, n *node) { d.boolean(at, n, &s.Required) }},
		{Name: "doc", Form: `doc = "how long strangers wait"`, Doc: "What it is for, for the manual.",
			set: func(d *decoder, at string, n *node) { d.text(at, n, maxDoc, &s.Doc) }},
	}
}

func (m *Manifest) setConfig(d *decoder, at string, n *node) {
	if !n.isTable() {
		d.want(at, n, "a table of settings by name")
		return
	}
	if len(n.keys) > maxSettings {
		d.report(n.line, "%s%d settings are too many; the most is %d", prefix(at), len(n.keys), maxSettings)
		return
	}
	for _, e := range n.keys {
		at := join(at, e.name)
		if !settingPattern.MatchString(e.name) {
			d.report(e.line, "%sa setting is named with up to 64 lower-case letters, digits and _, a letter first", prefix(at))
			continue
		}
		s, r := Setting{Name: e.name, Line: e.line}, raw{}
		before := len(d.errs)
		d.keys(at, e.node, s.keys(&r))
		if len(d.errs) > before {
			continue
		}
		if r.value != nil {
			at := join(at, "default")
			v, err := r.value.plain(s.Type == Map)
			if err == nil {
				v, err = s.Type.convert(v)
			}
			switch {
			case err != nil:
				d.report(r.value.line, "%s%v; want %s", prefix(at), err, s.Type.Want())
			case s.Required:
				d.report(r.value.line, "%sa required setting has no default; remove one of the two", prefix(at))
			}
			s.Default = v
		}
		m.Config = append(m.Config, s)
	}
}

// convert checks a value as the operator wrote it and gives what the plugin gets. The error says what is wrong with the value.
func (t Type) convert(v any) (any, error) {
	switch t {
	case Bool:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case Int:
		if i, ok := whole(v); ok {
			return i, nil
		}
	case String:
		if s, ok := v.(string); ok {
			return s, nil
		}
	case Duration:
		if s, ok := v.(string); ok {
			d, err := config.ParseDuration(s)
			switch {
			case err != nil:
				return nil, err
			case d%time.Second == 0:
				return int64(d / time.Second), nil
			}
			return d.Seconds(), nil
		}
	case Size:
		if s, ok := v.(string); ok {
			return config.ParseSize(s)
		}
	case List:
		if l, ok := v.([]any); ok {
			return copied(l, maxValueDepth)
		}
	case Map:
		if m, ok := v.(map[string]any); ok {
			return copied(m, maxValueDepth)
		}
	case File:
		switch v := v.(type) {
		case map[string]any:
			return copied(v, maxValueDepth)
		case string:
			if _, ok := strings.CutPrefix(v, FilePrefix); ok || v == "" {
				return v, nil
			}
		}
	}
	return nil, fmt.Errorf("%s is not of type %s", show(v), t)
}

const maxValueDepth = 32 // as deep as the configuration nests

// copied gives a copy that shares nothing with v, and refuses what is no plain value.
func copied(v any, depth int) (any, error) {
	if depth == 0 {
		return nil, fmt.Errorf("the value nests more than %d deep", maxValueDepth)
	}
	switch v := v.(type) {
	case bool, int64, float64, string:
		return v, nil
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = copied(v[i], depth-1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			var err error
			if out[k], err = copied(v[k], depth-1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s cannot stand in a setting", show(v))
}

// Configure checks the operator's table [plugin.NAME] and fills in the defaults. Values are as config.Config.Settings holds
// them; nil is an absent table. pos gives the place of a key as "file:line", and of the table (or the file) for "". The error
// has a line for each fault.
func (m *Manifest) Configure(values map[string]any, pos func(key string) string) (Settings, error) {
	out := make(Settings, len(m.Config))
	var errs []error
	fail := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", pos(key), fmt.Sprintf(format, args...)))
	}
	names := make([]string, len(m.Config))
	for i := range m.Config {
		s := &m.Config[i]
		names[i] = s.Name
		v, written := values[s.Name]
		switch {
		case written:
			if _, ok := s.Lookup(v); ok {
				out[s.Name] = v
				continue
			}
			converted, err := s.Type.convert(v)
			if err != nil {
				fail(s.Name, "%s: %v; the plugin %s wants %s", s.Name, err, m.ID, s.want())
			}
			out[s.Name] = converted
		case s.Required:
			fail("", "%s is missing; the plugin %s wants %s", s.Name, m.ID, s.want())
		case s.Default != nil:
			out[s.Name] = s.Default
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(names, name) {
			fail(name, "%s", Unknown("key", name, " for the plugin "+m.ID, names))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}
