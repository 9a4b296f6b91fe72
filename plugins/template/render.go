package template

import (
	"errors"
	"fmt"
	"html"
	"strconv"
	"strings"
)

// Spend charges work that is about to be done, in steps of about 50 ns and bytes of memory, and fails when there is no more
// budget for it.
type Spend = func(steps, bytes int) error

// Render gives the text of a template with data, whose values are of the types of facts. In one whose name ends with .html the values
// are escaped. Errors have file and line.
func (s *Set) Render(name string, data map[string]any, spend Spend) (string, error) {
	names := s.Names()
	if len(names) == 0 {
		return "", errors.New("the plugin has no templates: they lie in the folder templates of a plugin that is a folder itself")
	}
	f := s.byName[name]
	if f == nil {
		return "", fmt.Errorf("there is no template %q; there are %s", shorten(name), strings.Join(names, ", "))
	}
	r := run{html: f.html, spend: spend, stack: []any{data}}
	if err := r.nodes(f, f.body); err != nil {
		return "", err
	}
	return string(r.out), nil
}

// run is one rendering.
type run struct {
	out   []byte
	html  bool
	spend Spend
	stack []any // the values that names are looked for in, the innermost last
}

func (r *run) nodes(f *file, body []node) error {
	for i := range body {
		if err := r.node(f, &body[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) node(f *file, n *node) error {
	if err := r.spend(2+len(n.path), 0); err != nil {
		return err
	}
	switch n.kind {
	case isText:
		return r.write(f, n, n.text)
	case isOther:
		return r.nodes(n.file, n.file.body)
	case isValue, isRaw:
		text, err := r.text(f, n)
		if err != nil {
			return err
		}
		if r.html && n.kind == isValue {
			if err := r.spend(len(text)/32, len(text)); err != nil {
				return err
			}
			text = html.EscapeString(text)
		}
		return r.write(f, n, text)
	}
	v, there := r.find(n), false
	list, isList := v.([]any)
	switch v := v.(type) {
	case nil:
	case bool:
		there = v
	case string:
		there = v != ""
	case []byte:
		there = len(v) > 0
	case map[string]any:
		there = len(v) > 0
	default:
		there = !isList || len(list) > 0
	}
	switch {
	case n.kind == isInverse && !there:
		return r.nodes(f, n.body)
	case n.kind == isInverse || !there:
		return nil
	case !isList:
		list = []any{v}
	}
	if len(r.stack) == maxStack {
		return fmt.Errorf("%s:%d: %s is nested more than %d deep", f.path, n.line, n.text, maxStack)
	}
	for _, e := range list {
		if err := r.spend(2, 0); err != nil {
			return err
		}
		r.stack = append(r.stack, e)
		err := r.nodes(f, n.body)
		r.stack = r.stack[:len(r.stack)-1]
		if err != nil {
			return err
		}
	}
	return nil
}

// find is the value of a name: of its first part in the innermost value that has it, of the others in there.
func (r *run) find(n *node) any {
	if len(n.path) == 0 {
		return r.stack[len(r.stack)-1]
	}
	for i := len(r.stack) - 1; i >= 0; i-- {
		m, _ := r.stack[i].(map[string]any)
		v, ok := m[n.path[0]]
		if !ok {
			continue
		}
		for _, part := range n.path[1:] {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		return v
	}
	return nil
}

func (r *run) text(f *file, n *node) (string, error) {
	switch v := r.find(n).(type) {
	case nil:
		return "", fmt.Errorf("%s:%d: the data has no %s; where it may be missing, write {{#%s}}...{{/%s}} around it", f.path, n.line, n.text, n.text, n.text)
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	return "", fmt.Errorf("%s:%d: %s is a list or a table; write {{#%s}}...{{/%s}}", f.path, n.line, n.text, n.text, n.text)
}

func (r *run) write(f *file, n *node, text string) error {
	if len(r.out)+len(text) > MaxOutput {
		return fmt.Errorf("%s:%d: the text becomes longer than %d bytes", f.path, n.line, MaxOutput)
	}
	if err := r.spend(len(text)/64, 2*len(text)); err != nil {
		return err
	}
	r.out = append(r.out, text...)
	return nil
}
