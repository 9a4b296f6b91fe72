package dsn

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/message"
)

func TestOriginal(t *testing.T) {
	long := "X-Long: " + strings.Repeat("x", 1000) + "\r\n"
	field := "X-Field: " + strings.Repeat("y", 89) + "\r\n" // 100 bytes
	for _, c := range []struct {
		name, content string
		full          bool
		kind          string
		encoding      string
		want          string // decoded
	}{
		{"header", "A: 1\r\nB: 2\r\n 3\r\n\r\nbody\r\n", false, "text/rfc822-headers", sevenBit, "A: 1\r\nB: 2\r\n 3\r\n"},
		{"8-bit header", "A: =ü \r\nB:\xff\r\n\r\nbody\r\n", false, "text/rfc822-headers", quotedPrintable, "A: =ü \r\nB:\xff\r\n"},
		{"long line", long, false, "text/rfc822-headers", quotedPrintable, long},
		{"stray CR stays in its line", "A: 1\rB: 2\r\n\r\n", false, "text/rfc822-headers", quotedPrintable, "A: 1\rB: 2\r\n"},
		{"LF ends lines", "A: 1\nB: 2\n\nbody\n", false, "text/rfc822-headers", sevenBit, "A: 1\r\nB: 2\r\n"},
		{"no end", "A: 1", false, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
		{"no header", "\r\nbody\r\n", false, "text/rfc822-headers", sevenBit, ""},
		{"no field", "hello\r\n", false, "text/rfc822-headers", sevenBit, ""},
		{"empty", "", true, "message/rfc822", sevenBit, ""},
		{"cut at a field", strings.Repeat(field, 700), false, "text/rfc822-headers", sevenBit, strings.Repeat(field, MaxReturned/100)},
		{"one endless field", "A: 1\r\n" + strings.Repeat(" x\r\n", MaxReturned), false, "text/rfc822-headers", sevenBit, ""},
		{"endless field after another", "A: 1\r\nB: 1\r\n" + strings.Repeat(" x\r\n", MaxReturned), false, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
		{"cut within a name", "A: " + strings.Repeat("x", MaxReturned-6) + "\r\nSubject: y\r\n\r\n", false, "text/rfc822-headers", quotedPrintable,
			"A: " + strings.Repeat("x", MaxReturned-6) + "\r\n"},
		{"short header, long body", "A: 1\r\n\r\n" + strings.Repeat("xx\r\n", MaxReturned), true, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
		{"full", "A: 1\r\n\r\nbody", true, "message/rfc822", sevenBit, "A: 1\r\n\r\nbody"},
		{"full, 8-bit", "A: 1\r\n\r\nü\r\n", true, "message/rfc822", eightBit, "A: 1\r\n\r\nü\r\n"},
		{"full, stray CR", "A: 1\r\n\r\na\rb\r\n", true, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
		{"full, stray LF", "A: 1\r\n\r\na\nb\r\n", true, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
		{"full, NUL", "A: 1\r\n\r\na\x00b\r\n", true, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
		{"full, long line", "A: 1\r\n\r\n" + long, true, "text/rfc822-headers", sevenBit, "A: 1\r\n"},
	} {
		for where, content := range map[string]message.Content{"memory": memory(c.content), "disk": &onDisk{memory: memory(c.content), broken: MaxReturned}} {
			r := newReport(t, Failed, Rcpt{Final: mustAddress(t, "b@b.example")})
			r.Original, r.ReturnFull = content, c.full
			p, err := r.original()
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, where, err)
				continue
			}
			body := p.body
			if p.encoding == quotedPrintable {
				if body, err = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body))); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
			if p.kind != c.kind || p.encoding != c.encoding || string(body) != c.want {
				t.Errorf("%s, %s: %s %s %.200q", c.name, where, p.kind, p.encoding, body)
			}
			sent := compose(t, r)
			wellFormed(t, r, sent)
			if strings.Contains(sent, "rfc822-headers") != (c.want != "" && c.kind == "text/rfc822-headers") {
				t.Errorf("%s: the part is there, or is not:\n%.2000s", c.name, sent)
			}
		}
	}
}

// TestBoundary: a message that holds the boundary we would choose gets another.
func TestBoundary(t *testing.T) {
	r := newReport(t, Failed, Rcpt{Final: mustAddress(t, "b@b.example")})
	id := r.ID.String()
	r.ReturnFull = true
	r.Original = memory("A: 1\r\n\r\n--=_" + id + "_0\r\n\r\n--=_" + id + "_1--\r\n")
	r.Rcpts[0].Diagnostic = "550 =_" + id + "_2"
	sent := compose(t, r)
	if !strings.Contains(sent, `boundary="=_`+id+`_3"`) {
		t.Errorf("\n%s", sent)
	}
	if n := strings.Count(sent, "=_"+id+"_3"); n != 5 { // the header, three parts, the end
		t.Errorf("the boundary occurs %d times", n)
	}
}
