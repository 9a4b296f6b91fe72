package manifest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/hooks"
)

// maxErrors bounds the errors of one reading: the first ones tell what is wrong.
const maxErrors = 20

// decoder goes over the tree with the tables of keys.go and gathers what does not fit.
type decoder struct {
	file string
	errs config.Errors
}

func (d *decoder) report(line int, format string, args ...any) {
	d.errs = append(d.errs, config.Error{File: d.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// errors gives what was reported, sorted by line and bounded.
func (d *decoder) errors() error {
	slices.SortStableFunc(d.errs, func(a, b config.Error) int { return cmp.Compare(a.Line, b.Line) })
	if more := len(d.errs) - maxErrors; more > 0 {
		d.errs = d.errs[:maxErrors]
		d.errs[maxErrors-1].Text += fmt.Sprintf(" (and %d more errors)", more)
	}
	return d.errs
}

func (d *decoder) manifest(root *node) (*Manifest, error) {
	m := &Manifest{File: d.file, Line: root.line, Version: "0.0.0", Needs: &capability.Needs{}, Hooks: map[hooks.Stage]HookSpec{}}
	if api := root.get("api"); api != nil { // first: a manifest of another api has other keys
		if v, ok := api.value.(int64); ok && v != API {
			d.report(api.line, "this plugin is written for api %d, and this server speaks api %d; %s", v, API,
				map[bool]string{true: "update the server", false: "get a newer version of the plugin"}[v > API])
			return nil, d.errors()
		}
	}
	d.keys("", root, m.keys())
	if len(d.errs) == 0 {
		d.ownFacts(m)
		d.declaredFacts(m)
	}
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	m.Granted = m.Needs
	slices.SortFunc(m.Config, func(a, b Setting) int { return cmp.Compare(a.Name, b.Name) })
	return m, nil
}

// ownFacts checks that hooks set only facts that the plugin may set.
func (d *decoder) ownFacts(m *Manifest) {
	for _, s := range hooks.Stages() {
		spec := m.Hooks[s.Stage]
		for _, fact := range spec.Sets {
			name := strings.TrimSuffix(fact, ".*")
			own := name == m.ID || strings.HasPrefix(name, m.ID+".")
			if !own && !slices.ContainsFunc(m.Needs.Facts, func(f string) bool { return hooks.CoversFact(f, name) }) {
				d.report(spec.Line, "hook.%s.sets: the fact %q is not this plugin's own; list it in needs.facts too", s.Name, fact)
			}
		}
	}
}

// keys decodes a table whose keys are known.
func (d *decoder) keys(at string, n *node, known []Key) {
	if !n.isTable() {
		d.report(n.line, "%s%s stands where a table of keys is wanted", prefix(at), n)
		return
	}
	for _, k := range known {
		if n.get(k.Name) == nil && k.Required {
			d.report(n.line, "%s%s is missing; write %s", prefix(at), k.Name, k.Form)
		}
	}
	for _, e := range n.keys {
		i := slices.IndexFunc(known, func(k Key) bool { return k.Name == e.name })
		if i < 0 {
			names := make([]string, len(known))
			for i, k := range known {
				names[i] = k.Name
			}
			d.unknown(e.line, "key", e.name, in(at), names)
			continue
		}
		known[i].set(d, join(at, e.name), e.node)
	}
}

// unknown reports a name that is not among the known ones, with the nearest.
func (d *decoder) unknown(line int, what, name, where string, known []string) {
	d.report(line, "%s", Unknown(what, name, where, known))
}

// Unknown says, in the words of every check at load, that a name is not known, and which are.
func Unknown(what, name, where string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	hint := "; known: "
	if near := config.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("; did you mean %q? known: ", near)
	}
	if len(known) == 0 {
		return fmt.Sprintf("unknown %s %q%s; none is known", what, shorten(name), where)
	}
	return fmt.Sprintf("unknown %s %q%s%s%s", what, shorten(name), where, hint, strings.Join(known, ", "))
}

func (d *decoder) want(at string, n *node, want string) {
	d.report(n.line, "%s%s; want %s", prefix(at), n, want)
}

func (d *decoder) boolean(at string, n *node, into *bool) {
	if v, ok := n.value.(bool); ok && n.kind == scalar {
		*into = v
		return
	}
	d.want(at, n, "true or false")
}

func (d *decoder) text(at string, n *node, most int, into *string) {
	s, ok := n.value.(string)
	if n.kind != scalar || !ok || len(s) > most || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		d.want(at, n, fmt.Sprintf("a line of text of at most %d bytes", most))
		return
	}
	*into = s
}

// matching accepts a string that is wholly matched.
func (d *decoder) matching(at string, n *node, re *regexp.Regexp, want string, into *string) bool {
	s, ok := n.value.(string)
	if n.kind != scalar || !ok || len(s) > maxName || !re.MatchString(s) {
		d.want(at, n, want)
		return false
	}
	*into = s
	return true
}

func (d *decoder) number(at string, n *node, least, most int) (int, bool) {
	v, ok := whole(n.value)
	if n.kind != scalar || !ok || v < int64(least) || v > int64(most) {
		want := fmt.Sprintf("a whole number from %d to %d", least, most)
		if least == most {
			want = fmt.Sprintf("the number %d", least)
		}
		d.want(at, n, want)
		return 0, false
	}
	return int(v), true
}

// whole accepts an integer and a float that is one.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		if i := int64(v); float64(i) == v && v >= -1<<53 && v <= 1<<53 {
			return i, true
		}
	}
	return 0, false
}

