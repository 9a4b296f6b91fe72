// Package transcript runs the tests of plugins: dialogues with a server, written down, with what is to come of them.
//
// A transcript is a text file. A case of it runs the plugin in the server itself: a real session over a connection in memory,
// the real intake, the hooks and the plugin's engine. What lies outside is made up, and the transcript says what it is like: the
// clock, the DNS, the values that the plugin keeps, the answers of other plugins, the next hop. The queue keeps what is
// committed in memory, where the transcript looks at it; recipients are routed and attempted only when the transcript says so,
// and what plugins answer then is judged by the queue's own functions.
//
// Every case runs twice: in a fresh instance of the plugin, and in one that has already served the same case and other mail.
// A plugin has no memory but facts and kv, so both must be asked and answer alike.
//
// Parse reads a file by the table of lines (Lines), which the manual is made of too; what is wrong in it is found before
// anything runs. The settings of a case become a configuration in which each stands on its own line of the transcript, so
// the one check of settings there is refuses a wrong one with the place in the transcript.
//
// Everything is bounded: what is read, what is kept, and by a deadline each case.
package transcript

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/config"
)

// Bounds of a transcript.
const (
	MaxFile   = 256 << 10 // bytes
	maxLines  = 5_000
	maxLine   = 8 << 10 // bytes
	maxCases  = 200
	maxErrors = 20
)

// File is a transcript that was read. It is never changed.
type File struct {
	Name  string // as messages call it
	Cases []*Case
}

// Case is one run of lines, with its settings.
type Case struct {
	File *File
	Name string // of its line `case NAME`; "" for the only case of a file
	Line int

	lines    []line
	settings []setting
	others   []*given
	refused  []line // each a *wantRefused; then nothing else is run
}

// line is one thing that is done or looked at.
type line struct {
	number int
	act    action
}

type action interface{ do(r *run) error }

// setting is a line of a configuration.
type setting struct {
	line  int
	table string // plugin or run
	text  string // KEY = VALUE, in TOML
}

// String names the case for a report.
func (c *Case) String() string {
	if c.Name == "" {
		return c.File.Name
	}
	return fmt.Sprintf("%s:%d: %s", c.File.Name, c.Line, c.Name)
}

// configuration is the text of a stagepost.toml with the settings of the case for the plugin of that name, each on its own
// line. What the case does not say stands behind the last of them.
func (c *Case) configuration(plugin string) string {
	var b strings.Builder
	at := 1
	for _, s := range c.settings {
		b.WriteString(strings.Repeat("\n", s.line-at))
		at = s.line
		b.WriteString(s.table + "." + plugin + "." + s.text)
	}
	listeners, lookups := map[string]bool{"mx": true}, map[string]bool{}
	for _, l := range c.lines {
		switch act := l.act.(type) {
		case *connect:
			listeners[act.listener] = true
		case *givenLookup:
			lookups[act.name] = true
		}
	}
	var tables []string
	for name := range listeners {
		tables = append(tables, fmt.Sprintf(`{ name = %s, address = "127.0.0.1:0", role = "mx" }`, strconv.Quote(name)))
	}
	for name := range lookups {
		b.WriteString("\nlookup." + name + ` = { type = "file", file = "given" }`)
	}
	fmt.Fprintf(&b, "\nhostname = %q\nlistener = [%s]\n", hostname, strings.Join(tables, ", "))
	return b.String()
}

// hostname is what the server of a transcript calls itself.
const hostname = "mx.example.org"

// place is a line as messages begin.
func (f *File) place(line int) string { return fmt.Sprintf("%s:%d", f.Name, line) }

// parser gathers what is wrong.
type parser struct {
	file *File
	at   int // the line
	errs config.Errors
}

func (p *parser) fail(format string, args ...any) {
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, config.Error{File: p.file.Name, Line: p.at, Text: fmt.Sprintf(format, args...)})
	}
}
