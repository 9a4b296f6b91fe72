package config

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxDepth bounds how deep tables and lists nest; the deepest sensible plugin setting needs five.
const maxDepth = 32

// Index is the path element of a list's i-th element, from 0.
func Index(i int) string { return fmt.Sprintf("[%d]", i) }

// index is a tree of the lines on which the keys, tables and list elements of a file are first written.
type index struct {
	at    int // line, from 1
	depth int
	count int // [[...]] elements seen so far, when this is such a list
	below map[string]*index
}

func newIndex() *index { return &index{at: 1} }

// child finds or makes the entry for a name below x.
func (x *index) child(name string, line int) *index {
	c := x.below[name]
	if c == nil {
		if x.below == nil {
			x.below = map[string]*index{}
		}
		c = &index{at: line, depth: x.depth + 1}
		x.below[name] = c
	}
	return c
}

// line gives the line of path or, when the file does not hold it, of the nearest part around it that it holds.
func (x *index) line(path []string) int {
	if x == nil {
		return 1
	}
	for _, name := range path {
		c := x.below[name]
		if c == nil {
			break
		}
		x = c
	}
	return x.at
}

// parse turns data into plain values and fills the index. It returns nil after reporting an error: a file that is not
// TOML is not looked at further.
func (d *decoder) parse(data []byte) map[string]any {
	w := walker{root: d.lines, table: d.lines}
	w.parser.Reset(data)
	for i, b := range data {
		if b == '\n' {
			w.newlines = append(w.newlines, i)
		}
	}
	for w.parser.NextExpression() {
		if deep := w.expression(w.parser.Expression()); deep > 0 {
			d.report(deep, "nested more than %d levels deep; write it flatter", maxDepth)
			return nil
		}
	}
	// The parser knows the grammar only. What TOML forbids beyond it, such as a key written twice, Unmarshal reports.
	root := map[string]any{}
	if err := toml.Unmarshal(data, &root); err != nil {
		line := 1
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		}
		text := strings.TrimPrefix(err.Error(), "toml: ")
		d.report(line, "this is not valid TOML: %s", strings.Map(printable, text))
		return nil
	}
	return root
}

// printable keeps a message that quotes the file on one line.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// walker goes through the expressions of a file, in order, and notes where each is written. Its methods return the
// line of what is nested too deep, else 0.
type walker struct {
	parser   unstable.Parser
	newlines []int // offsets
	root     *index
	table    *index // the last header's
}

// expression notes a header or an assignment.
func (w *walker) expression(n *unstable.Node) int {
	if n.Kind == unstable.KeyValue {
		return w.assignment(w.table, n)
	}
	at := w.root
	it := n.Key()
	for it.Next() {
		line := w.line(it.Node())
		if at.depth >= maxDepth {
			return line
		}
		at = at.child(string(it.Node().Data), line)
		if it.IsLast() && n.Kind == unstable.ArrayTable {
			at.count++
		}
		if at.count > 0 { // inside [[a]] the name a means its latest element
			at = at.child(Index(at.count-1), line)
		}
	}
	w.table = at
	return 0
}

func (w *walker) assignment(at *index, n *unstable.Node) int {
	it := n.Key()
	for it.Next() {
		line := w.line(it.Node())
		if at.depth >= maxDepth {
			return line
		}
		at = at.child(string(it.Node().Data), line)
	}
	return w.value(at, n.Value())
}

// value notes the parts of a list or an inline table.
func (w *walker) value(at *index, n *unstable.Node) int {
	if n.Kind != unstable.Array && n.Kind != unstable.InlineTable {
		return 0
	}
	if at.depth >= maxDepth {
		return at.at
	}
	line := at.at
	it := n.Children()
	for i := 0; it.Next(); i++ {
		var deep int
		if child := it.Node(); n.Kind == unstable.InlineTable {
			deep = w.assignment(at, child)
		} else {
			if child.Raw.Length > 0 { // a list in a list has no place of its own
				line = w.line(child)
			}
			deep = w.value(at.child(Index(i), line), child)
		}
		if deep > 0 {
			return deep
		}
	}
	return 0
}

func (w *walker) line(n *unstable.Node) int {
	return 1 + sort.SearchInts(w.newlines, int(n.Raw.Offset))
}

// keyText is a path as a message begins with it: "limits.sessions: ".
func keyText(path []string) string {
	if text := dotted(path); text != "" {
		return text + ": "
	}
	return ""
}

// dotted is a path as it is written in the file. Positions in lists are left out, the line tells them.
func dotted(path []string) string {
	var names []string
	for _, p := range path {
		if !strings.HasPrefix(p, "[") {
			names = append(names, quoteKey(p))
		}
	}
	return strings.Join(names, ".")
}

// quoteKey writes a key as TOML wants it.
func quoteKey(key string) string {
	odd := func(r rune) bool {
		bare := r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !bare
	}
	if key != "" && strings.IndexFunc(key, odd) < 0 {
		return shorten(key)
	}
	return fmt.Sprintf("%q", shorten(key))
}

// shorten bounds what a message quotes of the file.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
