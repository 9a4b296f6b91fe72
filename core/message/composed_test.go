package message

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
)

func TestCompose(t *testing.T) {
	plain, german, russian, long := "hello\nworld\n", "Grüße\r\naus Köln\r\n", strings.Repeat("Привет, мир. ", 30), strings.Repeat("word ", 100)
	tricky, html := "--=_\nFrom x\n.\n", "<p>hello</p>"
	canonical := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
	}
	decode := func(encoding, body string) string {
		var r io.Reader = strings.NewReader(body)
		switch encoding {
		case "quoted-printable":
			r = quotedprintable.NewReader(r)
		case "base64":
			r = base64.NewDecoder(base64.StdEncoding, r)
		}
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	for _, c := range []struct {
		text, html *string
		encoding   string
	}{
		{&plain, nil, "7bit"}, {&german, nil, "quoted-printable"}, {&russian, nil, "base64"}, {&long, nil, "quoted-printable"}, {nil, &html, "7bit"}, {&tricky, nil, "7bit"},
	} {
		got, err := Compose(c.text, c.html)
		if err != nil {
			t.Fatal(err)
		}
		want, typ := c.text, "text/plain; charset=utf-8"
		if want == nil {
			want, typ = c.html, "text/html; charset=utf-8"
		}
		if got.fields[0] != [2]string{"MIME-Version", "1.0"} || got.fields[1] != [2]string{"Content-Type", typ} || got.fields[2] != [2]string{"Content-Transfer-Encoding", c.encoding} {
			t.Errorf("%.20q: %v", *want, got.fields)
		}
		if body := decode(c.encoding, string(got.body)); body != canonical(*want) {
			t.Errorf("%q came back as %q", *want, body)
		}
		for line := range strings.SplitSeq(string(got.body), "\r\n") {
			if len(line) > 78 || !isASCII(line) {
				t.Errorf("%.20q: the line %q", *want, line)
			}
		}
	}
	both, err := Compose(&german, &html)
	if err != nil {
		t.Fatal(err)
	}
	_, boundary, _ := strings.Cut(both.fields[1][1], `multipart/alternative; boundary="`)
	boundary = strings.TrimSuffix(boundary, `"`)
	want := "--B\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\naus K=C3=B6ln\r\n\r\n" +
		"--B\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>hello</p>\r\n--B--\r\n"
	if got := strings.ReplaceAll(string(both.body), boundary, "B"); got != want || len(boundary) < 20 {
		t.Errorf("boundary %q, body\n%q\nwant\n%q", boundary, got, want)
	}
	evil := "--" + boundary + "\r\n"
	if again, _ := Compose(&evil, &evil); strings.Contains(again.fields[1][1], boundary+`"`) {
		t.Error("a boundary stands in the text")
	}
	bad, half := "\xff", strings.Repeat("x", 600_000)
	for _, c := range [][2]*string{{nil, nil}, {&bad, nil}, {nil, &bad}, {&half, &half}} {
		if _, err := Compose(c[0], c[1]); err == nil {
			t.Errorf("%.20v was taken", c)
		}
	}
}

func TestSetComposed(t *testing.T) {
	h, err := ParseHeader([]byte("Content-Type: image/png\r\nSubject: old\r\nTo: u@example.org\r\ncontent-disposition: attachment\r\nMIME-version: 1.0\r\nContent-X: y\r\n\r\n"), DefaultHeaderLimits)
	if err != nil {
		t.Fatal(err)
	}
	h.Add("Content-Language", "de")
	text, subject := "hi", "Grüße"
	c, _ := Compose(&text, nil)
	if err := h.setComposed(c, &subject); err != nil {
		t.Fatal(err)
	}
	prefix, _ := h.Result(nil)
	want := "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\nTo: u@example.org\r\n"
	if string(prefix) != want || h.bytes != len(want) {
		t.Errorf("header\n%q of %d bytes, want\n%q", prefix, h.bytes, want)
	}
}
