package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
)

// Grant is what the operator decided about what a plugin may do.
type Grant struct {
	Name    string         // of [run.NAME]
	Table   map[string]any // grant in [run.NAME]: keys as in needs; nil when there is none
	Trusted bool           // what Table does not name is granted as asked for; else the plugin is refused for it
	// Place says where a key of Table stands; "" is grant itself.
	Place func(key string) config.Error
}

// Grant works out what a plugin may do: of each capability what it asks for in needs and the operator grants. It gives a
// manifest with that in Granted. The plugin is refused when nobody decided about something that it asks for: what is wanted
// and never said would fail in each call.
func (m *Manifest) Grant(g Grant) (*Manifest, error) {
	given, d := &capability.Needs{}, &decoder{}
	for _, key := range slices.Sorted(maps.Keys(g.Table)) {
		at := g.Place(key)
		d.file = at.File
		n := fromPlain(g.Table[key], at.Line)
		i := slices.IndexFunc(capability.Capabilities(), func(c capability.Capability) bool { return c.Name == key })
		switch {
		case i < 0:
			var names []string
			for _, c := range capability.Capabilities() {
				names = append(names, c.Name)
			}
			d.unknown(at.Line, "capability", key, " in run."+g.Name+".grant", names)
		case n.kind != scalar || n.value != false:
			d.capability("run."+g.Name+".grant."+key, n, capability.Capabilities()[i], given)
		}
	}
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	may, whole := *m.Needs, *given // whole is what would have to be granted for the plugin to have all
	var missing []string
	for _, c := range capability.Capabilities() {
		asked := m.Needs.Refuse("", c.Name) == nil
		if _, decided := g.Table[c.Name]; !decided && asked {
			if !g.Trusted {
				missing = append(missing, words(c, m.Needs)...)
			}
			set(c, given, m.Needs)
			set(c, &whole, m.Needs)
		}
		restrict(c, &may, given)
	}
	if missing != nil {
		return nil, fmt.Errorf("%s: nobody granted what the plugin asks for (%s); to grant it, write\n[run.%s]\n%s", m.Pos(), strings.Join(missing, ", "), g.Name, grantLine(&whole, g.Table))
	}
	granted := *m
	granted.Granted = &may
	if g.Table != nil {
		may.Asked, may.Given = m.Needs, given
	}
	return &granted, nil
}

// set copies one capability.
func set(c capability.Capability, to, from *capability.Needs) {
	switch f := c.Field(to).(type) {
	case *bool:
		*f = *c.Field(from).(*bool)
	case *capability.Reading:
		*f = *c.Field(from).(*capability.Reading)
	case *capability.Editing:
		*f = *c.Field(from).(*capability.Editing)
	case *[]string:
		*f = *c.Field(from).(*[]string)
	}
}

// restrict takes from one capability what is not given. Two lists of patterns have no list for what they share: those stay that
// share anything, and both lists are asked.
func restrict(c capability.Capability, may, given *capability.Needs) {
	switch f := c.Field(may).(type) {
	case *bool:
		*f = *f && *c.Field(given).(*bool)
	case *capability.Reading:
		*f = min(*f, *c.Field(given).(*capability.Reading))
	case *capability.Editing:
		*f &= *c.Field(given).(*capability.Editing)
	case *[]string:
		if len(*c.Field(given).(*[]string)) == 0 {
			*f = nil
		}
	}
}

// fromPlain makes a tree of a plain value that was read from one line.
func fromPlain(v any, line int) *node {
	switch v := v.(type) {
	case map[string]any:
		n := &node{line: line, kind: table}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.add(k, line, fromPlain(v[k], line))
		}
		return n
	case []any:
		n := &node{line: line, kind: list}
		for _, item := range v {
			n.items = append(n.items, fromPlain(item, line))
		}
		return n
	case []string:
		n := &node{line: line, kind: list}
		for _, item := range v {
			n.items = append(n.items, fromPlain(item, line))
		}
		return n
	}
	return &node{line: line, kind: scalar, value: v}
}

// grantLine writes the grant that gives n, in TOML. Keys of decided that give nothing stay.
func grantLine(n *capability.Needs, decided map[string]any) string {
	var parts []string
	for _, c := range capability.Capabilities() {
		text := ""
		switch f := c.Field(n).(type) {
		case *bool:
			if text = strconv.FormatBool(*f); *f && c.Values != nil {
				text = strconv.Quote(c.Values[0])
			}
		case *capability.Reading:
			if text = "false"; *f > 0 {
				text = strconv.Quote(c.Values[*f-1])
			}
		default:
			list := words(c, n)
			for i, w := range list {
				list[i] = strconv.Quote(strings.TrimPrefix(w, c.Name+" "))
			}
			text = "[" + strings.Join(list, ", ") + "]"
		}
		if _, ok := decided[c.Name]; ok || n.Refuse("", c.Name) == nil {
			parts = append(parts, c.Name+" = "+text)
		}
	}
	return "grant = { " + strings.Join(parts, ", ") + " }"
}

// GrantedWords says what a plugin may do of what it asked for, and what of that it may not do, in the words of the manifest. Of two
// patterns that overlap it names both.
func (m *Manifest) GrantedWords() (granted, withheld []string) {
	may := m.Granted
	granted = []string{}
	for _, c := range capability.Capabilities() {
		for _, asked := range words(c, m.Needs) {
			if may.Given == nil {
				granted = append(granted, asked)
				continue
			}
			whole, parts := within(c, asked, may)
			granted = append(granted, parts...)
			if !whole {
				withheld = append(withheld, asked)
			}
		}
	}
	return granted, withheld
}

// within tells how much of what was asked for is granted: the whole, or parts, or nothing.
func within(c capability.Capability, asked string, may *capability.Needs) (whole bool, parts []string) {
	if _, list := c.Field(may).(*[]string); !list {
		if slices.Contains(words(c, may), asked) {
			return true, []string{asked}
		}
		if c.Name == "read" && may.Read > 0 { // the body was asked for, the header is granted
			parts = words(c, may)
		}
		return false, parts
	}
	covers := CoversHost
	if c.Name == "facts" {
		covers = hooks.CoversFact
	}
	for _, given := range words(c, may.Given) {
		switch a, g := strings.TrimPrefix(asked, c.Name+" "), strings.TrimPrefix(given, c.Name+" "); {
		case covers(g, a):
			return true, []string{asked}
		case covers(a, g):
			parts = append(parts, given)
		case mayMeet(a, g):
			parts = append(parts, asked+" within "+g)
		}
	}
	return false, parts
}
