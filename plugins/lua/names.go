package lua

import (
	"maps"
	"slices"

	"github.com/stagepost/stagepost/core/config"
)

// hint returns `; did you mean "x"?` for the known name nearest to name, or nothing.
func hint(name string, known []string) string {
	if near := config.Nearest(name, known); near != "" {
		return "; did you mean " + quote(near) + "?"
	}
	return ""
}

func quote(s string) string { return `"` + s + `"` }

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
