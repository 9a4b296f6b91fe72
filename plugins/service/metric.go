package service

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
)

// Bounds of a plugin's counters.
const (
	maxMetrics     = 100
	maxMetricName  = 64
	maxMetricCount = 1 << 40 // in one call
)

func metricService() Service {
	return Service{Name: "metric", Doc: "Counts what happens, for the server's metrics: `stagepost_plugin_events_total` with the labels `plugin` and `name`. " +
		"A plugin has at most 100 names, which stand in its code, and never hold what a client sent: such are words by which to count, not to find a message. " +
		"Counts go on through reloads, begin anew at a restart, and go when the plugin goes.",
		Funcs: []Func{{
			Name: "metric.count", Args: []Arg{{Name: "name", Kind: String}, {Name: "n", Kind: Int, Optional: true}}, AtLoad: true,
			Doc: "Adds n, or 1, to the counter of that name: lower-case letters, digits and _, a letter first. To add 0 shows it.",
			Call: func(c *Context, args []any) (any, error) {
				n := int64(1)
				if args[1] != nil {
					n = args[1].(int64)
				}
				if n < 0 || n > maxMetricCount {
					return nil, fmt.Errorf("n is %d; a counter only grows, by at most %d at once", n, int64(maxMetricCount))
				}
				if err := c.spend(2, 0); err != nil {
					return nil, err
				}
				return nil, c.state.events.count(args[0].(string), uint64(n))
			},
		}},
	}
}

// metricPattern is what Prometheus takes for a name of a label and most tools for a word.
var metricPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// events are the counters of a plugin. The zero value is ready.
type events struct {
	mu     sync.Mutex
	counts map[string]uint64
}

func (e *events) count(name string, n uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.counts[name]; !known {
		switch {
		case len(name) > maxMetricName || !metricPattern.MatchString(name):
			return fmt.Errorf("%q is no name; it is made of up to %d lower-case letters, digits and _, a letter first", cut(name), maxMetricName)
		case len(e.counts) == maxMetrics:
			return fmt.Errorf("%q is one name too many; a plugin has at most %d", name, maxMetrics)
		case e.counts == nil:
			e.counts = map[string]uint64{}
		}
	}
	e.counts[name] += n
	return nil
}

// Event is one counter of a plugin.
type Event struct {
	Name  string
	Count uint64
}

// Events are what the plugin of that name here counted by metric.count, in order of name.
func (h *Host) Events(plugin string) []Event {
	h.mu.Lock()
	s := h.plugins[plugin]
	h.mu.Unlock()
	if s == nil {
		return nil
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	out := make([]Event, 0, len(s.events.counts))
	for _, name := range slices.Sorted(maps.Keys(s.events.counts)) {
		out = append(out, Event{name, s.events.counts[name]})
	}
	return out
}

// Keep forgets what instances of plugins share, but for the plugins that are named.
func (h *Host) Keep(plugins []string) {
	if s := h.shaper.Load(); s != nil {
		(*s).KeepMeasures(plugins)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.plugins, func(name string, _ *state) bool { return !slices.Contains(plugins, name) })
}
