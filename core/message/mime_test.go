package message

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func partsOf(t testing.TB, content string) ([]*Part, bool) {
	t.Helper()
	c := inMemory(content)
	h, err := ReadHeader(c, DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	parts, cut, err := Parts(c, h)
	if err != nil {
		t.Fatal(err)
	}
	return parts, cut
}

// shown is what there is, as "type charset filename: content|...".
func shown(t testing.TB, parts []*Part) string {
	var out []string
	for _, p := range parts {
		b, err := io.ReadAll(io.NewSectionReader(p.Content(), 0, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if n := p.Content().Size(); n != int64(len(b)) {
			t.Errorf("%d bytes are read of %d", len(b), n)
		}
		out = append(out, strings.Join(strings.Fields(p.Type+" "+p.Charset+" "+p.Filename), " ")+": "+string(b))
	}
	return strings.Join(out, "|")
}

func TestParts(t *testing.T) {
	mixed := func(b, body string) string {
		return "Content-Type: multipart/mixed; boundary=" + b + "\r\n\r\n" + body
	}
	for _, c := range []struct{ name, content, want string }{
		{"no MIME", "Subject: x\r\n\r\nhello\r\n", "text/plain: hello\r\n"},
		{"nothing", "", "text/plain: "},
		{"no header", "\r\nhello", "text/plain: hello"},
		{"one", "Content-Type: Text/HTML; Charset=\"UTF-8\"\r\n\r\n<p>\r\n", "text/html utf-8: <p>\r\n"},
		{"two", mixed("B", "preamble\r\n--B\r\n\r\none\r\n--B\r\nContent-Type: image/png; name=\"a b.png\"\r\n\r\ntwo\r\n--B--\r\nepilogue\r\n"), "text/plain: one|image/png a b.png: two"},
		{"white space behind a boundary", mixed("B", "--B \t\r\n\r\none\r\n--B-- \r\nx"), "text/plain: one"},
		{"a boundary begins like another", mixed("B", "--BB\r\n--B\r\n\r\none\r\n--BB\r\n--B--x\r\n--B--"), "text/plain: one\r\n--BB\r\n--B--x"},
		{"no closing boundary", mixed("B", "--B\r\n\r\none\r\n"), "text/plain: one\r\n"},
		{"no boundary in the body", mixed("B", "just text\r\n"), ""},
		{"no boundary given", "Content-Type: multipart/mixed\r\n\r\n--B\r\n", "text/plain: --B\r\n"},
		{"an empty one", mixed("\"\"", "--\r\n\r\nx"), "text/plain: --\r\n\r\nx"},
		{"empty parts", mixed("B", "--B\r\n--B\r\n\r\n--B\r\n\r\n\r\n--B--"), "text/plain: |text/plain: |text/plain: "},
		{"nested", mixed("B", "--B\r\nContent-Type: multipart/alternative; boundary=C\r\n\r\n--C\r\n\r\none\r\n--C\r\nContent-Type: text/html\r\n\r\ntwo\r\n--C--\r\n--B\r\n\r\nthree\r\n--B--\r\n"),
			"text/plain: one|text/html: two|text/plain: three"},
		{"nested without an end", mixed("B", "--B\r\nContent-Type: multipart/alternative; boundary=C\r\n\r\n--C\r\n\r\none\r\n--B\r\n\r\nthree\r\n--B--\r\n"), "text/plain: one|text/plain: three"},
		{"the inner boundary is the outer", mixed("B", "--B\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\none\r\n--B--\r\n"), "text/plain: one"},
		{"digest", "Content-Type: multipart/digest; boundary=B\r\n\r\n--B\r\n\r\nSubject: x\r\n\r\nbody\r\n--B--", "message/rfc822: Subject: x\r\n\r\nbody"},
		{"a message within", mixed("B", "--B\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--\r\n--B--"),
			"message/rfc822: Content-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\nx\r\n--C--"},
		{"a header that is none", mixed("B", "--B\r\njust text\r\n--B--"), "text/plain: just text"},
		{"base64", "Content-Transfer-Encoding: BASE64\r\n\r\naGVs\r\nbG8=\r\nQUJD", "text/plain: hello"},
		{"base64 with what is none", "Content-Transfer-Encoding: base64\r\n\r\n!aG V-s\r\nbG8", "text/plain: hello"},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc  \r\n=C3=BC=4=zz=", "text/plain: a=bc\r\nü=4=zz"},
		{"an encoding that is none", "Content-Transfer-Encoding: uuencode\r\n\r\nx", "text/plain: x"},
		{"filename of RFC 2231", mixed("B", "--B\r\nContent-Type: a/b\r\nContent-Disposition: attachment; filename*0*=utf-8'de'Gr%C3%BC; filename*1=\"sse.\"; filename*2*=t%78t\r\n\r\n--B--"), "a/b Grüsse.txt: "},
		{"filename with a charset", mixed("B", "--B\r\nContent-Type: a/b\r\nContent-Disposition: attachment; filename=bad; filename*=iso-8859-1''%FC.txt\r\n\r\n--B--"), "a/b ü.txt: "},
		{"filename in encoded words", mixed("B", "--B\r\nContent-Type: a/b; name=\"=?utf-8?q?=C3=BC?=.txt\"\r\n\r\n--B--"), "a/b ü.txt: "},
		{"folded", "Content-Type: multipart/mixed;\r\n boundary=\"a \\\"b\"\r\n\r\n--a \"b\r\n\r\none\r\n--a \"b--", "text/plain: one"},
		{"bad type", "Content-Type: text\r\n\r\nx", "text/plain: x"},
	} {
		parts, cut := partsOf(t, c.content)
		if got := shown(t, parts); got != c.want || cut {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPartsAreBounded(t *testing.T) {
	many := "Content-Type: multipart/mixed; boundary=B\r\n\r\n" + strings.Repeat("--B\r\n\r\nx\r\n", 5000)
	if parts, cut := partsOf(t, many); len(parts) != 1000 || !cut || parts[999].Size() != 1 {
		t.Errorf("%d parts, cut %v", len(parts), cut)
	}
	deep := ""
	for i := range 50_000 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=B%d\r\n\r\n--B%d\r\n", i, i)
		if len(deep) > 200_000 {
			break
		}
	}
	if parts, cut := partsOf(t, deep); len(parts) != 1 || !cut || parts[0].Type != "multipart/mixed" {
		t.Errorf("%d parts, cut %v", len(parts), cut)
	}
	header := "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: image/png\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\nbody\r\n--B--"
	if parts, _ := partsOf(t, header); len(parts) != 1 || parts[0].Size() < 50_000 {
		t.Errorf("%d parts", len(parts))
	}
	params := "Content-Type: text/html" + strings.Repeat("; a=b", 40_000) + "\r\n\r\nx"
	if parts, _ := partsOf(t, params); parts[0].Type != "text/html" {
		t.Error(parts[0].Type)
	}
}

func TestPartText(t *testing.T) {
	for _, c := range []struct{ header, body, want string }{
		{"", "Grüße", "Grüße"},
		{"", "Gr\xfc\xdfe", "Grüße"},
		{"Content-Type: text/plain; charset=iso-8859-1\r\n", "Gr\xfc\xdfe \x80", "Grüße €"},
		{"Content-Type: text/plain; charset=utf-8\r\n", "Gr\xfce", "Gr\uFFFDe"},
		{"Content-Type: text/plain; charset=koi8-r\r\nContent-Transfer-Encoding: base64\r\n", "8NLJ18XU", "Привет"},
		{"Content-Type: text/plain; charset=shift_jis\r\n", "\x82\xb1", "こ"},
		{"Content-Type: text/plain; charset=x-unknown\r\n", "abc", "abc"},
		{"Content-Type: image/png\r\n", "abc", "!the part is no text: it is image/png"},
		{"", strings.Repeat("x", 1<<20+1), "!the part has more than 1048576 bytes of text"},
		{"", strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20)},
	} {
		parts, _ := partsOf(t, c.header+"\r\n"+c.body)
		for range 2 {
			got, err := parts[0].Text()
			if err != nil {
				got = "!" + err.Error()
			}
			if got != c.want && !(c.want[0] == '!' && strings.HasPrefix(got, c.want)) {
				t.Errorf("%.40q %.20q: %.60q", c.header, c.body, got)
			}
		}
	}
}

// Reading parts in any order gives the same, and going back costs what is decoded again.
func TestDecodedReads(t *testing.T) {
	want := strings.Repeat("0123456789", 3000)
	c, err := Compose(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	parts, _ := partsOf(t, c.fields[1][0]+": "+c.fields[1][1]+"\r\n"+c.fields[2][0]+": "+c.fields[2][1]+"\r\n\r\n"+string(c.body))
	d := parts[0].Content()
	if err := iotest.TestReader(io.NewSectionReader(d, 0, d.Size()), []byte(want)); err != nil {
		t.Error(err)
	}
	d.ReadAt(make([]byte, 10), 100)
	if s := d.(*decoded); s.Skips(110) != 0 || s.Skips(210) != 100 || s.Skips(50) != 50 {
		t.Error(s.Skips(110), s.Skips(210), s.Skips(50))
	}
}

// FuzzParts: whatever a message is, its parts lie in it, one behind the other, and are readable.
func FuzzParts(f *testing.F) {
	for _, s := range []string{"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\none\r\n--B\r\nContent-Type: multipart/alternative; boundary=BB\r\n\r\n--BB\r\n\r\nx\r\n--BB--\r\n--B--",
		"Content-Type: multipart/digest; boundary=\"a\"\n\n--a\nContent-Type: message/rfc822\n\nA: b\n\n--a--\n",
		"Content-Transfer-Encoding: base64\r\n\r\nYWJj=", "Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\n=3D = \r\n",
		"Content-Type: text/plain; charset*0*=utf-8''%; name*=x''%ff; name*1=\"\\\r\n\r\nx", "Content-Type: a/b; filename*0=a; filename*2=b;;=;\"\r\n\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		c := inMemory(content)
		h, err := ReadHeader(c, DefaultHeaderLimits)
		if err != nil {
			t.Skip()
		}
		parts, _, err := Parts(c, h)
		if err != nil || len(parts) > maxParts {
			t.Fatal(len(parts), err)
		}
		end := int64(0)
		for _, p := range parts {
			if p.start < end || p.end < p.start || p.end > c.Size() {
				t.Fatalf("a part from %d to %d behind %d of %d", p.start, p.end, end, c.Size())
			}
			end = p.end
			b, err := io.ReadAll(io.NewSectionReader(p.Content(), 0, 1<<30))
			if err != nil || int64(len(b)) != p.Content().Size() || int64(len(b)) > p.Size() {
				t.Fatalf("%d bytes of %d, %v", len(b), p.Size(), err)
			}
			p.Text()
		}
	})
}
