package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report is what came out of a run.
type report struct {
	settings
	server *server
	sink   *sink
	source *source

	began         time.Time
	took          time.Duration // of the saves
	begun         int64         // messages, until the end of the saves
	ways          map[string]int
	live, refused []time.Duration // from the end of the save to the line
	interim       int             // refusals of the moment between two steps of a good save
	epochs        []epoch         // by generation
	before, after holding
	counted       bool // whether these are known

	mixed, wrong, seen, over, lost, again, strange int
	violations                                     []violation
}

// violation is one breach of a rule.
type violation struct{ rule, text string }

func (r *report) violate(rule, format string, args ...any) {
	r.violations = append(r.violations, violation{rule, fmt.Sprintf(format, args...)})
}

// check compares what was sent with what came.
func (r *report) check() {
	src := r.source
	for _, f := range src.failed {
		r.violate("session", "%s", f)
	}
	came := maps.Clone(r.sink.took)
	versions := map[string]int{}
	for i, e := range r.epochs {
		if _, known := versions[e.stamp]; !known { // a change of listeners leaves it as it was
			versions[e.stamp] = i
		}
	}
	met := map[string]bool{}
	for _, l := range src.sent {
		if slices.ContainsFunc(r.epochs, func(e epoch) bool { return e.live.After(l.told) && e.live.Before(l.acked) }) {
			r.over++
		}
		a := came[l.id]
		delete(came, l.id)
		switch {
		case a == nil:
			r.lost++
			r.violate("account", "%s was acknowledged and never came", l.id)
			continue
		case a.times > 1:
			r.again++
			r.violate("account", "%s came %d times", l.id, a.times)
		}
		if a.mixed != "" {
			r.mixed++
			r.violate("mixed", "%s: %s", l.id, a.mixed)
			continue
		}
		met[a.stamp] = true
		r.version(l, a.stamp, versions)
	}
	for id := range came {
		if !src.unsure[id] {
			r.strange++
			r.violate("account", "%s came and was not acknowledged", id)
		}
	}
	r.seen = len(met)
	if n := r.server.count["WARN a plugin failed"]; n > 0 {
		r.violate("plugin", "the log tells %d times of it: %s", n, r.server.first["WARN a plugin failed"])
	}
	const slack = 3 // a connection that is being made, a file of the log
	if r.counted && (r.after.descriptors > r.before.descriptors+slack || r.after.watches > r.before.watches+slack || r.after.memory > r.before.memory+200<<10) {
		r.violate("leak", "before %s, after %s", r.before, r.after)
	}
}

// version checks that a message was served by a version that was in force when its transaction began: between when MAIL was
// sent and when it was answered. That a version was live is known when its line was read, a little later than it was.
func (r *report) version(l letter, stamp string, versions map[string]int) {
	i, known := versions[stamp]
	last := i
	for last+1 < len(r.epochs) && r.epochs[last+1].stamp == stamp {
		last++
	}
	switch {
	case !known:
		r.wrong++
		r.violate("version", "%s has %q, which was never in force", l.id, stamp)
	case r.epochs[i].began.After(l.told):
		r.wrong++
		r.violate("version", "%s has %q before it was saved", l.id, stamp)
	case last+1 < len(r.epochs) && r.epochs[last+1].live.Before(l.asked):
		r.wrong++
		r.violate("version", "%s has %q, but %q was live %s before it began", l.id, stamp, r.epochs[last+1].stamp, l.asked.Sub(r.epochs[last+1].live))
	}
}

func (h holding) String() string {
	return fmt.Sprintf("%d descriptors, %d watches, %d threads, %d MB, of them alive %.2f, code of plugins %.2f", h.descriptors, h.watches, h.threads, h.memory>>10,
		float64(h.alive)/1024, float64(h.code)/1024)
}

// spread says the median and the worst.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	all = slices.Sorted(slices.Values(all))
	return fmt.Sprintf("median %s, worst %s", all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
}

func (r *report) print(w io.Writer) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-22s "+format+"\n", append([]any{name}, args...)...)
	}
	var ways []string
	for _, name := range slices.Sorted(maps.Keys(r.ways)) {
		ways = append(ways, fmt.Sprintf("%s %d", name, r.ways[name]))
	}
	src := r.source
	fmt.Fprintln(w)
	row("saves", "%d in %.0f s: %d live, %d refused; %s", len(r.live)+len(r.refused), r.took.Seconds(), len(r.live), len(r.refused), strings.Join(ways, ", "))
	row("save to live", "%s", spread(r.live))
	row("save to refusal", "%s", spread(r.refused))
	row("messages", "%d acknowledged, %.0f a second; %d were begun more than 1 s late", len(src.sent), float64(r.begun)/r.took.Seconds(), src.late.Load())
	row("sessions", "%d, of which %d with the listener that comes and goes", src.sessions, src.visits)
	row("failed sessions", "%d", len(src.failed))
	row("mixed transactions", "%d, of %d that lay open over a change of %d versions", r.mixed, r.over, r.seen)
	row("wrong versions", "%d", r.wrong)
	row("lost, again, strange", "%d, %d, %d", r.lost, r.again, r.strange)
	row("halves refused", "%d of a save in steps", r.interim)
	if r.counted {
		row("held before", "%s", r.before)
		row("held after", "%s", r.after)
	} else {
		row("held", "left out: it cannot be counted here")
	}
	row("load average", "%s", loadAverage())
	for _, key := range slices.Sorted(maps.Keys(r.server.count)) {
		fmt.Fprintf(w, "the server logged %d times: %s\n    %.300s\n", r.server.count[key], key, r.server.first[key])
	}
	if len(r.violations) == 0 {
		fmt.Fprintln(w, "no rule is violated")
		return
	}
	fmt.Fprintf(w, "\n%d VIOLATIONS\n", len(r.violations))
	for i, v := range r.violations {
		if i == 50 {
			fmt.Fprintf(w, "and %d more\n", len(r.violations)-i)
			break
		}
		fmt.Fprintf(w, "%s: %s\n", v.rule, v.text)
	}
}
