package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func mustParse(t *testing.T, content string) *Header {
	t.Helper()
	h, err := ParseHeader([]byte(content), DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name, content string
		want          []string // name=value
		malformed     bool
	}{
		{"plain", "From: a\r\nTo: b\r\n\r\nbody: no\r\n", []string{"From=a", "To=b"}, false},
		{"empty content", "", nil, false},
		{"no header", "\r\nbody\r\n", nil, false},
		{"header only", "Subject: x\r\n", []string{"Subject=x"}, false},
		{"no line end", "Subject: x", []string{"Subject=x"}, false},
		{"folded", "Subject: a\r\n b\r\n\tc\r\nTo: d\r\n\r\n", []string{"Subject=a b\tc", "To=d"}, false},
		{"folded line of white space", "Subject: a\r\n \r\n b\r\n\r\n", []string{"Subject=a  b"}, false},
		{"value begins on the next line", "References:\r\n <x@y>\r\n\r\n", []string{"References=<x@y>"}, false},
		{"space before the colon", "From \t: a\r\n\r\n", []string{"From=a"}, false},
		{"empty value", "Subject:\r\nTo: \r\n\r\n", []string{"Subject=", "To="}, false},
		{"no colon", "From: a\r\nhello\r\nTo: b\r\n\r\n", []string{"From=a"}, true},
		{"first line folded", " From: a\r\nTo: b\r\n\r\n", nil, true},
		{"mbox line", "From a@b Mon Jan  1 00:00:00 2024\r\nTo: b\r\n\r\n", nil, true},
		{"quoted mbox line", ">From a@b Mon Jan  1 00:00:00 2024\r\nTo: b\r\n\r\n", nil, true},
		{"name folded before the colon", "From\r\n : a\r\n\r\n", nil, true},
		{"no name", ": a\r\n\r\n", nil, true},
		{"name with a control", "Fr\x00om: a\r\n\r\n", nil, true},
		{"name with 8 bits", "Fr\xc3\xb6m: a\r\n\r\n", nil, true},
		{"LF alone ends lines", "From: a\nTo: b\n\nbody: c\r\n", []string{"From=a", "To=b"}, false},
		{"CR alone ends none", "From: a\rTo: b\r\n\r\n", []string{"From=a\rTo: b"}, false},
		{"8-bit value", "Subject: \xff\r\n\r\n", []string{"Subject=\xff"}, false},
	} {
		h := mustParse(t, c.content)
		var got []string
		var raw bytes.Buffer
		for _, f := range h.Fields("") {
			got = append(got, f.Name+"="+f.Value)
			raw.Write(f.Raw)
		}
		if !slices.Equal(got, c.want) || h.Malformed() != c.malformed || h.Len() != len(c.want) {
			t.Errorf("%s: %q, malformed %v; want %q, %v", c.name, got, h.Malformed(), c.want, c.malformed)
		}
		if !strings.HasPrefix(c.content, raw.String()) {
			t.Errorf("%s: raw fields %q are not the start of the content", c.name, raw.String())
		}
	}
}

func TestHeaderGet(t *testing.T) {
	h := mustParse(t, "Received: 1\r\nFROM: a\r\nreceived : 2\r\nReceived-SPF: no\r\nRECEIVED: 3\r\n\r\n")
	for n, want := range []string{"1", "2", "3"} {
		if v, ok := h.Get("Received", n); !ok || v != want {
			t.Errorf("Received %d is %q, %v", n, v, ok)
		}
	}
	if _, ok := h.Get("Received", 3); ok {
		t.Error("there is a fourth Received")
	}
	if h.Count("ReceiveD") != 3 || h.Count("Receive") != 0 || h.Count("") != 0 {
		t.Error("wrong counts")
	}
	if f := h.Fields("from"); len(f) != 1 || f[0].Name != "FROM" || string(f[0].Raw) != "FROM: a\r\n" {
		t.Errorf("Fields(from) = %+v", f)
	}
}

