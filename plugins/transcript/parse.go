package transcript

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stagepost/stagepost/plugins/manifest"
)

// Line declares one sort of line; the parser and the manual use the same declaration.
type Line struct {
	Word  string // with which it begins: "connect", "want fact"
	Form  string
	Doc   string
	parse func(p *parser, rest string) action // nil after an error was reported; none for what the parser reads by itself
}

// Lines declares all there are besides `case`, in the order of the manual.
func Lines() []Line {
	return slices.Concat([]Line{
		{"config", "config KEY = VALUE", "A setting of the plugin, as it stands under [plugin.NAME]; a text may stand without quotes.", nil},
		{"run", "run KEY = VALUE", "What the operator decides about the plugin, as it stands under [run.NAME].", nil},
	}, talkLines(), givenLines(), injectLines(), outboundLines(), wantLines())
}

// Parse reads a transcript. Messages call it name. The error, if any, is of type config.Errors.
func Parse(name string, text []byte) (*File, error) {
	p := &parser{file: &File{Name: name}, at: 1}
	switch {
	case len(text) > MaxFile:
		p.fail("the file is larger than %d bytes, the most that is read", MaxFile)
	case !utf8.Valid(text):
		p.fail("the file is not UTF-8; write other bytes with R: \"\\xff\"")
	default:
		p.parse(strings.Split(string(text), "\n"))
	}
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	return p.file, nil
}

func (p *parser) parse(texts []string) {
	if len(texts) > maxLines+1 { // the last may be what follows the last line's end
		p.fail("more than %d lines", maxLines)
		return
	}
	first := &Case{File: p.file, Line: 1}
	c := first
	known := Lines()
	for i, text := range texts {
		p.at = i + 1
		text = strings.TrimSuffix(text, "\r")
		if len(text) > maxLine {
			p.fail("the line is longer than %d bytes", maxLine)
			continue
		}
		if rest, ok := cutWord(strings.TrimLeft(text, " \t"), "case"); ok {
			if len(p.file.Cases) >= maxCases {
				p.fail("more than %d cases", maxCases)
				return
			}
			c = &Case{File: p.file, Name: uncomment(rest), Line: p.at, lines: slices.Clone(first.lines), settings: slices.Clone(first.settings),
				others: slices.Clone(first.others), refused: slices.Clone(first.refused)}
			if c.Name == "" {
				p.fail("a case has a name: case a stranger must wait")
			}
			p.file.Cases = append(p.file.Cases, c)
			continue
		}
		p.line(c, known, text)
	}
	if len(p.file.Cases) == 0 {
		p.file.Cases = []*Case{first}
		if len(first.lines) == 0 && len(first.refused) == 0 && len(p.errs) == 0 {
			p.at = 1
			p.fail("there is nothing in the file that is done or wanted")
		}
	}
}

// line reads one line into a case.
func (p *parser) line(c *Case, known []Line, text string) {
	if said, ok := cutTalk(text, "C:"); ok {
		p.say(c, said+"\r\n")
		return
	}
	text = strings.TrimSpace(text)
	if rest, ok := cutWord(text, "config"); ok {
		p.setting(c, "plugin", rest)
		return
	}
	if rest, ok := cutWord(text, "run"); ok {
		p.setting(c, "run", rest)
		return
	}
	if text = uncomment(text); text == "" {
		return
	}
	for _, l := range known {
		rest, ok := cutWord(text, l.Word)
		if !ok || l.parse == nil {
			continue
		}
		act := l.parse(p, rest)
		switch act := act.(type) {
		case nil:
			return
		case *say: // R:
			p.say(c, act.text)
			return
		case *wantRefused:
			c.refused = append(c.refused, line{p.at, act})
			return
		case *given:
			act.pos = p.file.place(p.at)
			c.others = append(c.others, act)
		}
		c.lines = append(c.lines, line{p.at, act})
		return
	}
	p.unknown(known, text)
}

func (p *parser) setting(c *Case, table, rest string) {
	text, ok := assignment(rest)
	if !ok {
		p.fail(`%q is no setting; write KEY = VALUE, the value as in TOML`, rest)
		return
	}
	c.settings = append(c.settings, setting{p.at, table, text})
}

// say adds what the client sends: to a message that a line before it brings, or to what it said on the line before.
func (p *parser) say(c *Case, text string) {
	if n := len(c.lines); n > 0 {
		switch last := c.lines[n-1].act.(type) {
		case *say:
			if last.end == p.at-1 { // a blank line divides what goes out at once
				c.lines[n-1].act = &say{last.text + text, p.at}
				return
			}
		case *send:
			if last.end == p.at-1 {
				longer := *last
				longer.content, longer.end = last.content+text, p.at
				c.lines[n-1].act = &longer
				return
			}
		}
	}
	c.lines = append(c.lines, line{p.at, &say{text, p.at}})
}

// cutTalk cuts off "C:" and one space.
func cutTalk(text, mark string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeft(text, " \t"), mark)
	return strings.TrimPrefix(rest, " "), ok
}

// cutWord cuts off words with which a line begins.
func cutWord(text, words string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(text, words)
	if !ok || rest == "" {
		return "", ok
	}
	if rest[0] != ' ' && rest[0] != '\t' && !strings.HasSuffix(words, ":") {
		return "", false
	}
	return strings.TrimSpace(rest), true
}

func (p *parser) unknown(known []Line, text string) {
	names := map[string]bool{"case": true}
	second := map[string]map[string]bool{}
	for _, l := range known {
		first, next, _ := strings.Cut(l.Word, " ")
		names[first] = true
		if next != "" && l.parse != nil {
			if second[first] == nil {
				second[first] = map[string]bool{}
			}
			second[first][next] = true
		}
	}
	first, rest, _ := strings.Cut(text, " ")
	if !names[first] {
		p.fail("%s", manifest.Unknown("line", first, "", keys(names)))
		return
	}
	next, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	p.fail("%s", manifest.Unknown("word", next, " behind "+first, keys(second[first])))
}

func keys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// oneOf reports a word that is not among the known ones.
func (p *parser) oneOf(what, name string, known []string) bool {
	if slices.Contains(known, name) {
		return true
	}
	p.fail("%s", manifest.Unknown(what, name, "", known))
	return false
}

// words divides what follows the first word; nil after an error was reported.
func (p *parser) words(rest, form string, least, most int) []word {
	list, err := words(rest)
	switch {
	case err != nil:
		p.fail("%v", err)
		return nil
	case len(list) < least || len(list) > most:
		p.fail("write %s", form)
		return nil
	}
	return list
}

// Manual is the reference of the lines, in Markdown.
func Manual() string {
	var b strings.Builder
	b.WriteString("- `case NAME`: A new case begins. What stands before the first is done in each.\n")
	for _, l := range Lines() {
		if l.Doc != "" {
			fmt.Fprintf(&b, "- `%s`: %s\n", l.Form, l.Doc)
		}
	}
	return b.String()
}
