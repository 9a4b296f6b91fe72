package generation

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
)

// hasTransports checks that the transports are there that settings of plugins name as next hops. What a plugin makes up, or finds in a
// lookup, is judged at the attempt.
func hasTransports(cfg *config.Config) error {
	var errs []error
	var look func(at []string, v any)
	look = func(at []string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				look(append(slices.Clip(at), key), v[key])
			}
		case []any:
			for i := range v {
				look(append(slices.Clip(at), config.Index(i)), v[i])
			}
		case string:
			name, ok := strings.CutPrefix(strings.ToLower(v), message.HopTransport)
			if _, known := cfg.Transports[name]; ok && name != "" && !known {
				errs = append(errs, cfg.Errorf(at, "there is no [transport.%s]%s", name, didYouMean(name, slices.Collect(maps.Keys(cfg.Transports)))))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Settings)) {
		look([]string{"plugin", name}, cfg.Settings[name])
	}
	return errors.Join(errs...)
}
