package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// enableWith is the text of a stagepost.toml in which `enable` of [plugins] has the names, too. Nothing else changes: comments, layout and
// all that stands around it are the bytes that they were. What it made is read again before it is given to anybody; an error means that it
// is not certain, and that the file is better left alone.
func enableWith(text []byte, names ...string) ([]byte, error) {
	return enableEdited(text, func(list *enableList, text []byte, have []string) ([]byte, []string, bool) {
		for _, name := range names {
			if !slices.Contains(have, name) {
				return list.with(text, name), append(slices.Clip(have), name), true
			}
		}
		return text, have, false
	})
}

// enableWithout is enableWith for taking names out. What stands behind a name that has a line to itself goes with it.
func enableWithout(text []byte, names ...string) ([]byte, error) {
	return enableEdited(text, func(list *enableList, text []byte, have []string) ([]byte, []string, bool) {
		for i, name := range have {
			if slices.Contains(names, name) {
				return list.without(text, i), slices.Delete(slices.Clone(have), i, i+1), true
			}
		}
		return text, have, false
	})
}

var errUncertain = errors.New("the list `enable` is written in a way that is not edited with certainty")

// enableEdited changes one name after the other until there is nothing to do, and checks what came of it.
func enableEdited(text []byte, step func(*enableList, []byte, []string) ([]byte, []string, bool)) ([]byte, error) {
	first, names := text, []string(nil)
	for changed := true; changed; {
		list, err := findEnable(text)
		if err != nil {
			return nil, err
		}
		have := list.names()
		if text, names, changed = step(list, text, have); !changed {
			break
		}
		if again, err := findEnable(text); err != nil || !slices.Equal(again.names(), names) {
			return nil, errUncertain
		}
	}
	if bytes.Equal(first, text) {
		return text, nil
	}
	if !differInEnable(first, text, names) {
		return nil, errUncertain
	}
	return text, nil
}

// differInEnable tells whether the second text says what the first one does, but for the names in `enable`.
func differInEnable(first, second []byte, names []string) bool {
	var old, now map[string]any
	if toml.Unmarshal(first, &old) != nil || toml.Unmarshal(second, &now) != nil {
		return false
	}
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	plugins, ok := old["plugins"].(map[string]any)
	if !ok {
		if old["plugins"] != nil {
			return false
		}
		plugins = map[string]any{}
	}
	if old == nil {
		old = map[string]any{}
	}
	plugins["enable"], old["plugins"] = list, plugins
	return reflect.DeepEqual(old, now)
}

// enableList is where in a file `enable` stands, or where it could.
type enableList struct {
	there       bool // it is there, as a list of strings
	open, shut  int  // offsets of its [ and ]
	items       []enableItem
	header      int  // offset of the last key in the header [plugins]; -1: there is none
	brace       int  // offset of the { of plugins = {...}; -1
	braceIsFull bool // something stands in it
	dotted      int  // offset of the first key such as plugins.folder above all headers; -1
}

// enableItem is one name in the list, with its quotes from start to end.
type enableItem struct {
	name       string
	start, end int
}

func (l *enableList) names() (names []string) {
	for _, item := range l.items {
		names = append(names, item.name)
	}
	return names
}

func findEnable(text []byte) (*enableList, error) {
	l := &enableList{header: -1, brace: -1, dotted: -1}
	var p unstable.Parser
	p.Reset(text)
	var prefix []string // of the keys below the last header
	for p.NextExpression() {
		n := p.Expression()
		keys, last := keyParts(n)
		switch n.Kind {
		case unstable.Table:
			if prefix = keys; slices.Equal(keys, []string{"plugins"}) {
				l.header = int(last.Offset + last.Length)
			}
		case unstable.ArrayTable:
			if prefix = keys; keys[0] == "plugins" {
				return nil, errUncertain
			}
		case unstable.KeyValue:
			if len(prefix) == 0 && keys[0] == "plugins" && len(keys) > 1 && l.dotted < 0 {
				l.dotted = int(n.Raw.Offset)
			}
			if err := l.look(text, append(slices.Clip(prefix), keys...), n, last); err != nil {
				return nil, err
			}
		}
	}
	if p.Error() != nil {
		return nil, fmt.Errorf("it is not valid TOML: %w", p.Error())
	}
	return l, nil
}

