package consent

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/config"
)

// Marks of lines in which the two packages differ.
const (
	minus = "  - "
	plus  = "  + "
)

// further begins a line that the one above, which was too long, goes on in.
const further = "» "

// Text is the comparison as it is printed, for a terminal of so many columns. Code is not broken into lines of that length where it is 0.
func (d *Diff) Text(columns int) string {
	var b strings.Builder
	old, now := d.Old.ID+" "+d.Old.Version, d.New.ID+" "+d.New.Version
	fmt.Fprintf(&b, "--- %s\n    %s\n+++ %s\n    %s\n", old, d.Old.Digest, now, d.New.Digest)
	if d.Old.Rights == d.New.Rights {
		fmt.Fprintf(&b, "Both may do the same: %s\n", d.New.Rights)
	} else {
		d.rights(&b, now, d.More, "no more than "+old)
		d.rights(&b, old, d.Less, "no more than "+now)
	}
	for _, part := range []struct {
		title string
		list  []Change
	}{{"Needs", d.Needs}, {"Hooks", d.Hooks}, {"Settings", d.Settings}} {
		if len(part.list) > 0 {
			fmt.Fprintf(&b, "%s\n", part.title)
		}
		for _, c := range part.list {
			side(&b, minus, c.Name, c.Old)
			side(&b, plus, c.Name, c.New)
		}
	}
	for i := range d.Files {
		d.Files[i].write(&b, columns)
	}
	if len(d.Files) == 0 {
		b.WriteString("All files are the same\n")
	}
	return b.String()
}

// rights writes what one of them may do beyond the other one.
func (d *Diff) rights(b *strings.Builder, who string, more []string, none string) {
	if len(more) == 0 {
		fmt.Fprintf(b, "%s asks for %s\n", who, none)
		return
	}
	fmt.Fprintf(b, "%s asks for more\n", who)
	for _, line := range more {
		write(b, bullet, strings.Repeat(" ", len(bullet)), line)
	}
}

// side writes what a change has on one side.
func side(b *strings.Builder, mark, name, text string) {
	if text != "" {
		write(b, mark, mark+"  ", name+": "+text)
	}
}

// write writes a file that differs.
func (f *File) write(b *strings.Builder, columns int) {
	fmt.Fprintf(b, "=== %s: %s\n", f.Name, f.what())
	for line := range strings.Lines(f.Text) {
		line = strings.TrimSuffix(line, "\n")
		code(b, line[:1], line[1:], columns)
	}
}

// what says how a file differs.
func (f *File) what() string {
	size := func(v *Blob) string { return config.FormatSize(int64(v.Size)) + " " + v.Digest.String() }
	switch {
	case f.Old == nil:
		return "new, " + config.FormatSize(int64(f.New.Size))
	case f.New == nil:
		return "gone, " + config.FormatSize(int64(f.Old.Size))
	case f.Text == "":
		return "changed\n--- " + size(f.Old) + "\n+++ " + size(f.New)
	}
	return "changed, " + config.FormatSize(int64(f.New.Size))
}

// code writes a line of a stranger's code so that all in it is seen where it is: what a terminal would act on, what turns text around, and
// what is drawn as nothing are escaped. A line that is too long for the terminal goes on in another one, which has its mark.
func code(b *strings.Builder, mark, line string, columns int) {
	b.WriteString(mark)
	used, marks := len(mark), 0
	for len(line) > 0 {
		r, n := utf8.DecodeRuneInString(line)
		part := line[:n]
		line = line[n:]
		if marks++; !unicode.Is(unicode.M, r) {
			marks = 0
		}
		switch {
		case r == '\t' && columns == 0:
		case r == '\t':
			part = strings.Repeat(" ", 8-(used-len(mark))%8)
		case r == utf8.RuneError && n == 1:
			part = fmt.Sprintf(`\x%02x`, part[0])
		case !unicode.IsPrint(r), unseen(r), marks > maxMarks:
			part = fmt.Sprintf(`\u{%x}`, r)
		}
		room := width(part)
		if columns > 0 && used+room > columns {
			b.WriteString("\n" + mark + further)
			used = len(mark) + width(further)
		}
		b.WriteString(part)
		used += room
	}
	b.WriteByte('\n')
}
