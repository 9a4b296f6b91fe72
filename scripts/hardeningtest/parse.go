package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// features are what a case may need of a server.
func features() []string {
	return []string{"tls", "tlsport", "submission", "auth", "user", "chunking", "binarymime", "smtputf8", "dsn", "proxy", "xclient", "sink", "own", "submissions", "clients", "many"}
}

// listeners are where a case may connect to.
func listeners() []string {
	return []string{"mx", "tls", "submission", "submissions", "proxy", "xclient", "clients"}
}

// parser reads one file of cases.
type parser struct {
	file  string
	at    int
	sec   *section
	parts map[string]*[]step
	into  *[]step // of the case or part that is being read
	now   *script // nil in a part
}

// parse reads a file; the error names all faults, a line each.
func parse(file, text string) (*section, error) {
	p := &parser{file: file, sec: &section{}, parts: map[string]*[]step{}}
	var faults []error
	for i, line := range strings.Split(text, "\n") {
		p.at = i + 1
		if err := p.line(strings.TrimSuffix(line, "\r")); err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", file, p.at, err))
		}
	}
	for _, c := range p.sec.cases {
		if !slices.ContainsFunc(c.steps, checks) {
			faults = append(faults, fmt.Errorf("%s:%d: the case %s expects nothing", file, c.line, c.name))
		}
	}
	if p.sec.number == "" {
		faults = append(faults, fmt.Errorf("%s:1: want a line \"section NUMBER TITLE\" first", file))
	}
	return p.sec, errors.Join(faults...)
}

// checks tells whether a step can fail because of what the server does.
func checks(s step) bool {
	switch s.(type) {
	case send, mark, connect, decrypt, end, flood, wait, each:
		return false
	}
	return true
}

func (p *parser) line(line string) error {
	word, arg, _ := strings.Cut(line, " ")
	switch {
	case strings.TrimSpace(line) == "" || line[0] == '#':
		return nil
	case word == "section":
		if p.sec.number != "" {
			return errors.New("want one section a file")
		}
		p.sec.number, p.sec.title, _ = strings.Cut(arg, " ")
		if p.sec.number == "" || p.sec.title == "" {
			return errors.New("want \"section NUMBER TITLE\"")
		}
		return nil
	case p.sec.number == "":
		return errors.New("want \"section NUMBER TITLE\" before anything else")
	case word == "part":
		if arg == "" || p.parts[arg] != nil {
			return errors.New("want \"part NAME\", each name once")
		}
		p.now, p.into = nil, new([]step)
		p.parts[arg] = p.into
		return nil
	case word == "case":
		if slices.ContainsFunc(p.sec.cases, func(c *script) bool { return c.name == arg }) || arg == "" {
			return errors.New("want \"case NAME\", each name once in a file")
		}
		p.now = &script{section: p.sec.number, name: arg, file: p.file, line: p.at, ways: []way{{kind: segment}, {kind: octets}, {kind: pause}}}
		p.into = &p.now.steps
		p.sec.cases = append(p.sec.cases, p.now)
		return nil
	case p.into == nil:
		return errors.New("want \"part NAME\" or \"case NAME\" first")
	}
	if p.now != nil {
		if known, err := p.now.setting(word, arg); known {
			return err
		}
	}
	if word == "use" {
		steps := p.parts[arg]
		if steps == nil || steps == p.into {
			return fmt.Errorf("there is no part %q above", arg)
		}
		return p.add(*steps)
	}
	s, err := parseStep(word, arg)
	if err != nil {
		return err
	}
	return p.add(s)
}

// maxSteps bounds a case, repetitions included.
const maxSteps = 20_000

func (p *parser) add(steps []step) error {
	if len(*p.into)+len(steps) > maxSteps {
		return fmt.Errorf("more than %d steps", maxSteps)
	}
	*p.into = append(*p.into, steps...)
	return nil
}

// setting is a line about a case as a whole.
func (c *script) setting(word, arg string) (known bool, err error) {
	switch word {
	case "needs":
		c.needs = strings.Fields(arg)
		for _, need := range c.needs {
			if !slices.Contains(features(), need) {
				return true, fmt.Errorf("%q is not known; there are %s", need, strings.Join(features(), ", "))
			}
		}
	case "ways":
		c.ways = nil
		for _, name := range strings.Fields(arg) {
			kind := slices.Index([]string{"segment", "octets", "pause"}, name)
			if kind < 0 {
				return true, fmt.Errorf("%q is no way; there are segment, octets and pause", name)
			}
			c.ways = append(c.ways, way{kind: wayKind(kind)})
		}
		if len(c.ways) == 0 {
			return true, errors.New("want one way at least")
		}
	case "gone":
		// The octets that are counted are known when variables are; the ways are made then.
		how, err := parseEnding(arg)
		c.ways = append(c.ways, way{kind: cut, how: how})
		return true, err
	case "slow", "bound":
		c.slow = word == "slow"
		c.bound, err = time.ParseDuration(arg)
	case "alone":
		c.alone = true
	default:
		return false, nil
	}
	return true, err
}
