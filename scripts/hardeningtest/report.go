package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// report is what came of all plays.
type report struct {
	target   string
	notes    []string
	sections []*section
	results  []*result
}

func (r *report) ok() bool {
	return !slices.ContainsFunc(r.results, func(res *result) bool { return res.outcome != passed && res.outcome != leftOut })
}

// maxShown is how many plays of one case are shown with their dialogues.
const maxShown = 2

// print writes the plays that did not pass, and counts by section. A case counts as the worst of its plays.
func (r *report) print(w io.Writer) {
	shown := map[*script]int{}
	for _, res := range r.results {
		if res.outcome == passed || res.outcome == leftOut {
			continue
		}
		if shown[res.script]++; shown[res.script] > maxShown {
			continue
		}
		fmt.Fprintf(w, "%s: %s %s, %s: %s\n", res.outcome, res.script.section, res.script.name, res.way, res.why)
		if res.script.line > 0 {
			fmt.Fprintf(w, "    %s:%d\n", res.script.file, res.script.line)
		}
		for _, line := range res.said {
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
	fmt.Fprintf(w, "%s\n", r.target)
	fmt.Fprintf(w, "%-44s %7s %7s %7s %7s %9s %8s\n", "cases", "passed", "failed", "crashed", "hung", "left out", "plays")
	var sum [leftOut + 1]int
	plays := 0
	for _, s := range r.sections {
		counts, n := r.count(s.number)
		for i := range sum {
			sum[i] += counts[i]
		}
		plays += n
		r.row(w, s.number+" "+s.title, counts, n)
	}
	r.row(w, "all", sum, plays)
	for _, note := range r.notes {
		fmt.Fprintln(w, note)
	}
}

func (r *report) row(w io.Writer, name string, counts [leftOut + 1]int, plays int) {
	fmt.Fprintf(w, "%-44s %7d %7d %7d %7d %9d %8d\n", name, counts[passed], counts[failed], counts[crashed], counts[hanging], counts[leftOut], plays)
}

// count gives the cases of a section by their outcome, and the plays.
func (r *report) count(number string) (counts [leftOut + 1]int, plays int) {
	worst := map[*script]outcome{}
	severity := []outcome{leftOut, passed, failed, hanging, crashed}
	for _, res := range r.results {
		if res.script.section != number {
			continue
		}
		if res.outcome != leftOut {
			plays++
		}
		was, ok := worst[res.script]
		if !ok || slices.Index(severity, res.outcome) > slices.Index(severity, was) {
			worst[res.script] = res.outcome
		}
	}
	for _, o := range worst {
		counts[o]++
	}
	return counts, plays
}

// json writes a line for each play.
func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	for _, res := range r.results {
		err := e.Encode(struct {
			Section string   `json:"section"`
			Case    string   `json:"case"`
			Way     string   `json:"way"`
			Outcome string   `json:"outcome"`
			Why     string   `json:"why,omitempty"`
			Said    []string `json:"dialogue,omitempty"`
		}{res.script.section, res.script.name, res.way.String(), res.outcome.String(), res.why, res.said})
		if err != nil {
			return err
		}
	}
	return nil
}