// keyParts gives the parts of a key or header, and where the last one stands.
func keyParts(n *unstable.Node) (keys []string, last unstable.Range) {
	for it := n.Key(); it.Next(); {
		keys, last = append(keys, string(it.Node().Data)), it.Node().Raw
	}
	return keys, last
}

// look takes in what one assignment says about plugins.enable.
func (l *enableList) look(text []byte, keys []string, n *unstable.Node, last unstable.Range) error {
	value := n.Value()
	switch {
	case len(keys) == 1 && keys[0] == "plugins":
		if value.Kind != unstable.InlineTable {
			return errUncertain
		}
		l.brace = int(value.Raw.Offset)
		for it := value.Children(); it.Next(); {
			l.braceIsFull = true
			below, last := keyParts(it.Node())
			if err := l.look(text, append([]string{"plugins"}, below...), it.Node(), last); err != nil {
				return err
			}
		}
		return nil
	case len(keys) < 2 || keys[0] != "plugins" || keys[1] != "enable":
		return nil
	case len(keys) > 2 || value.Kind != unstable.Array || l.there:
		return errUncertain
	}
	l.there = true
	l.open = int(last.Offset+last.Length) + bytes.IndexByte(text[last.Offset+last.Length:], '[')
	l.shut = int(n.Raw.Offset+n.Raw.Length) - 1
	for it := value.Children(); it.Next(); {
		item := it.Node()
		if item.Kind != unstable.String {
			return errUncertain
		}
		l.items = append(l.items, enableItem{string(item.Data), int(item.Raw.Offset), int(item.Raw.Offset + item.Raw.Length)})
	}
	if text[l.open] != '[' || text[l.shut] != ']' {
		return errUncertain
	}
	return nil
}

// with puts a name at the end of the list, in the way that the others are written, or makes the list.
func (l *enableList) with(text []byte, name string) []byte {
	alone := fmt.Sprintf("enable = [%q]", name)
	switch {
	case l.there && len(l.items) == 0:
		return l.withFirst(text, name)
	case l.there:
		return l.withOneMore(text, name)
	case l.brace >= 0 && l.braceIsFull:
		return spliced(text, l.brace+1, l.brace+1, " "+alone+",")
	case l.brace >= 0:
		return spliced(text, l.brace+1, l.brace+1, " "+alone+" ")
	case l.header >= 0:
		end := lineEnd(text, l.header)
		return spliced(text, end, end, newlineOf(text)+indentAt(text, l.header)+alone)
	case l.dotted >= 0:
		start := lineStart(text, l.dotted)
		return spliced(text, start, start, indentAt(text, l.dotted)+"plugins."+alone+newlineOf(text))
	}
	newline, gap := newlineOf(text), ""
	if len(text) > 0 {
		gap = newline
		if text[len(text)-1] != '\n' {
			gap += newline
		}
	}
	return spliced(text, len(text), len(text), gap+"[plugins]"+newline+alone+newline)
}

func (l *enableList) withFirst(text []byte, name string) []byte {
	inner := text[l.open+1 : l.shut]
	if bytes.IndexByte(inner, '\n') < 0 { // no comment is in it
		return spliced(text, l.open+1, l.shut, fmt.Sprintf("%q", name))
	}
	start := lineStart(text, l.shut)
	return spliced(text, start, start, fmt.Sprintf("%s  %q,%s", indentAt(text, l.shut), name, newlineOf(text)))
}

