package manifest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
)

// maxFacts bounds what a plugin declares: a message has no more of all plugins together.
const maxFacts = message.MaxFacts

func factKeys(r *message.FactRule) []Key {
	return []Key{
		{Name: "type", Form: `type = "string"`, Required: true, Doc: "What it holds: bool, int, float, string, bytes, list or map. It may be nil, too.",
			set: func(d *decoder, at string, n *node) {
				if word, ok := d.oneOf(at, n, "type", texts(message.FactTypes())); ok {
					r.Type = message.FactType(word)
				}
			}},
		{Name: "values", Form: `values = {"pass", "fail"}`, Doc: "All values that it may have, of a string or an int; without it, any.",
			set: func(d *decoder, at string, n *node) {
				d.each(at, n, maxList, func(item *node) { r.Values = append(r.Values, item.value) })
				if n.isList() && len(n.items) == 0 {
					d.want(at, n, "at least one value")
				}
			}},
		{Name: "of", Form: `of = "message"`, Doc: "What it is set on: session, message or rcpt; without it, any of these.",
			set: func(d *decoder, at string, n *node) {
				if word, ok := d.oneOf(at, n, "owner", texts(message.FactOwners())); ok {
					r.Of = message.FactOwner(word)
				}
			}},
		{Name: "doc", Form: `doc = "whether the client had to wait"`, Doc: "What it tells, for who reads it.",
			set: func(d *decoder, at string, n *node) { d.text(at, n, maxDoc, &r.Doc) }},
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func (m *Manifest) setFacts(d *decoder, at string, n *node) {
	if !n.isTable() {
		d.want(at, n, "a table of facts by name")
		return
	}
	if len(n.keys) > maxFacts {
		d.report(n.line, "%s%d facts are too many; the most is %d", prefix(at), len(n.keys), maxFacts)
		return
	}
	m.Facts = message.FactRules{} // one that declares none is not one that declares nothing
	for _, e := range n.keys {
		at := join(at, e.name)
		if len(e.name) > maxName || !ownFactPattern.MatchString(e.name) {
			d.report(e.line, "%sa fact is named here without the plugin's name before it, as \"score\" or \"zone.*\", with letters, digits, - and _", prefix(at))
			continue
		}
		r, before := message.FactRule{Name: e.name, Line: e.line}, len(d.errs)
		d.keys(at, e.node, factKeys(&r))
		if len(d.errs) == before {
			d.values(join(at, "values"), e.node.get("values"), &r)
		}
		m.Facts = append(m.Facts, r)
	}
	slices.SortFunc(m.Facts, func(a, b message.FactRule) int { return cmp.Compare(a.Name, b.Name) })
}

// values checks that the values which a fact may have are of its type.
func (d *decoder) values(at string, n *node, r *message.FactRule) {
	if n == nil {
		return
	}
	if r.Type != message.FactString && r.Type != message.FactInt {
		d.report(n.line, "%sonly of a string or an int all values can be listed, not of type %s", prefix(at), r.Type)
		return
	}
	for i, item := range n.items {
		_, text := item.value.(string)
		whole, number := whole(item.value)
		switch {
		case item.kind != scalar || text != (r.Type == message.FactString) || !text && !number || text && len(item.value.(string)) > maxName:
			d.want(at, item, map[message.FactType]string{message.FactString: "a short string", message.FactInt: "a whole number"}[r.Type])
		case number:
			r.Values[i] = whole
		}
		if slices.Contains(r.Values[:i], r.Values[i]) {
			d.report(item.line, "%s%s stands here twice; remove one", prefix(at), item)
		}
	}
}

// declaredFacts checks that what hooks set and read of the plugin's own facts is declared, if any is.
func (d *decoder) declaredFacts(m *Manifest) {
	if m.Facts == nil {
		return
	}
	for _, s := range hooks.Stages() {
		spec := m.Hooks[s.Stage]
		for _, list := range []struct {
			key   string
			names []string
		}{{"sets", spec.Sets}, {"reads", spec.Reads}} {
			for _, fact := range list.names {
				fact = strings.TrimSuffix(fact, "?")
				if strings.HasPrefix(fact, m.ID+".") && !m.declares(fact) {
					d.report(spec.Line, "%s", Unknown("fact", fact, " in hook."+s.Name+"."+list.key+", which is not declared under facts", FactNames(m.ID, m.Facts)))
				}
			}
		}
	}
}

// declares tells whether there is a rule for a fact of the plugin's own, or for some of those that its name stands for.
func (m *Manifest) declares(fact string) bool {
	return m.Facts.Find(fact[len(m.ID)+1:]) != nil || slices.ContainsFunc(FactNames(m.ID, m.Facts), func(name string) bool { return hooks.CoversFact(fact, name) })
}

// FactNames are the full names of the facts that a plugin of that name declares.
func FactNames(plugin string, rules message.FactRules) []string {
	names := make([]string, len(rules))
	for i := range rules {
		names[i] = plugin + "." + rules[i].Name
	}
	return names
}
