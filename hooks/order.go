package hooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Sort puts the hooks of one stage in the order they are asked: what a hook reads is set before, then after and before, then
// order, then the plugin's place, then its name. It resolves who sets what a hook reads; others are the hooks of the other
// stages, which may set it too. A circle, or a fact that nobody sets and the hook cannot do without, is an error.
func Sort(hooks, others []*Hook) ([]*Hook, error) {
	sorted := slices.Clone(hooks)
	slices.SortStableFunc(sorted, func(a, b *Hook) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Plugin, b.Plugin))
	})
	byName := make(map[string]*Hook, len(sorted))
	for _, h := range sorted {
		byName[h.Plugin] = h
	}
	first := make(map[*Hook][]*Hook, len(sorted)) // those that must come before the key
	need := func(h, before *Hook) {
		if h != nil && before != nil && h != before {
			first[h] = append(first[h], before)
		}
	}
	for _, h := range sorted {
		if err := h.resolve(sorted, others); err != nil {
			return nil, err
		}
		for _, r := range h.reads {
			need(h, byName[r.plugin])
		}
		for _, name := range h.After {
			need(h, byName[name])
		}
		for _, name := range h.Before {
			need(byName[name], h)
		}
	}
	out := make([]*Hook, 0, len(sorted))
	done := make(map[*Hook]bool, len(sorted))
	for len(out) < len(sorted) {
		i := slices.IndexFunc(sorted, func(h *Hook) bool {
			return !done[h] && !slices.ContainsFunc(first[h], func(b *Hook) bool { return !done[b] })
		})
		if i < 0 {
			return nil, circle(sorted, done, first)
		}
		done[sorted[i]] = true
		out = append(out, sorted[i])
	}
	return out, nil
}

// resolve finds the plugin that sets each fact the hook reads.
func (h *Hook) resolve(same, others []*Hook) error {
	h.reads = nil
	for _, name := range h.Reads {
		r := read{fact: strings.TrimSuffix(name, "?"), optional: strings.HasSuffix(name, "?")}
		inTime := false
		for _, s := range slices.Concat(same, others) {
			if s == h || !s.sets(r.fact) || r.plugin != "" && r.plugin != s.Plugin {
				continue
			}
			r.plugin, s.setter = s.Plugin, true // each of its stages that may set it: any may be the one that fails
			inTime = inTime || !s.Background || s.Stage <= h.Stage
		}
		if r.plugin != "" && !inTime {
			return fmt.Errorf("%s: %s at %s reads the fact %q, which %s sets in the background at a later stage", h.Pos, h.Plugin, h.Stage, r.fact, r.plugin)
		}
		if r.plugin == "" && !r.optional {
			return fmt.Errorf("%s: %s at %s reads the fact %q, and no plugin that is loaded sets it; enable one that does, or write %q if the plugin can do without",
				h.Pos, h.Plugin, h.Stage, r.fact, r.fact+"?")
		}
		h.reads = append(h.reads, r)
	}
	return nil
}

// sets tells whether this hook is the one that sets the fact: it says so, or says nothing and the fact bears its name.
func (h *Hook) sets(fact string) bool {
	if len(h.Sets) > 0 {
		return slices.ContainsFunc(h.Sets, func(s string) bool { return CoversFact(s, fact) })
	}
	return CoversFact(h.Plugin, fact)
}

func circle(sorted []*Hook, done map[*Hook]bool, first map[*Hook][]*Hook) error {
	h := sorted[slices.IndexFunc(sorted, func(h *Hook) bool { return !done[h] })]
	var path []string
	seen := map[*Hook]bool{}
	for !seen[h] {
		seen[h] = true
		path = append(path, h.Plugin)
		h = first[h][slices.IndexFunc(first[h], func(b *Hook) bool { return !done[b] })]
	}
	return fmt.Errorf("%s: the order at %s goes in a circle: %s", h.Pos, h.Stage, strings.Join(append(path, h.Plugin), " after "))
}
