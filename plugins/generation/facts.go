package generation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/hooks"
	"github.com/stagepost/stagepost/plugins/manifest"
)

// knownFacts finds hooks that cannot do without a fact which a plugin of that name does not declare, and no other one sets: it
// would be nil for ever.
func knownFacts(loaded []*shared) error {
	var errs []error
	for _, s := range loaded {
		for _, h := range s.hooks {
			for _, fact := range h.Reads {
				if strings.HasSuffix(fact, "?") {
					continue // it can do without, so it may be of another version
				}
				if text := undeclared(fact, loaded); text != "" {
					errs = append(errs, fmt.Errorf("%s: %s at %s reads: %s", h.Pos, s.name, h.Stage, text))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// undeclared says that a plugin which declares its facts has none of that name, and no other plugin sets it.
func undeclared(fact string, loaded []*shared) string {
	name, key, _ := strings.Cut(fact, ".")
	i := slices.IndexFunc(loaded, func(s *shared) bool { return s.name == name })
	if i < 0 || loaded[i].manifest.Facts == nil || loaded[i].manifest.Facts.Find(key) != nil {
		return ""
	}
	for _, s := range loaded {
		if slices.ContainsFunc(s.manifest.Granted.Facts, func(f string) bool { return hooks.CoversFact(f, fact) }) {
			return ""
		}
	}
	return manifest.Unknown("fact", fact, " of the plugin "+name, manifest.FactNames(name, loaded[i].manifest.Facts))
}

// factsUnder are what a plugin declares, by full name, as it is called here.
func factsUnder(name string, rules message.FactRules) message.FactRules {
	out := slices.Clone(rules)
	for i := range out {
		out[i].Name = name + "." + out[i].Name
	}
	return out
}
