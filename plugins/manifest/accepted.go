package manifest

import (
	"maps"
	"slices"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/core/config"
)

// ReadNeeds reads a table of capabilities that stands elsewhere than in a manifest, under the key at. place says where a key of it stands.
func ReadNeeds(at string, table map[string]any, place func(key string) config.Error) (*capability.Needs, error) {
	needs, d := &capability.Needs{}, &decoder{}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		where := place(key)
		d.file = where.File
		n := fromPlain(map[string]any{key: table[key]}, where.Line)
		d.needs(at, n, needs)
	}
	if len(d.errs) > 0 {
		return nil, d.errors()
	}
	return needs, nil
}

// Beyond says what is asked for and was not accepted, in the words of the manifest. Patterns are not weighed: what was accepted is what
// stands there.
func Beyond(asked, accepted *capability.Needs) (more []string) {
	for _, c := range capability.Capabilities() {
		if c.Name == "read" && accepted.Read >= asked.Read {
			continue
		}
		was := words(c, accepted)
		for _, w := range words(c, asked) {
			if !slices.Contains(was, w) {
				more = append(more, w)
			}
		}
	}
	return more
}
