package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output writes for people, or as JSON for programs.
type output struct {
	io.Writer
	colour bool
}

func outputOf(cmd *cobra.Command) output {
	w := cmd.OutOrStdout()
	file, ok := w.(*os.File)
	return output{w, ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))}
}

func (o output) printf(format string, args ...any) { fmt.Fprintf(o, format, args...) }

// json writes one value on one line.
func (o output) json(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	if err == nil {
		_, err = io.WriteString(o, inert(b.String()))
	}
	if err != nil {
		return fail(exitIO, "the output cannot be written: %w", err)
	}
	return nil
}

// inert is JSON that says the same, and in which a terminal acts on nothing: the encoder leaves the controls above 7F as they are, and what
// turns text around. Neither stands outside of strings.
func inert(text string) string {
	acts := func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }
	if strings.IndexFunc(text, acts) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !acts(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// jsonFlag adds --json to a listing.
func jsonFlag(cmd *cobra.Command, form string) *bool {
	return cmd.Flags().Bool("json", false, form)
}

// printable escapes what a terminal would act on: controls, and what turns text around. What people wrote stays as it is.
func printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\t':
			b.WriteByte(' ')
		case !unprintable(r):
			b.WriteString(s[:n])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// paint is a colour of a terminal; plain leaves the text as it is.
type paint string

const (
	plain  paint = ""
	bold   paint = "\x1b[1m"
	red    paint = "\x1b[31m"
	green  paint = "\x1b[32m"
	yellow paint = "\x1b[33m"
)

func (o output) paint(p paint, s string) string {
	if !o.colour || p == plain || s == "" {
		return s
	}
	return string(p) + s + "\x1b[0m"
}

// verdictPaint colours verdicts, states and results alike, by their first word.
func verdictPaint(verdict string) paint {
	word, _, _ := strings.Cut(verdict, " ")
	switch strings.TrimSuffix(word, ",") { // "error, defer 451 4.3.0"
	case "accept", "delivered", "live", "active":
		return green
	case "defer", "deferred", "hold", "held", "discard", "discarded":
		return yellow
	case "reject", "rejected", "close", "error", "failed", "open":
		return red
	}
	return plain
}

// table writes rows in columns. Rows are written in batches, so that a long listing is neither waited for nor held in memory; a
// column never gets narrower than it was.
type table struct {
	out    output
	widths []int
	rows   [][]cell
}

type cell struct {
	text  string
	paint paint
}

const (
	tableBatch = 200
	maxColumn  = 60 // characters of any column but the last
)

func newTable(o output, titles ...string) *table {
	t := &table{out: o}
	row := make([]cell, len(titles))
	for i, s := range titles {
		row[i] = cell{s, bold}
	}
	t.add(row...)
	return t
}

func text(s string) cell { return cell{text: s} }

// add adds a row, one cell a column. Texts are made printable here.
func (t *table) add(row ...cell) {
	for i := range row {
		c := &row[i]
		if c.text = printable(c.text); c.text == "" {
			c.text = "-"
		}
		if i < len(row)-1 && utf8.RuneCountInString(c.text) > maxColumn {
			c.text = string([]rune(c.text)[:maxColumn-1]) + "…"
		}
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c.text))
	}
	if t.rows = append(t.rows, row); len(t.rows) >= tableBatch {
		t.flush()
	}
}

func (t *table) flush() {
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			b.WriteString(t.out.paint(c.paint, c.text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	io.WriteString(t.out, b.String())
	t.rows = t.rows[:0]
}

// span is a length of time in its largest units: "42s", "3m", "2h 5m", "3d 4h".
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = d.Abs(); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < day:
		return strings.TrimSuffix(fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute), " 0m")
	}
	return strings.TrimSuffix(fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour), " 0h")
}

// relative says when something was or will be.
func relative(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return "in " + span(d)
	default:
		return span(d) + " ago"
	}
}

// moment is a point in time, absolute and relative.
func moment(t, now time.Time) string {
	return t.Local().Format("2006-01-02 15:04:05") + " (" + relative(t, now) + ")"
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
