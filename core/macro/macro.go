// Package macro holds texts of the configuration with values put in where a name stands, as in "${domain}/${user}". What a name stands for is
// said by who expands the text, who also makes the value fit for its place. Names that nobody knows are found when the text is parsed.
package macro

import (
	"fmt"
	"slices"
	"strings"
)

// Text is a parsed text. The zero value is the empty one.
type Text struct {
	parts []part
}

type part struct {
	literal, name string // one of them
}

// Parse reads a text in which each name is one of those that are known. A dollar sign is written twice.
func Parse(s string, known []string) (Text, error) {
	var t Text
	for s != "" {
		literal, rest, found := strings.Cut(s, "$")
		if literal != "" {
			t.parts = append(t.parts, part{literal: literal})
		}
		if !found {
			break
		}
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			t.parts = append(t.parts, part{literal: "$"})
			s = after
			continue
		}
		inner, ok := strings.CutPrefix(rest, "{")
		name, after, closed := strings.Cut(inner, "}")
		switch {
		case !ok || !closed:
			return Text{}, fmt.Errorf("a $ begins a name in braces, as ${%s}; $$ stands for itself", known[0])
		case !slices.Contains(known, name):
			return Text{}, fmt.Errorf("${%s} is not known; there are ${%s}", name, strings.Join(known, "}, ${"))
		}
		t.parts = append(t.parts, part{name: name})
		s = after
	}
	return t, nil
}

// Expand puts values in the place of names.
func (t Text) Expand(value func(name string) string) string {
	if len(t.parts) == 1 && t.parts[0].name == "" {
		return t.parts[0].literal
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.name != "" {
			b.WriteString(value(p.name))
		} else {
			b.WriteString(p.literal)
		}
	}
	return b.String()
}

// Begins tells with which name the text begins; "" where it begins with something else.
func (t Text) Begins() string {
	if len(t.parts) == 0 {
		return ""
	}
	return t.parts[0].name
}

// Split takes the extension off a local part: what follows the delimiter, which is one character, or "" for none. A local part
// that begins with the delimiter has no extension, so that there is always a user.
func Split(local, delimiter string) (user, extension string) {
	if delimiter == "" {
		return local, ""
	}
	if i := strings.Index(local, delimiter); i > 0 {
		return local[:i], local[i+len(delimiter):]
	}
	return local, ""
}
