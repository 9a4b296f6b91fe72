package service

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"sync"
)

// Bounds of regular expressions. Matching is linear in the text, but it cannot be interrupted, so the product of text and
// pattern is bounded: the longest match takes about a tenth of a second.
const (
	maxPattern   = 1024    // bytes
	maxProgram   = 2000    // instructions, about
	maxMatchWork = 4 << 20 // instructions times bytes of text
	maxRegexps   = 50_000  // instructions of all patterns kept for a plugin
)

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

func (c *Context) match(pattern, text string) (*Captures, error) {
	p, err := c.state.regexps.get(c, pattern)
	if err != nil {
		return nil, err
	}
	if len(text) > maxMatchWork/p.size {
		return nil, fmt.Errorf("a text of %d bytes is too long for this pattern, which takes at most %d; match a part of it", len(text), maxMatchWork/p.size)
	}
	if err := c.spend((len(text)+1)*(1+p.size/16)/4, 64*len(p.names)); err != nil {
		return nil, err
	}
	at := p.re.FindStringSubmatchIndex(text)
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
	re    *regexp.Regexp
	names []string
	size  int // instructions, about
}

func (r *regexps) get(c *Context, pattern string) (*compiled, error) {
	r.mu.Lock()
	p := r.kept[pattern]
	r.mu.Unlock()
	if p != nil {
		return p, nil
	}
	if err := c.spend(50*(len(pattern)+10), 0); err != nil {
		return nil, err
	}
	p, err := compile(pattern)
	if err != nil {
		return nil, err
	}
	if err := c.spend(20*p.size, 0); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[string]*compiled{}
	}
	if r.kept[pattern] == nil {
		for other, o := range r.kept { // any: who has more patterns than fit makes them anew each time
			if r.size+p.size <= maxRegexps {
				break
			}
			delete(r.kept, other)
			r.size -= o.size
		}
		r.kept[pattern] = p
		r.size += p.size
	}
	return p, nil
}

func compile(pattern string) (*compiled, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("the pattern is longer than %d bytes", maxPattern)
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := programSize(tree)
	if size > maxProgram {
		return nil, fmt.Errorf("the pattern is too large: its repetitions make it %d steps long, and %d is the most", size, maxProgram)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return &compiled{re, re.SubexpNames(), size}, nil
}

// programSize is about the number of instructions that a pattern is compiled to: {n,m} copies what it repeats.
func programSize(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n = 1 + len(re.Rune)/64 // large classes take longer to test
	}
	for _, sub := range re.Sub {
		n += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, 1<<30)
}
