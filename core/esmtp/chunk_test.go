package esmtp

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/smtp"
)

// ends are the forms of an end of data that some server takes for one.
var ends = []string{"\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\x00\n.\r\n", "\r\n.\r\x00\n",
	"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n..\r\n", "\r\n.x\r\n", "\r\n.\r\n"}

const smuggled = "MAIL FROM:<evil@v.test>\r\nDATA\r\nx\r\n.\r\n"

func TestParseChunk(t *testing.T) {
	for arg, want := range map[string]Chunk{
		"0": {}, "0 LAST": {0, true}, "1000 last": {1000, true}, "00086 Last": {86, true}, "2147483648": {2147483648, false},
		"9223372036854775807": {math.MaxInt64, false}, "18446744073709551615": {math.MaxInt64, false}, "99999999999999999999 LAST": {math.MaxInt64, true},
	} {
		if got, err := ParseChunk(arg); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", "-1", "+1", "1e3", "0x10", "5 LAST x", "5 x", "5  LAST", "LAST", "5LAST", " 5", "5 ", "000000000000000000001", "5,5", "٥"} {
		_, err := ParseChunk(arg)
		var reply smtp.Reply
		if !errors.As(err, &reply) || reply.Code != 501 {
			t.Errorf("%q: got %v", arg, err)
		}
	}
}

// judge is what must come of a content that is all there.
func judge(content string) (open bool, kind smtp.FaultKind, at int) {
	for i := range len(content) {
		switch c := content[i]; {
		case c == 0:
			return false, smtp.NUL, i
		case c == '\n' && (i == 0 || content[i-1] != '\r'):
			return false, smtp.BareLF, i
		case c == '\r' && (i+1 == len(content) || content[i+1] != '\n'):
			return false, smtp.BareCR, i
		}
	}
	return content != "" && !strings.HasSuffix(content, "\n"), 0, 0
}

// checkLines gives content in the pieces that cuts make, and compares.
func checkLines(t *testing.T, content string, cuts []byte) {
	t.Helper()
	wantOpen, wantKind, wantAt := judge(content)
	c, fault, open := LineCheck{}, (*smtp.Fault)(nil), false
	for rest := content; fault == nil && rest != ""; {
		n := len(rest)
		if len(cuts) > 0 {
			n, cuts = min(n, int(cuts[0])), cuts[1:]
		}
		fault = c.Take([]byte(rest[:n]))
		rest = rest[n:]
	}
	if fault == nil {
		open, fault = c.End()
	}
	switch {
	case fault == nil && (wantKind != 0 || open != wantOpen):
		t.Errorf("%q: no fault, open %t, want %v at %d, open %t", content, open, wantKind, wantAt, wantOpen)
	case fault != nil && (fault.Kind != wantKind || fault.Offset != int64(wantAt) || fault.Fatal):
		t.Errorf("%q: got %v at %d, want %v at %d", content, fault.Kind, fault.Offset, wantKind, wantAt)
	}
}

func TestLineCheck(t *testing.T) {
	contents := []string{"", "\r\n", "\r\n.\r\n", ".\r\n", ".", "a", "a\r\n\r\n", "a\r\n\r\nb", "\n", "\r", "a\r", "\x00", "a\r\n\x00"}
	for _, e := range ends {
		contents = append(contents, "text"+e+smuggled, e)
	}
	for _, content := range contents {
		checkLines(t, content, nil)
		checkLines(t, content, []byte(strings.Repeat("\x01", len(content))))
		for i := range content {
			checkLines(t, content, []byte{byte(i)})
		}
	}
}

func FuzzLineCheck(f *testing.F) {
	for _, e := range ends {
		f.Add([]byte("a: 1\r\n\r\ntext"+e+smuggled), []byte{1, 13, 0, 2})
	}
	f.Fuzz(func(t *testing.T, content, cuts []byte) { checkLines(t, string(content), cuts) })
}

func FuzzParseChunk(f *testing.F) {
	for _, seed := range []string{"0", "5 LAST", "99999999999999999999 last", "-1", "5 LAST x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		c, err := ParseChunk(arg)
		var reply smtp.Reply
		if err != nil && (!errors.As(err, &reply) || reply.Check() != nil) || err == nil && (c.Size < 0 || c.Last != strings.HasSuffix(strings.ToUpper(arg), "LAST")) {
			t.Errorf("%q: %+v, %v", arg, c, err)
		}
	})
}
