package config

import (
	"fmt"
	"slices"
	"time"
)

// Pool is one [pool.NAME]: sources that share mail.
type Pool struct {
	Sources []string // by name; what one of them may not send now goes by the next
	Weights []int    // as many as Sources, or none: they are equal
}

// Warmup is what an address that nobody knows yet may send.
type Warmup struct {
	Start     time.Time // a day, UTC; zero: there is no bound
	Daily     []int     // messages on the first day, the second, and so on; after the last there is no bound
	SiteDaily []int     // of these, to one site; after the last there is none
}

func (p *Pool) fields() []field {
	return []field{
		{
			name: "sources", required: true, example: `["out1", "out2"]`,
			doc: "The [source.NAME] tables that share the mail, at most 64. What one of them may not send now, since it is warmed up, goes by the next in this order, after the last by the first.",
			to:  list(&p.Sources, maxPool, "a list of names of sources", identifier),
		},
		{
			name: "weights", example: "[3, 1]", absent: "all are equal",
			doc: "How much of the mail each of them sends, in the same order: with 3 and 1 the first sends three quarters. With 0 one sends what the others may not.",
			to:  list(&p.Weights, maxPool, "a list of whole numbers from 0 to 1000", number(0, 1000)),
		},
	}
}

const (
	maxPool   = 64
	maxWarmup = 366 // days
	mostDaily = 10_000_000
)

func (s *Source) warmupFields() []field {
	w := &s.Warmup
	return []field{
		{
			name: "start", absent: "there is no warm-up", example: `"2026-12-01"`,
			doc: "The first day on which anything is sent from it. Days are those of UTC.",
			to:  one(&w.Start, `a day, "2026-12-01"`, date),
		},
		{
			name: "daily", absent: "there is no warm-up", example: "[50, 100, 500, 1000, 5000]",
			doc: "Messages on the first day, on the second, and so on. After the last of these days there is no bound.",
			to:  list(&w.Daily, maxWarmup, fmt.Sprintf("a list of whole numbers from 1 to %d", mostDaily), number(1, mostDaily)),
		},
		{
			name: "site_daily", example: "[20, 40, 200]", absent: "there is no bound",
			doc: "Of these, messages to one site.",
			to:  list(&w.SiteDaily, maxWarmup, fmt.Sprintf("a list of whole numbers from 1 to %d", mostDaily), number(1, mostDaily)),
		},
	}
}

func date(v any) (time.Time, error) {
	s, err := text(v)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a day", shorten(s))
	}
	return t, nil
}

// checkPools looks at what belongs together.
func (c *Config) checkPools(d *decoder) {
	for name, p := range c.Pools {
		at := func(key string) []string { return []string{"pool", name, key} }
		switch {
		case p.Sources == nil: // it was reported
		case len(p.Sources) == 0:
			d.fail(at("sources"), "the list is empty; write the names of sources")
		case len(p.Weights) > 0 && len(p.Weights) != len(p.Sources):
			d.fail(at("weights"), "there are %d for %d sources", len(p.Weights), len(p.Sources))
		case len(p.Weights) > 0 && slices.Max(p.Weights) == 0:
			d.fail(at("weights"), "all are 0, so no source has a share")
		}
		for i, s := range p.Sources {
			if _, ok := c.Sources[s]; !ok {
				d.fail(at("sources"), "there is no [source.%s]", s)
			} else if slices.Contains(p.Sources[:i], s) {
				d.fail(at("sources"), "%s stands there twice", s)
			}
		}
		if _, ok := c.Sources[name]; ok {
			d.fail([]string{"pool", name}, "there is a [source.%s], too; plans name both by one name", name)
		}
	}
	for name, s := range c.Sources {
		w := &s.Warmup
		written := func(key string) bool { return c.Written("source", name, "warmup", key) }
		if written("start") != written("daily") || written("site_daily") && !written("daily") {
			d.fail([]string{"source", name, "warmup"}, "start and daily go together: the first day, and how many messages on that and on the next ones")
		}
		if w.Daily != nil && len(w.Daily) == 0 || w.SiteDaily != nil && len(w.SiteDaily) == 0 {
			d.fail([]string{"source", name, "warmup"}, "a list is empty; write at least one number")
		}
	}
}
