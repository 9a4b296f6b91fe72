package hooks

import (
	"time"

	"github.com/stagepost/stagepost/core/observe"
)

// Counts are what was counted of one plugin at one stage. Generations that share the plugin share them.
type Counts struct {
	Answers *observe.Counters // by verdict; a failure, whatever on_error made of it, counts as error
	Seconds *observe.Histogram
}

// NewCounts makes empty ones.
func NewCounts() *Counts {
	names := make([]string, 0, kindCount+1)
	for _, k := range kindTable {
		names = append(names, k.Name)
	}
	return &Counts{observe.NewCounters(append(names, "error")...),
		observe.NewTimes(100*time.Microsecond, time.Millisecond, 10*time.Millisecond, 100*time.Millisecond, time.Second, 10*time.Second)}
}

func (c *Counts) count(v *Verdict, err error, took time.Duration) {
	kind := Next
	switch {
	case c == nil:
		return
	case err != nil:
		kind = kindCount
	case v != nil:
		kind = v.Kind
	}
	c.Answers.Add(int(kind))
	c.Seconds.Took(took)
}