func TestHeaderEdits(t *testing.T) {
	const in = "Received: old\r\nX: 1\r\nSubject: s\r\nx : 2\r\n\r\nbody\r\n"
	add := func(name, value string) func(*Header) error {
		return func(h *Header) error { return h.Add(name, value) }
	}
	set := func(name, value string) func(*Header) error {
		return func(h *Header) error { return h.Set(name, value) }
	}
	remove := func(name string, n, want int) func(*Header) error {
		return func(h *Header) error {
			if got := h.Remove(name, n); got != want {
				return fmt.Errorf("Remove(%s, %d) = %d, want %d", name, n, got, want)
			}
			return nil
		}
	}
	for _, c := range []struct {
		name  string
		edits []func(*Header) error
		want  string
		skip  bool
	}{
		{"none", nil, in, false},
		{"add", []func(*Header) error{add("A", "1"), add("B", "2")}, "A: 1\r\nB: 2\r\n" + in, false},
		{"set the first, drop the others", []func(*Header) error{set("X", "new")},
			"Received: old\r\nX: new\r\nSubject: s\r\n\r\nbody\r\n", true},
		{"set a new one", []func(*Header) error{set("Y", "new")}, "Y: new\r\n" + in, false},
		{"set an added one", []func(*Header) error{add("Y", "1"), set("y", "2")}, "y: 2\r\n" + in, false},
		{"set an added one that also came in", []func(*Header) error{add("X", "0"), set("X", "9")},
			"X: 9\r\nReceived: old\r\nSubject: s\r\n\r\nbody\r\n", true},
		{"remove the second", []func(*Header) error{remove("x", 1, 1)},
			"Received: old\r\nX: 1\r\nSubject: s\r\n\r\nbody\r\n", true},
		{"remove all", []func(*Header) error{remove("x", -1, 2)}, "Received: old\r\nSubject: s\r\n\r\nbody\r\n", true},
		{"remove what is not there", []func(*Header) error{remove("x", 2, 0), remove("q", -1, 0)}, in, false},
		{"remove what was added", []func(*Header) error{add("Y", "1"), remove("Y", 0, 1)}, in, false},
		{"remove everything", []func(*Header) error{remove("x", -1, 2), remove("received", -1, 1), remove("subject", 0, 1)},
			"\r\nbody\r\n", true},
		{"add on top of a change", []func(*Header) error{remove("x", -1, 2), add("A", "1")},
			"A: 1\r\nReceived: old\r\nSubject: s\r\n\r\nbody\r\n", true},
	} {
		h := mustParse(t, in)
		for i, edit := range c.edits {
			if err := edit(h); err != nil {
				t.Errorf("%s, edit %d: %v", c.name, i, err)
			}
		}
		const top = "Received: new\r\n"
		prefix, skip := h.Result([]byte(top))
		if got := string(prefix) + in[skip:]; got != top+c.want {
			t.Errorf("%s: sent is\n%q, want\n%q", c.name, got, top+c.want)
		}
		if (skip != 0) != c.skip {
			t.Errorf("%s: skip is %d", c.name, skip)
		}
	}
}

