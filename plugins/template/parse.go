package template

import (
	"fmt"
	"regexp"
	"strings"
)

// parser goes over the text of one template.
type parser struct {
	file *file
	text string
	at   int
	line int
}

func (p *parser) fail(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.file.path, line, fmt.Sprintf(format, args...))
}

var (
	valueName = regexp.MustCompile(`^(\.|[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,63}){0,15})$`)
	fileName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}$`)
)

// open is a part that is not closed yet.
type open struct {
	node  node
	outer []node
}

func (p *parser) parse() ([]node, error) {
	var body []node
	var parts []open
	for p.at < len(p.text) {
		i := strings.Index(p.text[p.at:], "{{")
		if i < 0 {
			body = p.literal(body, len(p.text))
			break
		}
		start := p.at + i
		tag, end, err := p.tag(start)
		if err != nil {
			return nil, err
		}
		from, to := start, end
		if tag.sigil != 0 && tag.sigil != '&' && tag.sigil != '{' {
			from, to = p.alone(start, end)
		}
		body = p.literal(body, from)
		n := node{line: tag.line, text: tag.name}
		if tag.name != "." && tag.sigil != '>' {
			n.path = strings.Split(tag.name, ".")
		}
		p.line += strings.Count(p.text[from:to], "\n")
		p.at = to
		switch tag.sigil {
		case '!':
			continue
		case '#', '^':
			if len(parts) == maxDepth {
				return nil, p.fail(tag.line, "parts are nested more than %d deep", maxDepth)
			}
			if n.kind = isPart; tag.sigil == '^' {
				n.kind = isInverse
			}
			parts = append(parts, open{n, body})
			body = nil
			continue
		case '/':
			last := len(parts) - 1
			if last < 0 {
				return nil, p.fail(tag.line, "{{/%s}} closes what is not open", tag.name)
			}
			part := parts[last]
			if part.node.text != tag.name {
				return nil, p.fail(tag.line, "{{/%s}} stands where {{/%s}} is due, for line %d", tag.name, part.node.text, part.node.line)
			}
			part.node.body = body
			body, parts = append(part.outer, part.node), parts[:last]
			continue
		case '>':
			n.kind = isOther
		case '&', '{':
			n.kind = isRaw
		default:
			n.kind = isValue
		}
		body = append(body, n)
	}
	if last := len(parts) - 1; last >= 0 {
		return nil, p.fail(parts[last].node.line, "the part %s is not closed; write {{/%s}} behind it", parts[last].node.text, parts[last].node.text)
	}
	return body, nil
}

// literal takes the text up to an offset.
func (p *parser) literal(body []node, end int) []node {
	if p.at >= end {
		return body
	}
	text := p.text[p.at:end]
	body = append(body, node{kind: isText, line: p.line, text: text})
	p.line += strings.Count(text, "\n")
	p.at = end
	return body
}

// tag is what stands in braces.
type tag struct {
	sigil byte // 0 for {{name}}
	name  string
	line  int
}

func (p *parser) tag(start int) (t tag, end int, err error) {
	t.line = p.line + strings.Count(p.text[p.at:start], "\n")
	closing, inner := "}}", start+2
	if strings.HasPrefix(p.text[inner:], "{") {
		closing = "}}}"
	}
	n := strings.Index(p.text[inner:], closing)
	if n < 0 {
		return t, 0, p.fail(t.line, "a tag is not closed with %s", closing)
	}
	text := p.text[inner : inner+n]
	end = inner + n + len(closing)
	if text != "" && strings.IndexByte("#^/!>&{=", text[0]) >= 0 {
		t.sigil, text = text[0], text[1:]
	}
	t.name = strings.TrimSpace(text)
	ok := valueName.MatchString(t.name)
	switch t.sigil {
	case '!':
		ok = true
	case '>':
		ok = fileName.MatchString(t.name)
	case '=':
		return t, 0, p.fail(t.line, "other braces than {{ and }} are not known here")
	}
	if !ok {
		return t, 0, p.fail(t.line, "%q is no name in a tag; a name has letters, digits, _ and -, with dots between names in names", shorten(t.name))
	}
	return t, end, nil
}

// alone takes the whole line where a tag stands on it alone, so that tags that print nothing leave no empty line.
func (p *parser) alone(start, end int) (from, to int) {
	from = start
	for from > p.at && (p.text[from-1] == ' ' || p.text[from-1] == '\t') {
		from--
	}
	if from > 0 && p.text[from-1] != '\n' {
		return start, end
	}
	to = end
	for to < len(p.text) && (p.text[to] == ' ' || p.text[to] == '\t' || p.text[to] == '\r') {
		to++
	}
	switch {
	case to == len(p.text):
		return from, to
	case p.text[to] == '\n':
		return from, to + 1
	}
	return start, end
}

// shorten bounds what a message quotes.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
