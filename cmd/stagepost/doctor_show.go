package main

import (
	"strings"

	"github.com/stagepost/stagepost/cmd/stagepost/doctor"
)

// levelPaint colours levels.
func levelPaint(l doctor.Level) paint {
	switch l {
	case doctor.OK:
		return green
	case doctor.Wrong:
		return red
	}
	return yellow
}

// showReport writes what was found out for people, and below it what to publish, so that the lines can be pasted as they are.
func showReport(out output, r *doctor.Report) {
	out.printf("%s\n", out.paint(bold, printable(r.Name)))
	var publish []doctor.Finding
	for _, f := range r.Findings {
		level := string(f.Level) + strings.Repeat(" ", len(doctor.Unknown)-len(f.Level))
		out.printf("  %s  %-8s  %s: %s\n", out.paint(levelPaint(f.Level), level), f.Subject, printable(f.About), printable(f.Text))
		for _, record := range f.Records {
			out.printf("%21s%s\n", "", printable(record))
		}
		if f.Publish != nil {
			publish = append(publish, f)
		}
	}
	out.printf("\n")
	for _, f := range publish {
		showPublication(out, &f)
	}
}

// showPublication writes lines that can be pasted: into a zone file, with comments as those have them, or into another one.
func showPublication(out output, f *doctor.Finding) {
	if f.Publish.At != "dns" {
		out.printf("; %s, to be served at %s:\n", f.Subject, printable(f.Publish.At))
	} else {
		out.printf("; %s, %s\n", f.Subject, printable(f.About))
	}
	for _, l := range f.Publish.Remove {
		out.printf("; take out: %s\n", printable(l))
	}
	for _, l := range f.Publish.Lines {
		out.printf("%s\n", printable(l))
	}
	out.printf("\n")
}
