package consent

import (
	"fmt"
	"slices"
	"strings"
)

// patch applies a unified diff, as strictly as can be.
func patch(old, diff string) (string, bool) {
	a, at := lines(old), 0
	var out strings.Builder
	list := lines(diff)
	for i := 0; i < len(list); {
		var fromA, ofA, fromB, ofB int
		if n, err := fmt.Sscanf(list[i], "@@ -%d,%d +%d,%d @@\n", &fromA, &ofA, &fromB, &ofB); err != nil || n != 4 {
			return "", false
		}
		if ofA > 0 {
			fromA--
		}
		if fromA < at || fromA > len(a) {
			return "", false
		}
		out.WriteString(strings.Join(a[at:fromA], ""))
		if ofB > 0 {
			fromB--
		}
		if have := len(lines(out.String())); have != fromB {
			return "", false
		}
		at = fromA
		for i++; ofA+ofB > 0; i++ {
			if i == len(list) {
				return "", false
			}
			line := list[i][1:]
			if i+1 < len(list) && strings.HasPrefix(list[i+1], `\`) {
				line = strings.TrimSuffix(line, "\n")
			}
			mark := list[i][0]
			if mark == ' ' || mark == '-' {
				if at == len(a) || a[at] != line {
					return "", false
				}
				at, ofA = at+1, ofA-1
			}
			if mark == ' ' || mark == '+' {
				out.WriteString(line)
				ofB--
			}
			if i+1 < len(list) && strings.HasPrefix(list[i+1], `\`) {
				i++
			}
			if !slices.Contains([]byte(" -+"), mark) || ofA < 0 || ofB < 0 {
				return "", false
			}
		}
	}
	out.WriteString(strings.Join(a[at:], ""))
	return out.String(), true
}
