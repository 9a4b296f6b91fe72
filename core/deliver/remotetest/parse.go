package remotetest

import (
	"fmt"
	"strconv"
	"strings"
)

// Case is one misbehaviour: servers, and what a test says of it.
type Case struct {
	Name  string
	Hosts []Host
	Notes []Note // other lines, which are for whoever runs the case
	Line  int
}

// Host is one server of a case.
type Host struct {
	Name    string
	Scripts []Script // of its connections
}

// Note is a line that is none of a script: its first word, and the rest.
type Note struct {
	Word, Rest string
	Line       int
}

// Of gives the rest of each note with a word.
func (c *Case) Of(word string) (rest []string) {
	for _, n := range c.Notes {
		if n.Word == word {
			rest = append(rest, n.Rest)
		}
	}
	return rest
}

// Parse reads a file of scripts:
//
//	case the greeting is a refusal      begins a case; a file with one needs no such line
//	host mx1                            begins a server; likewise
//	banner: 554 5.3.2 no                a stage and what happens there, of a connection
//	connection                          what follows is of the next one; the last serves all that come later
//	want delivered                      one of the words, and what is the caller's business
//
// # at the beginning of a line makes it a comment. In actions \n, \r, \t, \\ and \xNN stand for octets.
func Parse(text string, words ...string) ([]Case, error) {
	p := parser{words: words}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if p.line = n + 1; line == "" || line[0] == '#' {
			continue
		}
		if err := p.read(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	return p.cases, nil
}

type parser struct {
	words []string
	line  int
	cases []Case
}

func (p *parser) read(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "case":
		if rest == "" {
			return fmt.Errorf("the case has no name")
		}
		p.cases = append(p.cases, Case{Name: rest, Line: p.line})
		return nil
	case "host":
		c := p.current()
		c.Hosts = append(c.Hosts, Host{Name: rest, Scripts: []Script{{}}})
		return nil
	case "connection":
		h := p.host()
		h.Scripts = append(h.Scripts, Script{})
		return nil
	}
	for _, w := range p.words {
		if w == word {
			c := p.current()
			c.Notes = append(c.Notes, Note{word, rest, p.line})
			return nil
		}
	}
	stage, action, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%q is neither STAGE: ACTION nor begins with one of case, host, connection %s", line, strings.Join(p.words, " "))
	}
	if err := checkStage(stage); err != nil {
		return err
	}
	action, err := unescape(strings.TrimSpace(action))
	if err != nil {
		return err
	}
	h := p.host()
	h.Scripts[len(h.Scripts)-1][stage] = action
	return nil
}

func (p *parser) current() *Case {
	if len(p.cases) == 0 {
		p.cases = append(p.cases, Case{Line: p.line})
	}
	return &p.cases[len(p.cases)-1]
}

func (p *parser) host() *Host {
	c := p.current()
	if len(c.Hosts) == 0 {
		c.Hosts = append(c.Hosts, Host{Scripts: []Script{{}}})
	}
	return &c.Hosts[len(c.Hosts)-1]
}

// checkStage tells of a stage that would never come.
func checkStage(stage string) error {
	name, arg, pathed := strings.Cut(stage, " ")
	if name == "content" || name == "octets" {
		if n, err := strconv.Atoi(arg); err != nil || n < 0 {
			return fmt.Errorf("%q is not %s and a number of octets", stage, name)
		}
		return nil
	}
	name, number, numbered := strings.Cut(name, "#")
	if n, err := strconv.Atoi(number); numbered && (err != nil || n < 1) {
		return fmt.Errorf("%q: %q is not the number of an occurrence", stage, number)
	}
	if _, ok := good[name]; !ok && name != "BDAT" {
		return fmt.Errorf("there is no stage %q", name)
	}
	if pathed && name != "RCPT" && name != "dot" && name != "MAIL" {
		return fmt.Errorf("%q: only MAIL, RCPT and dot are of an address", stage)
	}
	return nil
}

func unescape(action string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(action); i++ {
		if action[i] != '\\' {
			b.WriteByte(action[i])
			continue
		}
		c, _, tail, err := strconv.UnquoteChar(action[i:], 0)
		if err != nil || c > 0xff {
			return "", fmt.Errorf("%q: a backslash stands before n, r, t, \\ or x and two digits", action)
		}
		b.WriteByte(byte(c))
		i = len(action) - len(tail) - 1
	}
	return b.String(), nil
}
