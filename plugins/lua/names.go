package lua

import (
	"maps"
	"slices"
	"strings"
)

// hint returns `; did you mean "x"?` for the known name nearest to name, or nothing.
func hint(name string, known []string) string {
	best, bestDist := "", len(name)/2+1
	slices.Sort(known)
	for _, k := range known {
		if d := distance(name, k); d < bestDist {
			best, bestDist = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + quote(best) + "?"
}

func quote(s string) string { return `"` + s + `"` }

func keys[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }

// distance is the number of letters to add, drop, change or swap with a neighbour; case does not count.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var older, prev, cur [65]int
	for j := range len(b) + 1 {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, prev = prev, cur
	}
	return prev[len(b)]
}