func (d *decoder) duration(at string, n *node, least, most time.Duration, into *time.Duration) {
	s, _ := n.value.(string)
	v, err := config.ParseDuration(s)
	if n.kind != scalar || err != nil || v < least || v > most {
		d.want(at, n, fmt.Sprintf(`a duration from %s to %s, as "10s"`, config.FormatDuration(least), config.FormatDuration(most)))
		return
	}
	*into = v
}

// oneOf accepts one of a few words.
func (d *decoder) oneOf(at string, n *node, what string, known []string) (string, bool) {
	s, ok := n.value.(string)
	if n.kind != scalar || !ok {
		d.want(at, n, quoted(known))
		return "", false
	}
	if !slices.Contains(known, s) {
		d.unknown(n.line, what, s, in(at), known)
		return "", false
	}
	return s, true
}

// each calls do for each element of a list.
func (d *decoder) each(at string, n *node, most int, do func(item *node)) {
	switch {
	case !n.isList():
		d.want(at, n, "a list")
	case len(n.items) > most:
		d.report(n.line, "%s%d elements are too many; the most is %d", prefix(at), len(n.items), most)
	default:
		for _, item := range n.items {
			do(item)
		}
	}
}

// names decodes a list of strings that match.
func (d *decoder) names(at string, n *node, re *regexp.Regexp, want string, into *[]string) {
	d.each(at, n, maxList, func(item *node) {
		var s string
		if d.matching(at, item, re, want, &s) {
			*into = append(*into, s)
		}
	})
}

// words decodes a list of words out of a few.
func (d *decoder) words(at string, n *node, what string, known []string) (out []string) {
	d.each(at, n, maxList, func(item *node) {
		if s, ok := d.oneOf(at, item, what, known); ok {
			out = append(out, s)
		}
	})
	return out
}

func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return strings.Join(q, " or ")
}

// in places a key for a message: ` in hook.rcpt`, and nothing at the top.
func in(at string) string {
	if at == "" {
		return ""
	}
	return " in " + at
}

func prefix(at string) string {
	if at == "" {
		return ""
	}
	return at + ": "
}

func join(at, name string) string {
	name = shorten(name)
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '.' }) {
		name = strconv.Quote(name)
	}
	if at == "" {
		return name
	}
	return at + "." + name
}
