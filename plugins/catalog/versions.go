package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/plugins/manifest"
)

// maxVersion bounds a version, in bytes; tags of registries hold 128.
const maxVersion = 64

// Speaks tells whether this server runs plugins for an api: its own, and the one before.
func Speaks(api int) bool { return speaks(api, manifest.API) }

func speaks(api, own int) bool { return api >= 0 && (api == own || api == own-1) }

// Newest chooses among the versions of a plugin: the newest whose api this server speaks. A pre-release is chosen only where no
// release can be. api tells which api a version is for; it is asked of newer ones first, and of no more than need be.
func Newest(id string, versions []string, api func(version string) (int, error)) (string, error) {
	return newest(id, versions, api, manifest.API)
}

func newest(id string, versions []string, api func(string) (int, error), own int) (string, error) {
	sorted := slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return !validVersion(v) })
	if len(sorted) == 0 {
		return "", fmt.Errorf("there is no version of a plugin %s", id)
	}
	slices.SortFunc(sorted, func(a, b string) int {
		return cmp.Or(boolOrder(isPre(a), isPre(b)), CompareVersions(b, a))
	})
	first := -1
	for _, v := range sorted {
		n, err := api(v)
		if err != nil {
			return "", err
		}
		if speaks(n, own) {
			return v, nil
		}
		if first < 0 {
			first = n
		}
	}
	return "", fmt.Errorf("no version of the plugin %s is for this server, which speaks api %s; %s is for api %d", id, spoken(own), sorted[0], first)
}

func spoken(own int) string {
	if own == 0 {
		return "0"
	}
	return fmt.Sprintf("%d and %d", own-1, own)
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func isPre(v string) bool { return strings.Contains(v, "-") }

// validVersion tells a semantic version without build metadata: that has no place in the order of versions, so two packages could
// both be the newest.
func validVersion(v string) bool {
	core, pre, isPre := strings.Cut(v, "-")
	parts := strings.Split(core, ".")
	if len(v) > maxVersion || len(parts) != 3 || slices.ContainsFunc(parts, func(p string) bool { return !isNumber(p) || p[0] == '0' && p != "0" }) {
		return false
	}
	if !isPre {
		return true
	}
	for part := range strings.SplitSeq(pre, ".") {
		other := func(r rune) bool { return unusual(r) || strings.ContainsRune("._+@=", r) }
		if part == "" || strings.ContainsFunc(part, other) || isNumber(part) && part[0] == '0' && part != "0" {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// CompareVersions orders valid versions as Semantic Versioning 2.0.0 does in its section 11.
func CompareVersions(a, b string) int {
	coreA, preA, _ := strings.Cut(a, "-")
	coreB, preB, _ := strings.Cut(b, "-")
	if c := slices.CompareFunc(strings.Split(coreA, "."), strings.Split(coreB, "."), compareNumbers); c != 0 {
		return c
	}
	if c := boolOrder(preA == "", preB == ""); c != 0 {
		return c
	}
	return slices.CompareFunc(strings.Split(preA, "."), strings.Split(preB, "."), func(x, y string) int {
		switch numX, numY := isNumber(x), isNumber(y); {
		case numX && numY:
			return compareNumbers(x, y)
		case numX != numY: // numbers are lower than words
			return boolOrder(numY, numX)
		}
		return strings.Compare(x, y)
	})
}

// compareNumbers compares numbers without leading zeros, of any length.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
