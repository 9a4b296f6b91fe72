// Package template renders texts of plugins: a subset of Mustache, which people who write mail know.
//
// A template is text with tags: {{name}} is a value, {{#name}}...{{/name}} a part for each element of a list or for a value that is
// there, {{^name}}...{{/name}} one for a value that is not, {{> file}} another template, {{! a comment }}. There are no functions, no
// expressions and no lambdas, so a template can do nothing but put text together.
//
// Parse makes a tree of each file, once, when the plugin loads, and finds what is wrong in it: parts that are not closed, other
// templates that do not exist or hold each other in a circle. Render walks the tree. Nested parts over lists multiply, so each
// step and each byte is charged before it is done, and the result is bounded.
package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Folder is where the templates of a plugin lie, in its own folder.
const Folder = "templates/"

// Bounds of templates.
const (
	MaxFile   = 256 << 10 // bytes of one
	maxFiles  = 100       // of a plugin
	MaxOutput = 1 << 20   // bytes of a result
	maxDepth  = 16        // of parts in parts, and of templates in templates
	maxStack  = 64        // values whose names are known at once
)

// Set are the templates of a plugin. It is never changed, and safe for concurrent use. Nil has none.
type Set struct{ byName map[string]*file }

// file is one template.
type file struct {
	path string // as messages call it
	body []node
	html bool
}

// node is a piece of a template.
type node struct {
	kind kind
	line int
	text string   // of text, the name of anything else
	path []string // of a name, its parts; empty for "."
	body []node   // of a part
	file *file    // of another template
}

type kind uint8

const (
	isText    kind = iota
	isValue        // {{name}}
	isRaw          // {{{name}}}, {{&name}}
	isPart         // {{#name}}
	isInverse      // {{^name}}
	isOther        // {{> name}}
)

// Names are those of the templates, sorted.
func (s *Set) Names() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.byName))
}

// Parse reads the templates among the files of a plugin. path is how messages call a file. Errors have file and line.
func Parse(files map[string][]byte, path func(file string) string) (*Set, error) {
	s := &Set{byName: map[string]*file{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		short, ok := strings.CutPrefix(name, Folder)
		if !ok {
			continue
		}
		f := &file{path: path(name), html: strings.HasSuffix(short, ".html") || strings.HasSuffix(short, ".htm")}
		p := parser{file: f, text: string(files[name]), line: 1}
		switch {
		case len(s.byName) == maxFiles:
			return nil, fmt.Errorf("%s: more than %d templates", f.path, maxFiles)
		case len(p.text) > MaxFile:
			errs = append(errs, fmt.Errorf("%s:1: the template is larger than %d KiB", f.path, MaxFile>>10))
		case !utf8.ValidString(p.text):
			errs = append(errs, fmt.Errorf("%s:1: the template is not UTF-8", f.path))
		default:
			body, err := p.parse()
			if f.body = body; err != nil {
				errs = append(errs, err)
			}
		}
		s.byName[short] = f
	}
	for _, name := range s.Names() {
		if err := s.link(s.byName[name].path, s.byName[name].body); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		depths := map[*file]int{}
		for _, name := range s.Names() {
			if _, err := depth(s.byName[name], depths); err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// link finds the templates that others name.
func (s *Set) link(path string, body []node) error {
	for i := range body {
		n := &body[i]
		if n.kind == isOther {
			if n.file = s.byName[n.text]; n.file == nil {
				return fmt.Errorf("%s:%d: there is no template %q; there are %s", path, n.line, n.text, strings.Join(s.Names(), ", "))
			}
		}
		if err := s.link(path, n.body); err != nil {
			return err
		}
	}
	return nil
}

// depth is how deep other templates nest in one; a circle has no end. Those in progress have depth -1.
func depth(f *file, known map[*file]int) (int, error) {
	if d, ok := known[f]; ok && d >= 0 {
		return d, nil
	}
	known[f] = -1
	most := 0
	var walk func(body []node) error
	walk = func(body []node) error {
		for i := range body {
			n := &body[i]
			if n.kind == isOther {
				if known[n.file] < 0 {
					return fmt.Errorf("%s:%d: the template %q holds this one again", f.path, n.line, n.text)
				}
				d, err := depth(n.file, known)
				if most = max(most, d+1); err != nil {
					return err
				}
				if most > maxDepth {
					return fmt.Errorf("%s:%d: templates are nested more than %d deep", f.path, n.line, maxDepth)
				}
			}
			if err := walk(n.body); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(f.body); err != nil {
		return 0, err
	}
	known[f] = most
	return most, nil
}
