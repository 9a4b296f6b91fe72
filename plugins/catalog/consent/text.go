package consent

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Columns of a sheet, of which each line of a stranger's text is well within those of any terminal.
const columns = 78

const (
	bullet = "  - "
	quoted = "  | " // before each line that a stranger wrote, and before no other
)

// part is one of the lists of a sheet.
type part struct {
	title string
	lines *[]string
}

func (s *Sheet) parts() []part {
	return []part{
		{"It is asked", &s.Asked}, {"It reads", &s.Reads}, {"It changes", &s.Changes}, {"It lets in", &s.Allows}, {"It contacts", &s.Contacts},
		{"It refuses", &s.Refuses}, {"It keeps", &s.Keeps}, {"Limits that this server sets", &s.Limits},
	}
}

// Text is the sheet as it is printed. signed says who signed the package; "" is nobody.
func (s *Sheet) Text(signed string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.ID, s.Version)
	fmt.Fprintf(&b, "package %s\n", s.Digest)
	if signed = Clean(signed, maxDescription); signed == "" {
		signed = "nobody"
	}
	write(&b, "signed  ", strings.Repeat(" ", 8), "by "+signed)
	engine := "WebAssembly: it reaches nothing but what stands here"
	if s.Engine == "lua" {
		engine = "Lua: bounds against mistakes, but no wall against malice"
	}
	fmt.Fprintf(&b, "engine  %s\n", engine)
	if s.Description != "" {
		b.WriteString("Its author says:\n")
		write(&b, quoted, quoted, s.Description)
	}
	for _, p := range s.parts() {
		lines := *p.lines
		if len(lines) == 0 {
			lines = []string{"nothing"}
			if p.title == "It is asked" {
				lines = []string{"never"}
			}
		}
		b.WriteString(p.title + "\n")
		for _, line := range lines {
			write(&b, bullet, strings.Repeat(" ", len(bullet)), line)
		}
	}
	for i, c := range s.required() {
		if i == 0 {
			b.WriteString("You must tell it\n")
		}
		if c.Doc == "" {
			write(&b, bullet, strings.Repeat(" ", len(bullet)), c.Name+" ("+c.Type+")")
			continue
		}
		write(&b, bullet, strings.Repeat(" ", len(bullet)), c.Name+" ("+c.Type+"), of which its author says:")
		write(&b, quoted, quoted, c.Doc)
	}
	fmt.Fprintf(&b, "%s\n", s.Rights)
	return b.String()
}

// required are the settings without which the plugin does not load.
func (s *Sheet) required() (out []Setting) {
	for _, c := range s.Settings {
		if c.Required {
			out = append(out, c)
		}
	}
	return out
}

// write breaks a text that was made clean into lines, each behind its mark.
func write(b *strings.Builder, first, further, text string) {
	room, used := columns-len(first), 0
	b.WriteString(first)
	for word := range strings.SplitSeq(text, " ") {
		if n := width(word); used > 0 && used+1+n > room {
			b.WriteString("\n" + further)
			used = 0
		} else if used > 0 {
			b.WriteByte(' ')
			used++
		}
		for _, r := range word { // a word may be longer than a line
			if used+columnsOf(r) > room {
				b.WriteString("\n" + further)
				used = 0
			}
			b.WriteRune(r)
			used += columnsOf(r)
		}
	}
	b.WriteByte('\n')
}

// columnsOf is how many columns a terminal gives a character at most.
func columnsOf(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	return 2
}

func width(s string) (n int) {
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// maxMarks is how many accents in a row may stand on a letter; more of them reach into the lines around.
const maxMarks = 3

// Clean makes one line of at most that many columns of what a stranger wrote. Nothing in it is acted on by a terminal, and nothing is
// there without being seen: controls, what turns text around, spaces of any sort in a row, letters that are drawn as nothing.
func Clean(text string, most int) string {
	var b strings.Builder
	used, cut, marks, space := 0, 0, 0, false
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		part := text[:n]
		text = text[n:]
		if unicode.IsSpace(r) {
			space = used > 0
			continue
		}
		if marks++; !unicode.Is(unicode.M, r) {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && n == 1:
			part = fmt.Sprintf(`\x%02x`, part[0])
		case !unicode.IsPrint(r), unseen(r), marks > maxMarks, marks > 0 && (used == 0 || space): // a mark has a letter to stand on
			part = fmt.Sprintf(`\u{%x}`, r)
		}
		if space {
			part = " " + part
		}
		if used, space = used+width(part), false; used > most {
			return b.String()[:cut] + "..."
		}
		b.WriteString(part)
		if used <= most-len("...") {
			cut = b.Len()
		}
	}
	return b.String()
}

// unseen tells characters that count as printable and are drawn as nothing.
func unseen(r rune) bool {
	return r == '\u2800' || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
