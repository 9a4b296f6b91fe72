package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// dialogue is what was said, for people: long lines and long parts are left out.
type dialogue struct {
	lines []string
	more  int
}

const (
	maxSaid     = 60
	maxSaidLine = 160
)

func (d *dialogue) add(line string) {
	if len(d.lines) >= maxSaid {
		d.more++
		d.lines = append(d.lines[:maxSaid/2], d.lines[maxSaid/2+1:]...) // the end matters as much as the beginning
	}
	d.lines = append(d.lines, line)
}

func (d *dialogue) client(text []byte) {
	for n := 0; len(text) > 0; n++ {
		line, after, whole := bytes.Cut(text, []byte("\r\n"))
		if n == maxSaid {
			d.add(fmt.Sprintf("   … %d octets more", len(text)))
			return
		}
		if text = after; whole {
			d.add("C: " + short(string(line)))
		} else {
			d.add("T: " + short(string(line)))
		}
	}
}

func (d *dialogue) server(r reply) {
	for _, line := range r.lines {
		d.add("S: " + strconv.Itoa(r.code) + " " + short(line))
	}
}

func (d *dialogue) note(format string, a ...any) { d.add("-- " + short(fmt.Sprintf(format, a...))) }

func (d *dialogue) text() []string {
	if d.more == 0 {
		return d.lines
	}
	said := append([]string{}, d.lines[:maxSaid/2]...)
	said = append(said, fmt.Sprintf("   … %d lines left out", d.more))
	return append(said, d.lines[maxSaid/2:]...)
}

// short is a text in one printable line of bearable length.
func short(s string) string {
	quoted := strconv.QuoteToASCII(s[:min(len(s), maxSaidLine)])
	quoted = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(s) > maxSaidLine {
		quoted += fmt.Sprintf("… (%d octets)", len(s))
	}
	return quoted
}
