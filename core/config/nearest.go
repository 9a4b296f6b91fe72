package config

// Nearest gives the known name that name was probably meant to be, or "" when none is near: at most one difference in
// three characters, where a difference is one character more, less or other, or two neighbours swapped. Of several
// equally near names it gives the first.
func Nearest(name string, known []string) string {
	const longest = 64 // no name of ours is longer; bounds the work
	if len(name) > longest {
		return ""
	}
	best, least := "", max(1, len(name)/3)+1
	for _, k := range known {
		if len(k) > longest || k == "" {
			continue
		}
		if n := distance(name, k); n < least {
			best, least = k, n
		}
	}
	return best
}

// distance is the optimal string alignment distance of two short names.
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			other := 1
			if a[i-1] == b[j-1] {
				other = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+other)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
