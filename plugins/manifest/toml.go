package manifest

import (
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// parseTOML builds the tree of a plugin.toml. It returns nil after reporting an error: what is not TOML is not looked at
// further.
func (d *decoder) parseTOML(data []byte) *node {
	if len(data) > MaxFile {
		d.report(1, "the file is larger than %d bytes, the most that is read", MaxFile)
		return nil
	}
	w := walker{root: &node{line: 1, kind: table}}
	w.table = w.root
	w.parser.Reset(data)
	for i, b := range data {
		if b == '\n' {
			w.newlines = append(w.newlines, i)
		}
	}
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
		if w.deep > 0 {
			d.report(w.deep, "nested more than %d levels deep; write it flatter", maxDepth)
			return nil
		}
	}
	// The parser knows the grammar only. What TOML forbids beyond it, such as a key written twice, Unmarshal reports; the
	// tree is of use only once it was content.
	if err := toml.Unmarshal(data, &map[string]any{}); err != nil {
		line := 1
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		}
		d.report(line, "this is not valid TOML: %s", strings.Map(printable, strings.TrimPrefix(err.Error(), "toml: ")))
		return nil
	}
	return w.root
}

// printable keeps a message that quotes the file on one line.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// walker goes through the expressions of a file, in order, and builds the tree. Where the file is not valid TOML it builds
// something; nobody looks at it then.
type walker struct {
	parser   unstable.Parser
	newlines []int // offsets
	root     *node
	table    *node // the last header's
	level    int   // its depth
	deep     int   // line of what is nested too deep
}

func (w *walker) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.KeyValue:
		w.assign(w.table, n, w.level)
	case unstable.Table, unstable.ArrayTable:
		at, depth := w.root, 0
		for it := n.Key(); it.Next(); {
			key, line := string(it.Node().Data), w.line(it.Node())
			if depth++; depth > maxDepth {
				w.deep = line
				return
			}
			below := at.get(key)
			switch last := it.IsLast(); {
			case below == nil && last && n.Kind == unstable.ArrayTable:
				below = &node{line: line, kind: list}
				at.add(key, line, below)
			case below == nil:
				below = &node{line: line, kind: table}
				at.add(key, line, below)
			}
			if below.kind == list { // inside [[a]] the name a means its latest element
				if it.IsLast() && n.Kind == unstable.ArrayTable || len(below.items) == 0 {
					below.items = append(below.items, &node{line: line, kind: table})
				}
				below = below.items[len(below.items)-1]
				depth++
			}
			at = below
		}
		w.table, w.level = at, depth
	}
}

func (w *walker) assign(at *node, n *unstable.Node, depth int) {
	for it := n.Key(); it.Next(); {
		key, line := string(it.Node().Data), w.line(it.Node())
		if depth++; depth > maxDepth {
			w.deep = line
			return
		}
		if it.IsLast() {
			at.add(key, line, w.value(n.Value(), line, depth))
			return
		}
		below := at.get(key)
		if below == nil {
			below = &node{line: line, kind: table}
			at.add(key, line, below)
		}
		at = below
	}
}

func (w *walker) value(n *unstable.Node, line, depth int) *node {
	if n.Raw.Length > 0 && n.Kind != unstable.Array { // a list has no place of its own
		line = w.line(n)
	}
	out := &node{line: line, kind: scalar}
	data := string(n.Data)
	var err error
	switch n.Kind {
	case unstable.String:
		out.value = data
	case unstable.Bool:
		out.value = data == "true"
	case unstable.Integer:
		out.value, err = strconv.ParseInt(strings.ReplaceAll(data, "_", ""), 0, 64)
	case unstable.Float:
		out.value, err = strconv.ParseFloat(strings.ReplaceAll(data, "_", ""), 64)
	case unstable.Array, unstable.InlineTable:
		if depth >= maxDepth {
			w.deep = line
			return out
		}
		out.kind = table
		if n.Kind == unstable.Array {
			out.kind = list
		}
		for it := n.Children(); it.Next(); {
			switch child := it.Node(); {
			case child.Kind == unstable.Comment:
			case n.Kind == unstable.Array:
				item := w.value(child, line, depth+1)
				line = item.line
				out.items = append(out.items, item)
			default:
				w.assign(out, child, depth)
			}
		}
	default:
		out.kind, out.value = other, "a date or time"
	}
	if err != nil {
		out.kind, out.value = other, "a number out of range"
	}
	return out
}

func (w *walker) line(n *unstable.Node) int {
	return 1 + sort.SearchInts(w.newlines, int(n.Raw.Offset))
}