func (l *enableList) withOneMore(text []byte, name string) []byte {
	last := l.items[len(l.items)-1]
	quote := text[last.start : last.start+1]
	word := string(quote) + name + string(quote)
	comma := commaIn(text, last.end, l.shut)
	at, between := last.end, " "
	if first(text, last.start) { // each has a line to itself
		between = newlineOf(text) + indentAt(text, last.start)
	}
	switch end := lineEnd(text, last.end); {
	case between != " " && end < l.shut && comma < end:
		// behind what else stands on the line of the last one
		if comma < 0 {
			return spliced(spliced(text, end, end, between+word), last.end, last.end, ",")
		}
		return spliced(text, end, end, between+word+",")
	case comma >= 0:
		return spliced(text, comma+1, comma+1, between+word+",")
	}
	return spliced(text, at, at, ","+between+word)
}

// without takes the i-th name out.
func (l *enableList) without(text []byte, i int) []byte {
	item := l.items[i]
	before, after := -1, l.shut // the comma before it, and where what comes next begins
	isLast := i == len(l.items)-1
	if i > 0 {
		before = commaIn(text, l.items[i-1].end, item.start)
	}
	if !isLast {
		after = l.items[i+1].start
	}
	comma := commaIn(text, item.end, after)
	cut := func(from, to int) { text = spliced(text, from, to, "") }
	switch end := lineEnd(text, item.end); {
	case first(text, item.start) && end < after && comma < end && (comma >= 0 || isLast):
		cut(lineStart(text, item.start), end+len(newlineAt(text, end)))
		if comma < 0 && before >= 0 {
			cut(before, before+1)
		}
	case comma >= 0 && !isLast:
		cut(comma, pastBlanks(text, comma+1))
		cut(item.start, item.end)
	case comma >= 0:
		cut(comma, comma+1)
		cut(beforeBlanks(text, item.start), item.end)
	default:
		cut(beforeBlanks(text, item.start), item.end)
		if before >= 0 {
			cut(before, before+1)
		}
	}
	return text
}

// commaIn finds the comma between two offsets where nothing but white space, comments and one comma can stand; -1: there is none.
func commaIn(text []byte, from, to int) int {
	for i := from; i < to; i++ {
		switch text[i] {
		case '#':
			i = lineEnd(text, i)
		case ',':
			return i
		}
	}
	return -1
}

// spliced is the text with something in the place of what stood from one offset to another.
func spliced(text []byte, from, to int, with string) []byte {
	return slices.Concat(text[:from], []byte(with), text[to:])
}

func lineStart(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

// lineEnd is where the line ends, before what ends it.
func lineEnd(text []byte, at int) int {
	n := bytes.IndexByte(text[at:], '\n')
	if n < 0 {
		return len(text)
	}
	if n += at; n > at && text[n-1] == '\r' {
		n--
	}
	return n
}

// newlineAt is what ends the line at an offset that lineEnd gave.
func newlineAt(text []byte, end int) string {
	switch {
	case end == len(text):
		return ""
	case text[end] == '\r':
		return "\r\n"
	}
	return "\n"
}

// newlineOf is how lines of the text end.
func newlineOf(text []byte) string {
	if s := newlineAt(text, lineEnd(text, 0)); s != "" {
		return s
	}
	return "\n"
}

// first tells whether nothing but white space stands on the line before an offset.
func first(text []byte, at int) bool {
	return len(bytes.TrimLeft(text[lineStart(text, at):at], " \t")) == 0
}

// indentAt is the white space with which the line begins.
func indentAt(text []byte, at int) string {
	line := text[lineStart(text, at):]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func pastBlanks(text []byte, at int) int {
	return len(text) - len(bytes.TrimLeft(text[at:], " \t"))
}

func beforeBlanks(text []byte, at int) int {
	return len(bytes.TrimRight(text[:at], " \t"))
}

// enableLine is the line to write by hand where the file is left alone.
func enableLine(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return "enable = [" + strings.Join(quoted, ", ") + "]"
}
