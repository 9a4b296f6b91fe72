package transcript

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// pattern is a text in which … (or three dots) stands for anything.
type pattern struct {
	text  string
	parts []string // what stands between
}

func newPattern(text string) pattern {
	return pattern{text, strings.Split(strings.ReplaceAll(text, "...", "…"), "…")}
}

// newGlob makes a pattern in which * stands for anything too.
func newGlob(text string) pattern {
	p := newPattern(strings.ReplaceAll(text, "*", "…"))
	p.text = text
	return p
}

func (p pattern) match(s string) bool {
	last := len(p.parts) - 1
	if last == 0 {
		return s == p.parts[0]
	}
	rest, ok := strings.CutPrefix(s, p.parts[0])
	if !ok {
		return false
	}
	for _, part := range p.parts[1:last] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, p.parts[last])
}

// word is one of a line; one in quotes may hold spaces.
type word struct {
	text   string
	quoted bool
}

// words divides a line.
func words(s string) ([]word, error) {
	var out []word
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '"' {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, fmt.Errorf("the quote before %q does not end", strings.TrimPrefix(s, `"`))
			}
			text, _ := strconv.Unquote(quoted)
			out = append(out, word{text, true})
			s = s[len(quoted):]
			continue
		}
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		out = append(out, word{s[:end], false})
		s = s[end:]
	}
	return out, nil
}

// uncomment cuts off a comment: # behind white space, outside of quotes.
func uncomment(s string) string {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '#' && !quoted && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t'):
			return strings.TrimRight(s[:i], " \t")
		}
	}
	return strings.TrimRight(s, " \t")
}

// value is a value as TOML writes it; what is none there is a text.
func value(s string) any {
	var v map[string]any
	if err := toml.Unmarshal([]byte("v = "+s), &v); err == nil && len(v) == 1 {
		switch v := v["v"].(type) {
		case bool, int64, float64, string, []any, map[string]any:
			return v
		}
	}
	return s
}

// assignment reads KEY = VALUE as a line of TOML, in which a plain text may stand without quotes.
func assignment(s string) (text string, ok bool) {
	if toml.Unmarshal([]byte(s), &map[string]any{}) == nil {
		return s, strings.Contains(s, "=")
	}
	key, v, found := cutAssignment(uncomment(s))
	if !found || strings.ContainsRune("\"'[{", rune(v[0])) {
		return "", false
	}
	text = key + " = " + strconv.Quote(v)
	return text, toml.Unmarshal([]byte(text), &map[string]any{}) == nil
}

// cutAssignment divides at the first = outside of quotes.
func cutAssignment(s string) (key, v string, found bool) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '=' && !quoted:
			key, v = strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+1:])
			return key, v, key != "" && v != ""
		}
	}
	return "", "", false
}

// same tells whether a value is the wanted one; a wanted text is a pattern.
func same(want, got any) bool {
	if w, ok := want.(string); ok {
		g, ok := plain(got).(string)
		return ok && newPattern(w).match(g)
	}
	return reflect.DeepEqual(plain(want), plain(got))
}

// plain makes values comparable: all numbers are one type, bytes are texts.
func plain(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []byte:
		return string(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plain(v[k])
		}
		return out
	}
	return v
}

// show is a value for a report.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return strconv.Quote(v)
	case []byte:
		return strconv.Quote(string(v))
	}
	return fmt.Sprint(v)
}
