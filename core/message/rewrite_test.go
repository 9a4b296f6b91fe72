package message

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// fake is a content that lies in memory, and a draft of one.
type fake struct {
	bytes.Buffer
	used, gone bool
	fail       error // of Write
	lost       error // of the finished content
}

func inMemory(s string) *fake {
	m := &fake{}
	m.WriteString(s)
	return m
}

func (m *fake) Write(p []byte) (int, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	return m.Buffer.Write(p)
}
func (m *fake) open(context.Context, int64) (Draft, error) { return m, nil }
func (m *fake) Size() int64                                { return int64(m.Len()) }
func (m *fake) Content() Content                           { return m }
func (m *fake) Use()                                       { m.used = true }
func (m *fake) Abort()                                     { m.gone = true }
func (m *fake) ReadAt(p []byte, off int64) (int, error) {
	if m.lost != nil {
		return 0, m.lost
	}
	return bytes.NewReader(m.Bytes()).ReadAt(p, off)
}

// rewritten gives the old content a new body, in these pieces.
func rewritten(t testing.TB, old string, most int64, pieces ...string) (*fake, *Header, error) {
	t.Helper()
	c, out := inMemory(old), &fake{}
	h, err := ReadHeader(c, DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRewrite(t.Context(), c, h, out.open, most)
	if err != nil {
		return out, nil, err
	}
	for _, p := range pieces {
		if n, err := io.WriteString(r, p); err != nil || n != len(p) {
			return out, nil, errors.Join(err, r.Close())
		}
	}
	if err := r.Close(); err != nil || !r.Ended() {
		return out, nil, err
	}
	_, h = r.Use(h)
	return out, h, nil
}

func TestRewrite(t *testing.T) {
	const header = "Subject: x\r\nTo: y\r\n"
	for _, c := range []struct {
		name   string
		old    string
		pieces []string
		want   string
	}{
		{"a new body", header + "\r\nold\r\n", []string{"new\r\nbody\r\n"}, header + "\r\nnew\r\nbody\r\n"},
		{"none", header + "\r\nold\r\n", nil, header + "\r\n"},
		{"empty pieces", header + "\r\nold\r\n", []string{"", "a", "", "b\r\n", ""}, header + "\r\nab\r\n"},
		{"line ends of all kinds", header + "\r\n", []string{"a\nb\rc\r\nd\n\ne\r\r\nf"}, header + "\r\na\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n"},
		{"a line end in two pieces", header + "\r\n", []string{"a\r", "\nb\r", "c\r\n"}, header + "\r\na\r\nb\r\nc\r\n"},
		{"an end without line end", header + "\r\nold\r\n", []string{"no end"}, header + "\r\nno end\r\n"},
		{"an end in CR", header + "\r\nold\r\n", []string{"a\r"}, header + "\r\na\r\n"},
		{"what looks like fields", header + "\r\nold\r\n", []string{"Bcc: evil\r\n\r\nx\r\n"}, header + "\r\nBcc: evil\r\n\r\nx\r\n"},
		{"no empty line before", "Subject: x\r\nno field\r\nold\r\n", []string{"new\r\n"}, "Subject: x\r\n\r\nnew\r\n"},
		{"no header before", "\r\nold\r\n", []string{"new\r\n"}, "\r\nnew\r\n"},
		{"a dangling one before", " continued\r\n\r\nold\r\n", []string{"new\r\n"}, "\r\nnew\r\n"},
		{"nothing before", "", []string{"new\r\n"}, "\r\nnew\r\n"},
		{"only a header before", header, []string{"new\r\n"}, header + "\r\nnew\r\n"},
		{"only a header without end before", "Subject: x", []string{"new\r\n"}, "Subject: x\r\n\r\nnew\r\n"},
		{"8 bits and long lines", header + "\r\n", []string{strings.Repeat("\xff", 2000) + "\r\n"}, header + "\r\n" + strings.Repeat("\xff", 2000) + "\r\n"},
		{"many", header + "\r\n", []string{strings.Repeat("0123456789\r\n", 5000), strings.Repeat("x\n", 30_000)},
			header + "\r\n" + strings.Repeat("0123456789\r\n", 5000) + strings.Repeat("x\r\n", 30_000)},
	} {
		out, h, err := rewritten(t, c.old, 1<<20, c.pieces...)
		if err != nil || out.String() != c.want || !out.used {
			t.Errorf("%s: %v, %.200q", c.name, err, out.String())
			continue
		}
		again, err := ReadHeader(out, DefaultHeaderLimits)
		if err != nil || h.Malformed() || again.Malformed() && len(out.Bytes()) > 2 {
			t.Errorf("%s: the header is malformed: %v", c.name, err)
		}
		if got, want := h.Fields(""), again.Fields(""); len(got) != len(want) || h.end != again.end || h.bytes != again.bytes {
			t.Errorf("%s: the header has %d fields up to %d, read again %d up to %d", c.name, len(got), h.end, len(want), again.end)
		}
	}
}

// What was edited in the header before and after a rewrite is in the message, and what was read from the old content does not change
// with that.
func TestRewriteKeepsEditsOfTheHeader(t *testing.T) {
	for _, old := range []string{"A: 1\r\nB: 2\r\nC: 3\r\n\r\nold\r\n", "A: 1\r\nB: 2\r\nC: 3"} {
		c, out := inMemory(old), &fake{}
		h, _ := ReadHeader(c, DefaultHeaderLimits)
		h.Add("New", "n")
		h.Remove("B", -1)
		r, err := NewRewrite(t.Context(), c, h, out.open, 1000)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(r, "body")
		r.Close()
		content, h := r.Use(h)
		clear(c.Bytes()) // the old memory is used for something else
		h.Set("A", "one")
		var env Envelope
		env.Prefix, env.Skip = h.Result([]byte("Received: x\r\n"))
		sent, err := io.ReadAll(io.NewSectionReader(env.Sent(content), 0, 1000))
		if want := "Received: x\r\nNew: n\r\nA: one\r\nC: 3\r\n\r\nbody\r\n"; err != nil || string(sent) != want {
			t.Errorf("sent %q, want %q", sent, want)
		}
	}
}

func TestRewriteFails(t *testing.T) {
	const old = "Subject: x\r\n\r\nold\r\n"
	for _, c := range []struct {
		name   string
		most   int64
		pieces []string
		want   string
	}{
		{"too large", 20, []string{"123456", "7"}, "the message would be larger than the 20 bytes that are allowed"},
		{"too large by the last line end", 20, []string{"12345"}, "larger than the 20 bytes"},
		{"too large by line ends", 1000, []string{strings.Repeat("\n", 600)}, "larger than the 1000 bytes"},
		{"too large by the header", 13, nil, "larger than the 13 bytes"},
		{"NUL", 100, []string{"a\x00b"}, "the new body holds a NUL"},
	} {
		out, _, err := rewritten(t, old, c.most, c.pieces...)
		if err == nil || !strings.Contains(err.Error(), c.want) || out.used {
			t.Errorf("%s: %v", c.name, err)
		}
		if int64(out.Len()) > c.most {
			t.Errorf("%s: %d bytes were written", c.name, out.Len())
		}
	}
	if _, _, err := rewritten(t, old, 20, "1234"); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	c, broken := inMemory(old), errors.New("the disk is full")
	h, _ := ReadHeader(c, DefaultHeaderLimits)
	for _, out := range []*fake{{fail: broken}, {lost: broken}} {
		r, err := NewRewrite(t.Context(), c, h, out.open, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if r.Ended() {
			t.Error("it has an end before there is one")
		}
		io.WriteString(r, strings.Repeat("x\r\n", 10))
		if err := r.Close(); !errors.Is(err, broken) || r.Ended() {
			t.Error(err)
		}
		if _, err := r.Write([]byte("x")); err == nil {
			t.Error("something was written behind the end")
		}
	}
}

// FuzzRewrite: whatever comes in whatever pieces, the header stays what it is and all lines end as they should.
func FuzzRewrite(f *testing.F) {
	f.Add("Subject: x\r\n\r\nold", "a\nb\r", "\nc")
	f.Add("no header", "x\r\n", "")
	f.Add(" dangling\r\n", "\r", "\r\n")
	f.Add("A: b\r\nbroken\r\n", "", "\n\n")
	f.Fuzz(func(t *testing.T, old, one, two string) {
		h0, err := ReadHeader(inMemory(old), DefaultHeaderLimits)
		if err != nil {
			t.Skip()
		}
		whole, _, errWhole := rewritten(t, old, 1<<20, one+two)
		out, h, err := rewritten(t, old, 1<<20, one, two)
		if (err == nil) != (errWhole == nil) {
			t.Fatalf("in pieces %v, at once %v", err, errWhole)
		}
		if err != nil {
			if !strings.Contains(one+two, "\x00") {
				t.Fatal(err)
			}
			return
		}
		if out.String() != whole.String() {
			t.Errorf("in pieces %q, at once %q", out.String(), whole.String())
		}
		body := out.String()[h.end:]
		if rest := strings.ReplaceAll(body, "\r\n", ""); strings.ContainsAny(rest, "\r\n") || !strings.HasPrefix(body, "\r\n") || !strings.HasSuffix(body, "\r\n") {
			t.Errorf("body %q", body)
		}
		if h.Len() != h0.Len() || int64(len(old)) < h0.end || !strings.HasPrefix(out.String(), old[:h0.end]) {
			t.Errorf("the header became %q", out.String()[:h.end])
		}
	})
}
