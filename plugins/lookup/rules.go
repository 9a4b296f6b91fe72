package lookup

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/plugins/lookup/pattern"
)

// Bounds of a table of regular expressions. All are tried, one after the other.
const (
	maxRules     = 2_000
	maxRulesSize = 200_000  // instructions, about
	maxValue     = 64 << 10 // bytes of a value with what was put into it
)

// rule is a regular expression and its value.
type rule struct {
	*pattern.Pattern
	value []part
}

// part is text, or the number of a group.
type part struct {
	text  string
	group int // -1: text
}

func parseRules(r *reader) (*Table, error) {
	var rules []rule
	size := 0
	err := r.each(func(line []byte) error {
		text, value, err := cutRule(string(line))
		if err != nil {
			return r.fail("%v", err)
		}
		p, err := pattern.Compile("(?i)" + text)
		if err != nil {
			return r.fail("%v", err)
		}
		parts, err := parseValue(value, len(p.Names())-1)
		if err != nil {
			return r.fail("%v", err)
		}
		if size += p.Size; size > maxRulesSize || len(rules) == maxRules {
			return r.fail("the regular expressions are too many or too large: at most %d lines of together %d steps are taken", maxRules, maxRulesSize)
		}
		rules = append(rules, rule{p, parts})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Table{len(rules), func(key string, spend Spend) (string, bool, error) {
		for i := range rules {
			rule := &rules[i]
			if err := rule.Check(key); err != nil {
				return "", false, err
			}
			if err := spend(rule.Steps(key), 0); err != nil {
				return "", false, err
			}
			if at := rule.Find(key); at != nil {
				v, err := rule.expand(key, at)
				if err == nil {
					err = spend(len(v)/64, len(v))
				}
				return v, err == nil, err
			}
		}
		return "", false, nil
	}}, nil
}

// cutRule divides /expression/ and value.
func cutRule(line string) (text, value string, err error) {
	if strings.HasPrefix(line, "if ") || strings.HasPrefix(line, "endif") || line[0] == '!' {
		return "", "", errors.New("conditions and negation are not known here; write each line as /regular expression/ value")
	}
	if line[0] != '/' {
		return "", "", errors.New("the line does not begin with a slash; write it as /regular expression/ value")
	}
	end := 1
	for end < len(line) && line[end] != '/' {
		if line[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(line) {
		return "", "", errors.New(`there is no slash behind the regular expression; one in it is written \/`)
	}
	text, value = line[1:end], line[end+1:]
	if value != "" && value[0] != ' ' && value[0] != '\t' {
		return "", "", errors.New("flags are not known here: upper and lower case are the same unless the expression begins with (?-i)")
	}
	return text, strings.TrimLeft(value, " \t"), nil
}

// groupPattern is what Postfix takes for a group: $1, ${1} or $(1); and $$ is a dollar.
var groupPattern = regexp.MustCompile(`^\$(?:(\d{1,4})|\{(\d{1,4})\}|\((\d{1,4})\)|(\$))`)

func parseValue(text string, groups int) (parts []part, err error) {
	for text != "" {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			i = len(text)
		}
		if i > 0 {
			parts = append(parts, part{text[:i], -1})
			text = text[i:]
			continue
		}
		m := groupPattern.FindStringSubmatch(text)
		if m == nil {
			return nil, errors.New("a $ in the value stands before the number of a group, as $1 or ${1}; a dollar is written $$")
		}
		text = text[len(m[0]):]
		if m[4] != "" {
			parts = append(parts, part{"$", -1})
			continue
		}
		n, err := strconv.Atoi(m[1] + m[2] + m[3])
		if err != nil || n > groups {
			return nil, errors.New("the value has $" + m[1] + m[2] + m[3] + ", and the expression has " + strconv.Itoa(groups) + " groups")
		}
		parts = append(parts, part{group: n})
	}
	return parts, nil
}

// expand gives the value for a match.
func (r *rule) expand(key string, at []int) (string, error) {
	if len(r.value) == 1 && r.value[0].group < 0 {
		return r.value[0].text, nil
	}
	var b bytes.Buffer
	for _, p := range r.value {
		switch {
		case p.group < 0:
			b.WriteString(p.text)
		case at[2*p.group] >= 0:
			b.WriteString(key[at[2*p.group]:at[2*p.group+1]])
		}
		if b.Len() > maxValue {
			return "", errors.New("the value with its groups is longer than 64 KiB")
		}
	}
	return b.String(), nil
}
