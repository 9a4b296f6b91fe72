package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bounds of the tree, for both ways of writing it.
const (
	maxDepth = 16
	maxNodes = 20_000 // of a Lua header
)

type kind uint8

const (
	scalar kind = iota
	table
	list
	empty // {} in Lua: a table or a list
	other // what no manifest holds; its value names it
)

// node is one value of a manifest and the line it is written on.
type node struct {
	line  int
	kind  kind
	value any     // scalar: bool, int64, float64 or string
	keys  []entry // table: in the order of the file, each name once
	names map[string]*node
	items []*node // list
}

type entry struct {
	name string
	line int // of the name
	node *node
}

func (n *node) get(name string) *node { return n.names[name] }

// add puts a value under a name that is not taken, and tells whether it could.
func (n *node) add(name string, line int, below *node) bool {
	if n.names[name] != nil {
		return false
	}
	if n.names == nil {
		n.names = map[string]*node{}
	}
	n.names[name] = below
	n.keys = append(n.keys, entry{name, line, below})
	return true
}

func (n *node) isTable() bool { return n.kind == table || n.kind == empty }
func (n *node) isList() bool  { return n.kind == list || n.kind == empty }

// plain is the node's value in the types of facts, or an error that names what they cannot hold. An empty Lua table is an empty
// list, unless asTable says otherwise.
func (n *node) plain(asTable bool) (any, error) {
	switch n.kind {
	case scalar:
		if f, ok := n.value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, fmt.Errorf("%s is not a number", n)
		}
		return n.value, nil
	case table:
		m := make(map[string]any, len(n.keys))
		for _, e := range n.keys {
			v, err := e.node.plain(false)
			if err != nil {
				return nil, err
			}
			m[e.name] = v
		}
		return m, nil
	case list, empty:
		if asTable && n.kind == empty {
			return map[string]any{}, nil
		}
		l := make([]any, len(n.items))
		for i, item := range n.items {
			v, err := item.plain(false)
			if err != nil {
				return nil, err
			}
			l[i] = v
		}
		return l, nil
	}
	return nil, fmt.Errorf("%s cannot stand here", n)
}

// String names the value for a message.
func (n *node) String() string {
	switch n.kind {
	case table:
		return "a table"
	case list:
		return "a list"
	case empty:
		return "{}"
	case other:
		return n.value.(string)
	}
	return show(n.value)
}

// show names a plain value for a message.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return fmt.Sprintf("%q", shorten(v))
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool, int64:
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("a %T", v)
}

// shorten bounds what a message quotes of the file.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
