package service

import (
	"strconv"
	"sync"

	"github.com/stagepost/stagepost/plugins/lookup/pattern"
)

// maxRegexps bounds the instructions of all patterns kept for a plugin.
const maxRegexps = 50_000

func reService() Service {
	return Service{Name: "re", Doc: "Regular expressions in RE2's syntax. They take time in proportion to the text, whatever the pattern.",
		Funcs: []Func{{
			Name: "re.match", Args: []Arg{{Name: "pattern", Kind: String}, {Name: "text", Kind: String}}, Result: "captures?", AtLoad: true, Pure: true,
			Doc: "The first match, or nil: [0] is the whole of it, [1] and so on its groups, named ones also by name; groups without part in the match are nil.",
			Call: func(c *Context, args []any) (any, error) {
				m, err := c.match(args[0].(string), args[1].(string))
				if m == nil || err != nil {
					return nil, err
				}
				return m, nil
			},
		}},
	}
}

// Captures are what re.match found.
type Captures struct {
	Groups []any    // strings; the whole match first; nil for a group without part in the match
	Names  []string // of the groups, "" for one without
}

// Plain is the match in the types of facts: groups by number ("0", "1") and by name.
func (m *Captures) Plain() map[string]any {
	out := make(map[string]any, 2*len(m.Groups))
	for i, g := range m.Groups {
		out[strconv.Itoa(i)] = g
		if m.Names[i] != "" {
			out[m.Names[i]] = g
		}
	}
	return out
}

func (c *Context) match(expr, text string) (*Captures, error) {
	p, err := c.state.regexps.get(c, expr)
	if err != nil {
		return nil, err
	}
	if err := p.Check(text); err != nil {
		return nil, err
	}
	if err := c.spend(p.Steps(text), 64*len(p.names)); err != nil {
		return nil, err
	}
	at := p.Find(text)
	if at == nil {
		return nil, nil
	}
	m := &Captures{Groups: make([]any, len(p.names)), Names: p.names}
	for i := range m.Groups {
		if from, to := at[2*i], at[2*i+1]; from >= 0 {
			m.Groups[i] = text[from:to]
		}
	}
	return m, nil
}

// regexps keeps the compiled patterns of a plugin. The zero value is ready.
type regexps struct {
	mu   sync.Mutex
	kept map[string]*compiled
	size int
}

type compiled struct {
	*pattern.Pattern
	names []string
}

func (r *regexps) get(c *Context, text string) (*compiled, error) {
	r.mu.Lock()
	p := r.kept[text]
	r.mu.Unlock()
	if p != nil {
		return p, nil
	}
	if err := c.spend(50*(len(text)+10), 0); err != nil {
		return nil, err
	}
	made, err := pattern.Compile(text)
	if err != nil {
		return nil, err
	}
	p = &compiled{made, made.Names()}
	if err := c.spend(20*p.Size, 0); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[string]*compiled{}
	}
	if r.kept[text] == nil {
		for other, o := range r.kept { // any: who has more patterns than fit makes them anew each time
			if r.size+p.Size <= maxRegexps {
				break
			}
			delete(r.kept, other)
			r.size -= o.Size
		}
		r.kept[text] = p
		r.size += p.Size
	}
	return p, nil
}