func TestHeaderResultLeavesTheRestAlone(t *testing.T) {
	for _, in := range []string{"", "\r\nbody", "Subject: x", "A: 1\r\nno field\r\n", "plain text\r\n"} {
		h := mustParse(t, in)
		if err := h.Set("A", "2"); err != nil {
			t.Fatal(err)
		}
		prefix, skip := h.Result(nil)
		rest := strings.TrimPrefix(strings.TrimPrefix(in, "A: 1\r\n"), "Subject: x")
		if got := string(prefix) + in[skip:]; !strings.HasPrefix(got, "A: 2\r\n") || !strings.HasSuffix(got, rest) {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestContentThatBeginsWithAContinuation(t *testing.T) {
	const in = "\tdkim=pass\r\nSubject: x\r\n\r\nbody\r\n"
	h := mustParse(t, in)
	if prefix, skip := h.Result([]byte("Received: ours\r\n")); string(prefix) != "Received: ours\r\n\r\n" || skip != 0 {
		t.Errorf("with Received alone: %q, %d", prefix, skip)
	}
	if err := h.Add("Authentication-Results", "mx; dkim=fail"); err != nil {
		t.Fatal(err)
	}
	prefix, _ := h.Result(nil)
	if v, _ := mustParse(t, string(prefix)+in).Get("Authentication-Results", 0); v != "mx; dkim=fail" {
		t.Errorf("the content added to a field of ours: %q", v)
	}
	if prefix, _ := mustParse(t, in).Result(nil); len(prefix) != 0 {
		t.Errorf("with nothing above it the content got %q", prefix)
	}
}

func TestHeaderCloneTakesEditsBack(t *testing.T) {
	h := mustParse(t, "A: 1\r\nB: 2\r\n\r\n")
	c := h.Clone()
	c.Remove("A", 0)
	c.Set("B", "3")
	c.Add("C", "4")
	if prefix, skip := h.Result(nil); prefix != nil || skip != 0 || h.Len() != 2 {
		t.Errorf("edits of a clone reached the header: %q, %d", prefix, skip)
	}
	if v, _ := h.Get("B", 0); v != "2" {
		t.Errorf("B is %q", v)
	}
}

func TestHeaderValues(t *testing.T) {
	long := strings.Repeat("word ", 40)
	for _, c := range []struct {
		name, value, raw, err string
		utf8                  bool
	}{
		{name: "plain", value: "  text\t", raw: "X: text\r\n"},
		{name: "empty", value: "", raw: "X: \r\n"},
		{name: "inner spaces stay", value: "a  b", raw: "X: a  b\r\n"},
		{name: "own folding", value: "v=1;\r\n\tb=abc", raw: "X: v=1;\r\n\tb=abc\r\n"},
		{name: "new field", value: "a\r\nBcc: b", err: "control character"},
		{name: "end of header", value: "a\r\n\r\nbody", err: "control character"},
		{name: "CR LF at the end", value: "a\r\n", err: "control character"},
		{name: "LF", value: "a\n b", err: "control character"},
		{name: "CR", value: "a\r b", err: "control character"},
		{name: "NUL", value: "a\x00b", err: "control character"},
		{name: "escape", value: "a\x1b[2Jb", err: "control character"},
		{name: "DEL", value: "a\x7fb", err: "control character"},
		{name: "folded to nothing", value: "a\r\n \r\n b", err: "nothing but white space"},
		{name: "folded at the end", value: "a\r\n ", err: "nothing but white space"},
		{name: "invalid UTF-8", value: "a\xff", err: "UTF-8"},
		{name: "too long a word", value: strings.Repeat("x", 999), err: "998"},
		{name: "just short enough", value: strings.Repeat("x", 995), raw: "X: " + strings.Repeat("x", 995) + "\r\n"},
		{name: "encoded", value: "Grüße an Jürgen  Müller jun.", raw: "X: =?utf-8?b?R3LDvMOfZQ==?= an =?utf-8?q?J=C3=BCrgen__M=C3=BCller?= jun.\r\n"},
		{name: "encoded in base64", value: "日本", raw: "X: =?utf-8?b?5pel5pys?=\r\n"},
		{name: "raw UTF-8", value: "Grüße", raw: "X: Grüße\r\n", utf8: true},
		{name: "own folding and UTF-8", value: "ü\r\n b", err: "ASCII"},
		{name: "long", value: long, raw: "X: " + strings.TrimSpace(strings.Repeat("word ", 15)) + "\r\n " +
			strings.TrimSpace(strings.Repeat("word ", 15)) + "\r\n " + strings.TrimSpace(strings.Repeat("word ", 10)) + "\r\n"},
	} {
		h := mustParse(t, "")
		h.UTF8 = c.utf8
		err := h.Add("X", c.value)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want one with %q", c.name, err, c.err)
			}
			if h.Len() != 0 {
				t.Errorf("%s: a refused value was added", c.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if raw := string(h.Fields("X")[0].Raw); raw != c.raw {
			t.Errorf("%s: written as\n%q, want\n%q", c.name, raw, c.raw)
		}
	}
	for _, name := range []string{"", "a b", "a:", "a\r\nb", "ü", "a\x00"} {
		if err := mustParse(t, "").Add(name, "v"); err == nil {
			t.Errorf("field name %q was taken", name)
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	in := []byte(strings.Repeat("A: 1\r\n", 10) + "\r\n" + strings.Repeat("body\r\n", 1000))
	limitOf := func(err error) string {
		var l *HeaderLimitError
		if !errors.As(err, &l) {
			return fmt.Sprint(err)
		}
		return fmt.Sprintf("%d %s", l.Limit, l.Unit)
	}
	for _, c := range []struct {
		limits HeaderLimits
		want   string
	}{
		{HeaderLimits{60, 10}, "<nil>"},
		{HeaderLimits{59, 10}, "59 bytes"},
		{HeaderLimits{60, 9}, "9 fields"},
	} {
		_, err := ParseHeader(in, c.limits)
		if got := limitOf(err); got != c.want {
			t.Errorf("limits %v: %s, want %s", c.limits, got, c.want)
		}
	}
	h, _ := ParseHeader(in, HeaderLimits{66, 11})
	if err := h.Add("B", "12"); limitOf(err) != "66 bytes" {
		t.Error(err)
	}
	if err := h.Add("B", "1"); err != nil {
		t.Error(err)
	}
	if err := h.Add("C", ""); limitOf(err) != "11 fields" {
		t.Error(err)
	}
	if err := h.Set("B", "12"); limitOf(err) != "66 bytes" {
		t.Error(err)
	}
	h.Remove("A", 0)
	if err := h.Add("C", "1"); err != nil {
		t.Errorf("after one was removed: %v", err)
	}
}

// chunks is a content that is not in memory and counts what is read of it.
type chunks struct {
	b    string
	read int
	err  error
}

func (c *chunks) Bytes() []byte { return nil }
func (c *chunks) Size() int64   { return int64(len(c.b)) }
func (c *chunks) ReadAt(p []byte, off int64) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n := copy(p, c.b[off:])
	c.read += n
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestReadHeaderOfContentOnDisk(t *testing.T) {
	header := strings.Repeat("Received: from somewhere\r\n by here\r\n", 1000) + "\r\n"
	c := &chunks{b: header + strings.Repeat("body\r\n", 200_000)}
	h, err := ReadHeader(c, DefaultHeaderLimits)
	if err != nil || h.Len() != 1000 {
		t.Fatalf("%d fields, %v", h.Len(), err)
	}
	if c.read > 3*len(header) {
		t.Errorf("%d bytes were read for a header of %d", c.read, len(header))
	}
	_, err = ReadHeader(&chunks{b: strings.Repeat("x", 1<<20)}, DefaultHeaderLimits)
	if err != nil {
		t.Errorf("a content without header: %v", err)
	}
	var limit *HeaderLimitError
	big := &chunks{b: strings.Repeat("X: y\r\n", 1<<20)}
	if _, err := ReadHeader(big, HeaderLimits{Bytes: 64 << 10, Fields: 1 << 30}); !errors.As(err, &limit) {
		t.Errorf("an endless header: %v", err)
	}
	if big.read > 200<<10 {
		t.Errorf("%d bytes of an endless header were read", big.read)
	}
	if _, err := ReadHeader(&chunks{b: "x", err: io.ErrClosedPipe}, DefaultHeaderLimits); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a failing disk: %v", err)
	}
}

// FuzzHeader checks that parsing never loses or changes a byte, and that an edit changes nothing but itself.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{
		"From: a\r\nSubject: b\r\n c\r\n\r\nbody", "", "\r\n", "\n", "x", " x: y", "a\t :b\r\n", "From\r\n : a\r\n\r\n",
		"From a b: c\r\n", "A: \r\n \r\n\r\n", "A:\n\tb\n\nc", "A: 1\r\nno\r\n\r\n",
	} {
		f.Add(seed, "X-Test", "some value")
	}
	f.Add("A: 1\r\n\r\n", "A", "ü  ö")
	f.Add("A: 1\r\n\r\n", "A", "a\r\n\tb")
	f.Fuzz(func(t *testing.T, content, name, value string) {
		h, err := ParseHeader([]byte(content), HeaderLimits{Bytes: 1 << 20, Fields: 1000})
		if err != nil {
			return
		}
		var raw strings.Builder
		for _, field := range h.Fields("") {
			raw.Write(field.Raw)
			if strings.Contains(field.Value, "\n") || !validName(field.Name) {
				t.Fatalf("field %q = %q", field.Name, field.Value)
			}
		}
		rest, ok := strings.CutPrefix(content, raw.String())
		if !ok || int64(raw.Len()) != h.end {
			t.Fatalf("fields %q do not begin the content", raw.String())
		}
		if !h.Malformed() && rest != "" && !strings.HasPrefix(rest, "\n") && !strings.HasPrefix(rest, "\r\n") {
			t.Fatalf("the header ends before %q", rest)
		}

		others := h.Len() - h.Count(name)
		if h.Set(name, value) != nil {
			return
		}
		prefix, skip := h.Result(nil)
		sent := string(prefix) + content[skip:]
		if !strings.HasSuffix(sent, rest) {
			t.Fatalf("an edit changed what stands behind the header: %q to %q", rest, sent)
		}
		if raw.Len() > 0 && !strings.HasSuffix(raw.String(), "\n") {
			return // the last line has no end; what is read again may differ there
		}
		again, err := ParseHeader([]byte(sent), HeaderLimits{Bytes: 2 << 20, Fields: 2000})
		if err != nil {
			t.Fatal(err)
		}
		if again.Count(name) != 1 || again.Len() != others+1 {
			t.Fatalf("after Set(%q, %q) there are %d of %d fields", name, value, again.Count(name), again.Len())
		}
		if want := strings.ReplaceAll(strings.Trim(value, " \t"), "\r\n", ""); isASCII(value) {
			if got, _ := again.Get(name, 0); got != strings.Trim(want, " \t") {
				t.Fatalf("value %q is read back as %q", want, got)
			}
		}
		for line := range strings.SplitSeq(string(again.Fields(name)[0].Raw), "\r\n") {
			if len(line) > maxLine {
				t.Fatalf("line of %d bytes", len(line))
			}
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	content := []byte(strings.Repeat("Received: from a.example.org by b.example.org\r\n\twith ESMTPS id 12345; Mon, 1 Jan 2024 00:00:00 +0000\r\n", 4) +
		"From: a@example.org\r\nTo: b@example.org\r\nSubject: test\r\nMessage-ID: <x@y>\r\nDate: x\r\nMIME-Version: 1.0\r\n\r\nbody\r\n")
	b.ReportAllocs()
	for b.Loop() {
		h, err := ParseHeader(content, DefaultHeaderLimits)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := h.Get("message-id", 0); !ok {
			b.Fatal("not found")
		}
	}
}
