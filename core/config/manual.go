package config

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed example.toml
var example string

// Example is a whole configuration with comments, ready to be adapted.
func Example() string { return example }

// Key documents one key or table of the file.
type Key struct {
	Name     string // path from the top: "limits.sessions", "listener.address", "run.NAME.order"
	Table    string // for a table, its header as written: "[limits]", "[[listener]]", "[plugin.NAME]"
	Type     string // what may be written, with bounds: "a whole number from 1 to 10"; empty for a table
	Default  string // as written in the file, or in words; empty if the key is required
	Required bool
	Example  string // a value as written in the file
	Doc      string // whole sentences
}

// Document lists every key, each table before its keys, in the order of the manual.
func Document() []Key {
	return document("", new(Config).fields())
}

func document(prefix string, fields []field) []Key {
	var keys []Key
	var tables []field
	for _, f := range fields {
		if f.to.header != "" {
			tables = append(tables, f)
			continue
		}
		k := Key{Name: prefix + f.name, Type: f.to.kind, Default: f.value, Required: f.required, Example: f.sample(), Doc: f.doc}
		if f.absent != "" {
			k.Default = f.absent
		}
		keys = append(keys, k)
	}
	for _, f := range tables {
		header := fmt.Sprintf(f.to.header, prefix+f.name)
		keys = append(keys, Key{Name: prefix + f.name, Table: header, Doc: f.doc})
		if f.to.below != nil {
			keys = append(keys, document(strings.Trim(header, "[]")+".", f.to.below())...)
		}
	}
	return keys
}

const manualHead = `# stagepost.toml

The configuration is one file in TOML. It is read strictly: an unknown key, a wrong type or a value out of bounds is an
error with its line, and a file with an error changes nothing. Relative paths count from the folder of the file.

A duration is written as "36d", "4h" or "1h30m", with the units d (24 hours), h, m, s and ms. A size is written as "50MB"
or "64KiB": kB, MB and GB count in thousands, KiB, MiB and GiB in 1024s, B are bytes.

## Example

`

// Manual is the reference of the file, in Markdown.
func Manual() string {
	var b strings.Builder
	b.WriteString(manualHead)
	indented(&b, example)
	b.WriteString("\n## Above the first table\n")
	reference(&b, "##", Document())
	return b.String()
}

// indented writes a file as an example.
func indented(b *strings.Builder, text string) {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
}

// reference writes what there is to know of each key. Tables are headings of a level.
func reference(b *strings.Builder, level string, keys []Key) {
	first := true
	for _, k := range keys {
		if k.Table != "" {
			fmt.Fprintf(b, "\n%s %s\n\n%s\n", level, k.Table, k.Doc)
			first = true
			continue
		}
		if first {
			b.WriteByte('\n')
			first = false
		}
		short := k.Name[strings.LastIndexByte(k.Name, '.')+1:]
		fmt.Fprintf(b, "- `%s`: %s", short, k.Type)
		switch {
		case k.Required:
			b.WriteString("; required.")
		case strings.HasPrefix(k.Default, `"`) || k.Default == k.Example:
			fmt.Fprintf(b, "; default `%s`.", k.Default)
		default:
			fmt.Fprintf(b, "; default: %s.", k.Default)
		}
		fmt.Fprintf(b, " %s", k.Doc)
		if k.Example != k.Default {
			fmt.Fprintf(b, " Example: `%s = %s`", short, k.Example)
		}
		b.WriteByte('\n')
	}
}
