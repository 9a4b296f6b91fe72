package consent

import (
	"fmt"
	"slices"
	"strings"
)

// context is how many lines stand around those that differ.
const context = 3

// unified writes what differs between two texts as diff -u does, without names of files. What it takes grows with the lines as
// sorting them does: where texts have lines in common that both have once, it goes along these (as "patience diff" does), and what
// begins or ends alike between two of them; the rest is said to be other.
func unified(old, now string) string {
	a, b := lines(old), lines(now)
	var out strings.Builder
	var hunk []edit
	for _, e := range edits(a, b) {
		if n := len(hunk); n > 0 && e.a-hunk[n-1].aEnd > 2*context {
			writeHunk(&out, a, b, hunk)
			hunk = nil
		}
		hunk = append(hunk, e)
	}
	if hunk != nil {
		writeHunk(&out, a, b, hunk)
	}
	return out.String()
}

// lines keeps the line ends; a last line without one tells so.
func lines(text string) []string {
	return slices.Collect(strings.Lines(text))
}

// edit says that lines a to aEnd became lines b to bEnd.
type edit struct{ a, aEnd, b, bEnd int }

// edits lists what differs, in order. Between two of them there is a line that stays, at least.
func edits(a, b []string) []edit {
	var out []edit
	atA, atB := 0, 0
	for _, m := range append(anchors(a, b), match{len(a), len(b)}) {
		endA, endB := m.a, m.b
		for atA < endA && atB < endB && a[atA] == b[atB] { // the anchor above is the first
			atA, atB = atA+1, atB+1
		}
		for endA > atA && endB > atB && a[endA-1] == b[endB-1] {
			endA, endB = endA-1, endB-1
		}
		if atA < endA || atB < endB {
			out = append(out, edit{atA, endA, atB, endB})
		}
		atA, atB = m.a, m.b
	}
	return out
}

// match is a line of both texts.
type match struct{ a, b int }

// anchors are the lines that each text has once, as many of them as are in one order in both.
func anchors(a, b []string) []match {
	type seen struct{ inA, inB, a, b int }
	all := map[string]*seen{}
	at := func(line string) *seen {
		if all[line] == nil {
			all[line] = &seen{}
		}
		return all[line]
	}
	for i, line := range a {
		s := at(line)
		s.inA, s.a = s.inA+1, i
	}
	for i, line := range b {
		s := at(line)
		s.inB, s.b = s.inB+1, i
	}
	var once []match // in the order of a
	for i, line := range a {
		if s := all[line]; s.inA == 1 && s.inB == 1 {
			once = append(once, match{i, s.b})
		}
	}
	// The longest run in which b rises, too: ends[n] is the last of the one of n+1 lines that ends lowest.
	var ends []int
	before := make([]int, len(once))
	for i, m := range once {
		n, _ := slices.BinarySearchFunc(ends, m.b, func(e, b int) int { return once[e].b - b })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	var run []match
	if len(ends) > 0 {
		for i := ends[len(ends)-1]; i >= 0; i = before[i] {
			run = append(run, once[i])
		}
	}
	slices.Reverse(run)
	return run
}

// writeHunk writes edits that are near each other, with the lines around them.
func writeHunk(out *strings.Builder, a, b []string, hunk []edit) {
	first, last := hunk[0], hunk[len(hunk)-1]
	lead, tail := min(context, first.a), min(context, len(a)-last.aEnd)
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(first.a-lead, last.aEnd+tail), span(first.b-lead, last.bEnd+tail))
	at := first.a - lead
	put := func(mark string, list []string) {
		for _, line := range list {
			out.WriteString(mark + line)
			if !strings.HasSuffix(line, "\n") {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	for _, e := range hunk {
		put(" ", a[at:e.a])
		put("-", a[e.a:e.aEnd])
		put("+", b[e.b:e.bEnd])
		at = e.aEnd
	}
	put(" ", a[at:last.aEnd+tail])
}

// span is a place as diff -u writes it: the first line and how many there are.
func span(from, to int) string {
	if to == from {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
