package main

import (
	"fmt"
	"strconv"
	"strings"
)

// reply is what the server says in answer to one command.
type reply struct {
	code  int
	lines []string // without code
}

// enhanced gives the enhanced status code that the reply begins with; "" if there is none.
func (r reply) enhanced() string {
	word, _, _ := strings.Cut(r.lines[0], " ")
	if strings.Count(word, ".") == 2 && strings.Trim(word, "0123456789.") == "" {
		return word
	}
	return ""
}

func (r reply) String() string { return strconv.Itoa(r.code) + " " + strings.Join(r.lines, " / ") }

// pattern is a choice of replies.
type pattern struct {
	text   string
	any    []alternative
	closed bool     // the end of the connection is allowed, too
	strict *pattern // for Stagepost
}

type alternative struct {
	code     string // three digits, or x for any
	enhanced string // likewise, with dots; "" for any or none
	closes   bool   // the server closes the connection after this one
	ends     bool   // there is no more to this case then
}

// parsePattern reads alternatives with | between them: "250", "5xx", "501 5.5.2", "554!" after which the server closes,
// "5xx?" after which there is no more to the case, and "closed". What Stagepost itself is held to may follow after "stagepost:".
func parsePattern(s string) (*pattern, error) {
	general, own, strict := strings.Cut(s, "stagepost:")
	p := &pattern{text: strings.TrimSpace(general)}
	for _, a := range strings.Split(p.text, "|") {
		if a = strings.TrimSpace(a); a == "closed" {
			p.closed = true
			continue
		}
		var alt alternative
		a, alt.closes = strings.CutSuffix(a, "!")
		a, alt.ends = strings.CutSuffix(a, "?")
		alt.code, alt.enhanced, _ = strings.Cut(a, " ")
		if len(alt.code) != 3 || strings.Trim(alt.code, "0123456789x") != "" {
			return nil, fmt.Errorf("%q is no reply code: want three digits, or x for any digit", alt.code)
		}
		if alt.enhanced != "" && (strings.Count(alt.enhanced, ".") != 2 || strings.Trim(alt.enhanced, "0123456789x.") != "") {
			return nil, fmt.Errorf("%q is no enhanced status code", alt.enhanced)
		}
		p.any = append(p.any, alt)
	}
	if strict {
		var err error
		if p.strict, err = parsePattern(own); err != nil {
			return nil, err
		}
		if p.strict.strict != nil {
			return nil, fmt.Errorf("stagepost: stands there twice")
		}
	}
	return p, nil
}

// of gives the pattern that holds for a server.
func (p *pattern) of(strict bool) *pattern {
	if strict && p.strict != nil {
		return p.strict
	}
	return p
}

// match finds the alternative that a reply is.
func (p *pattern) match(r reply) (alternative, bool) {
	for _, a := range p.any {
		if like(a.code, strconv.Itoa(r.code)) && (a.enhanced == "" || like(a.enhanced, r.enhanced())) {
			return a, true
		}
	}
	return alternative{}, false
}

// like compares digit by digit; x is any, and in an enhanced code any number.
func like(want, got string) bool {
	wants, gots := strings.Split(want, "."), strings.Split(got, ".")
	if len(wants) != len(gots) {
		return false
	}
	for i, w := range wants {
		if len(wants) > 1 && w == "x" {
			continue
		}
		if len(w) != len(gots[i]) {
			return false
		}
		for k := range len(w) {
			if w[k] != 'x' && w[k] != gots[i][k] {
				return false
			}
		}
	}
	return true
}
