// Package lookup finds values by key in tables that the operator keeps in files.
//
// A table is read whole and never changed: asking it takes no lock, and a file that changes makes another table. Four types of
// file are known, with lines as Postfix has them:
//
//   - file: a key, white space, a value. The key is found as it is, but for upper and lower case.
//   - suffix: the key is a domain, and found for every name below it, too. The longest one wins.
//   - cidr: the key is a network or an IP address, and found for the addresses in it. The longest prefix wins, in whatever order
//     they are written; in Postfix the first does.
//   - regex: the key is /a regular expression/. The first that matches wins, and $1 in its value is its first group.
//
// Tables may be large, so they are kept as little more than the text of the file: keys and values lie one after the other in
// one string, and numbers of 4 bytes say where (hashed), or beside the addresses of networks in sorted arrays (networks). A million
// entries load in about a second.
//
// A Shelf reads the tables of a configuration, and the next time only those whose files changed.
package lookup

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Prefix stands before the name of a lookup where an operator writes one in the place of a list or a table.
const Prefix = "lookup:"

// Bounds of a file.
const (
	MaxFile    = 64 << 20 // bytes
	maxEntries = 2_000_000
	maxLine    = 64 << 10 // bytes
)

// maxKey bounds a key that is asked for, except from regular expressions, which have bounds of their own.
const maxKey = 4 << 10

// Table is what was read from a file. It is never changed, and safe for concurrent use.
type Table struct {
	entries int
	find    func(key string, spend Spend) (string, bool, error)
}

// Spend charges work that is about to be done, in steps of about 50 ns and bytes of memory, and fails when there is no more
// budget for it.
type Spend = func(steps, bytes int) error

// Len is the number of entries.
func (t *Table) Len() int { return t.entries }

// Get finds a key: the value is text, true where the file has the key without one, and nil for none.
func (t *Table) Get(key string, spend Spend) (any, error) {
	if err := spend(4+len(key)/32, 32); err != nil {
		return nil, err
	}
	v, ok, err := t.find(key, spend)
	switch {
	case err != nil || !ok:
		return nil, err
	case v == "":
		return true, nil
	}
	return v, nil
}

// kind is one type of table.
type kind struct {
	name  string
	parse func(r *reader) (*Table, error)
}

var kinds = []kind{{"file", parseFile}, {"cidr", parseNetworks}, {"regex", parseRules}, {"suffix", parseSuffixes}}

// Types are the names of the types of tables.
func Types() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// Parse reads a table of a type. Errors begin with file and line, and call the file name.
func Parse(typ, name string, data []byte) (*Table, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == typ })
	if i < 0 {
		return nil, fmt.Errorf("there is no type %q of lookup; there are %s", typ, strings.Join(Types(), ", "))
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s:1: the file is larger than %d MiB, the most that is read", name, MaxFile>>20)
	}
	return kinds[i].parse(&reader{name: name, data: data})
}

// reader goes over the lines of a file.
type reader struct {
	name string
	data []byte
	at   int // the line
}

func (r *reader) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", r.name, r.at, fmt.Sprintf(format, args...))
}

// lines is the most that there can be.
func (r *reader) lines() int { return bytes.Count(r.data, []byte("\n")) + 1 }

// each calls do with each line that is neither empty nor a comment, without its end. The line is not kept.
func (r *reader) each(do func(line []byte) error) error {
	n := 0
	for rest := r.data; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		r.at++
		text := bytes.TrimRight(line, " \t\r")
		switch {
		case len(line) > maxLine:
			return r.fail("the line is longer than %d KiB", maxLine>>10)
		case len(text) == 0 || bytes.TrimLeft(text, " \t")[0] == '#':
			continue
		case text[0] == ' ' || text[0] == '\t':
			return r.fail("the line begins with white space; write key and value on one line, the key first")
		case !utf8.Valid(text) || bytes.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			return r.fail("the line has a byte that is no text in UTF-8")
		}
		if n++; n > maxEntries {
			return r.fail("more than %d entries", maxEntries)
		}
		if err := do(text); err != nil {
			return err
		}
	}
	return nil
}

// pairs calls do with each key and its value, "" for none.
func (r *reader) pairs(do func(key, value []byte) error) error {
	return r.each(func(line []byte) error {
		i := bytes.IndexAny(line, " \t")
		if i < 0 {
			return do(line, nil)
		}
		return do(line[:i], bytes.TrimLeft(line[i:], " \t"))
	})
}

// shorten bounds what a message quotes.
func shorten(s []byte) string {
	const most = 60
	if len(s) <= most {
		return string(s)
	}
	return strings.ToValidUTF8(string(s[:most]), "") + "..."
}
