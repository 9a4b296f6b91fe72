// Package pattern compiles regular expressions of people who are not trusted with the server's time and memory.
//
// Matching in RE2's manner is linear in the text, but it cannot be interrupted, so the product of text and expression is bounded:
// the longest match takes about a tenth of a second. So is the size of an expression, which its repetitions multiply: it is
// computed before anything is compiled.
package pattern

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// Bounds of one expression.
const (
	MaxText = 1024    // bytes
	maxSize = 2000    // instructions, about
	maxWork = 4 << 20 // instructions times bytes of text
)

// Pattern is a compiled expression. It is never changed, and safe for concurrent use.
type Pattern struct {
	re   *regexp.Regexp
	Size int // instructions, about
}

// Compile compiles an expression in the syntax of package regexp.
func Compile(text string) (*Pattern, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("the pattern is longer than %d bytes", MaxText)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := programSize(tree)
	if size > maxSize {
		return nil, fmt.Errorf("the pattern is too large: its repetitions make it %d steps long, and %d is the most", size, maxSize)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &Pattern{re, size}, nil
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

// Names are those of the groups, the whole first, "" for one without.
func (p *Pattern) Names() []string { return p.re.SubexpNames() }

// Steps is what matching a text may take, in steps of about 50 ns.
func (p *Pattern) Steps(text string) int { return (len(text) + 1) * (1 + p.Size/16) / 4 }

// Check refuses a text that is too long for the expression.
func (p *Pattern) Check(text string) error {
	if len(text) > maxWork/p.Size {
		return fmt.Errorf("a text of %d bytes is too long for this pattern, which takes at most %d; match a part of it", len(text), maxWork/p.Size)
	}
	return nil
}

// Find gives where the first match and its groups lie, as regexp's FindStringSubmatchIndex; nil is none. The text passed Check.
func (p *Pattern) Find(text string) []int { return p.re.FindStringSubmatchIndex(text) }
