package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds the errors of one reading: the first ones tell what is wrong.
const maxErrors = 20

// Error is one fault in the file, in words for the person who wrote it.
type Error struct {
	File string
	Line int // from 1
	Text string
}

func (e Error) Error() string { return place(e.File, e.Line) + ": " + e.Text }

// Errors are the faults found in one reading, in the order of the file.
type Errors []Error

// Error gives one line for each fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the single faults.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

func place(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

// errors gives what was reported, sorted by line and bounded.
func (d *decoder) errors() Errors {
	slices.SortStableFunc(d.errs, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
	if more := len(d.errs) - maxErrors; more > 0 {
		d.errs = d.errs[:maxErrors]
		last := &d.errs[maxErrors-1]
		last.Text += fmt.Sprintf(" (and %d more errors)", more)
	}
	return d.errs
}

func (d *decoder) report(line int, format string, args ...any) {
	d.errs = append(d.errs, Error{File: d.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// fail reports a fault at a key.
func (d *decoder) fail(at []string, format string, args ...any) {
	d.report(d.lines.line(at), "%s%s", keyText(at), fmt.Sprintf(format, args...))
}
