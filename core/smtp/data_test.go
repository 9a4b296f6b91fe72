package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// endings are the octets that stand between a text and a second transaction, and what must come of them.
var endings = []struct {
	name, x string
	kind    FaultKind // 0 when x ends the message
	content string    // what x leaves of itself when it holds no fault
}{
	{"E1 LF.LF", "\n.\n", BareLF, ""},
	{"E2 LF.CRLF", "\n.\r\n", BareLF, ""},
	{"E3 CR.CR", "\r.\r", BareCR, ""},
	{"E4 CR.CRLF", "\r.\r\n", BareCR, ""},
	{"E5 CRLF.LF", "\r\n.\n", BareLF, ""},
	{"E6 CRLF.CR", "\r\n.\r", BareCR, ""},
	{"E7 LF.CR", "\n.\r", BareLF, ""},
	{"E8 CR.LF", "\r.\n", BareCR, ""},
	{"E9 CRLF NUL.CRLF", "\r\n\x00.\r\n", NUL, ""},
	{"E10 CRLF.NUL CRLF", "\r\n.\x00\r\n", NUL, ""},
	{"E11 CR NUL LF.CRLF", "\r\x00\n.\r\n", BareCR, ""},
	{"E12 CRLF.CR NUL LF", "\r\n.\r\x00\n", BareCR, ""},
	{"E15 CRLF.CR CRLF", "\r\n.\r\r\n", BareCR, ""},
	{"E16 CR CRLF.CR CRLF", "\r\r\n.\r\r\n", BareCR, ""},
	{"E22 dots", "\r\n..\r\n", 0, "\r\n.\r\n"},
	{"E22 dot and text", "\r\n.x\r\n", 0, "\r\nx\r\n"},
	{"E22 dot, CR and text", "\r\n.\rx\r\n", BareCR, ""},
	{"dot in a line", "x.\r\n", 0, "x.\r\n"},
	{"the end itself", "\r\n.\r\n", 0, "\r\n"},
}

const smuggled = "MAIL FROM:<evil@v.test>\r\nRCPT TO:<u@b.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"

// result is what reading content came to, whatever the segments were.
type result struct {
	content string
	kind    FaultKind
	offset  int64
	fatal   bool
	err     string
	rest    string
}

func readData(src io.Reader, buffer int, max, maxDiscard int64) result {
	r := newTestReader(src, buffer)
	d := r.Data(max, maxDiscard)
	var content bytes.Buffer
	_, err := d.WriteTo(&content)
	return newResult(r, content.String(), err)
}

func newResult(r *Reader, content string, err error) result {
	res := result{content: content}
	var fault *Fault
	if errors.As(err, &fault) {
		res.kind, res.offset, res.fatal = fault.Kind, fault.Offset, fault.Fatal
	} else if err != nil {
		res.err = err.Error()
	}
	if err == nil || fault != nil && !fault.Fatal {
		rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(r.buf[r.r:r.w]), r.src))
		res.rest = string(rest)
	}
	return res
}

// modelData says what must come of wire, from all of it at once.
func modelData(wire string, max, maxDiscard int64) result {
	body, rest, ended := strings.Cut("\r\n"+wire, "\r\n.\r\n")
	if ended {
		body += "\r\n"
	}
	if !ended {
		// What could still become the end is not content yet.
		for _, held := range []string{"\r\n.\r", "\r\n.", "\r"} {
			if strings.HasSuffix(body, held) {
				body = body[:len(body)-len(strings.TrimPrefix(held, "\r\n"))]
				break
			}
		}
	}
	content := strings.ReplaceAll(body, "\r\n.", "\r\n")[2:]
	res := result{content: content}
	for i := range len(content) {
		switch c := content[i]; {
		case c == 0:
			res.kind = NUL
		case c == '\n' && (i == 0 || content[i-1] != '\r'):
			res.kind = BareLF
		case c == '\r' && (i+1 == len(content) || content[i+1] != '\n'):
			res.kind = BareCR
		}
		if res.kind != 0 {
			res.offset, res.content = int64(i), content[:i]
			break
		}
	}
	if int64(len(res.content)) > max {
		res.kind, res.offset, res.content = TooBig, max, content[:max]
	}
	switch {
	case res.kind != 0 && int64(len(content))-res.offset > maxDiscard:
		res.fatal = true
	case !ended:
		res.kind, res.offset, res.err = 0, 0, io.ErrUnexpectedEOF.Error()
	default:
		res.rest = rest
	}
	return res
}

const unlimited = 1 << 40

func TestEndOfData(t *testing.T) {
	for _, c := range endings {
		t.Run(c.name, func(t *testing.T) {
			text := "Subject: x\r\n\r\ntext"
			wire := text + c.x + smuggled
			want := result{kind: c.kind, rest: "", content: text}
			switch {
			case c.name == "the end itself":
				want.content, want.rest = text+"\r\n", smuggled
			case c.kind == 0:
				want.content = text + c.content + strings.TrimSuffix(smuggled, ".\r\n")
			default:
				clean := c.x[:strings.IndexAny(strings.ReplaceAll(c.x, "\r\n", "##"), "\r\n\x00")]
				want.content += strings.ReplaceAll(clean, "\r\n.", "\r\n")
				want.offset = int64(len(want.content))
			}
			if model := modelData(wire, unlimited, unlimited); model != want {
				t.Errorf("the model says %+v, the table %+v", model, want)
			}
			everySplit([]byte(wire), func(split string, src io.Reader) {
				if got := readData(src, 512, unlimited, unlimited); got != want {
					t.Errorf("%s: got %+v, want %+v", split, got, want)
				}
			})
			for buffer := minBuffer; buffer < 100; buffer++ {
				if got := readData(strings.NewReader(wire), buffer, unlimited, unlimited); got != want {
					t.Errorf("buffer of %d: got %+v, want %+v", buffer, got, want)
				}
			}
		})
	}
}

// E20: the octets of an ending on either side of the edge of a buffer.
func TestEndOfDataAtBufferEdge(t *testing.T) {
	for _, buffer := range []int{4096, 65536} {
		for _, c := range endings {
			for at := buffer - len(c.x) - 1; at <= buffer+1; at++ {
				wire := strings.Repeat("x", at) + c.x + smuggled
				want := modelData(wire, unlimited, unlimited)
				if got := readData(strings.NewReader(wire), buffer, unlimited, unlimited); got != want {
					t.Fatalf("%s at %d: kind %v, rest %q, want %v, %q", c.name, at, got.kind, got.rest, want.kind, want.rest)
				}
			}
		}
	}
}

func TestData(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       result
	}{
		{"E18 empty message", ".\r\nQUIT\r\n", result{rest: "QUIT\r\n"}},
		{"empty line", "\r\n.\r\n", result{content: "\r\n"}},
		{"dot line first", "..\r\n.\r\n", result{content: ".\r\n"}},
		{"three dots", "...\r\n.\r\n", result{content: "..\r\n"}},
		{"E21 LF mode", "Subject: x\n\n.\nQUIT\r\n.\r\n", result{kind: BareLF, offset: 10, content: "Subject: x"}},
		{"CR CRLF.CRLF ends", "a\r\r\n.\r\nQUIT\r\n", result{kind: BareCR, offset: 1, content: "a", rest: "QUIT\r\n"}},
		{"8 bit", "\xff\x80\r\n.\r\n", result{content: "\xff\x80\r\n"}},
		{"cut", "a\r\n", result{content: "a\r\n", err: "unexpected EOF"}},
		{"cut in the end", "a\r\n.\r", result{content: "a\r\n", err: "unexpected EOF"}},
		{"limit reached", "12345678\r\n.\r\n", result{content: "12345678\r\n"}},
		{"limit passed", "123456789\r\n.\r\nQUIT\r\n", result{kind: TooBig, offset: 10, content: "123456789\r", rest: "QUIT\r\n"}},
		{"stuffing does not count", "..2345678\r\n.\r\n", result{content: ".2345678\r\n"}},
		{"stray at the limit", "123456789a\n.\r\nQ\r\n.\r\n", result{kind: BareLF, offset: 10, content: "123456789a"}},
		{"stray beyond the limit", "123456789ab\n\r\n.\r\n", result{kind: TooBig, offset: 10, content: "123456789a"}},
		{"most that is discarded", "123456789\r\n" + strings.Repeat("x", 27) + "\r\n.\r\n", result{kind: TooBig, offset: 10, content: "123456789\r"}},
		{"more is fatal", "123456789\r\n" + strings.Repeat("x", 28) + "\r\n.\r\n", result{kind: TooBig, offset: 10, content: "123456789\r", fatal: true}},
		{"stray, then too much", "a\n" + strings.Repeat("x", 99), result{kind: BareLF, offset: 1, content: "a", fatal: true}},
	} {
		if model := modelData(c.wire, 10, 30); model != c.want {
			t.Errorf("%s: the model says %+v, the table %+v", c.name, model, c.want)
		}
		everySplit([]byte(c.wire), func(split string, src io.Reader) {
			if got := readData(src, 16, 10, 30); got != c.want {
				t.Errorf("%s, %s: got %+v, want %+v", c.name, split, got, c.want)
			}
		})
	}
}

func TestDataReplies(t *testing.T) {
	for wire, want := range map[string]string{
		"a\n.\r\n\r\n.\r\n":     "550 5.5.2 message holds a bare LF at octet 1, lines must end with CRLF",
		"\r.\r\n.\r\n":          "550 5.5.2 message holds a bare CR at octet 0, lines must end with CRLF",
		"123456789012\r\n.\r\n": "552 5.3.4 message exceeds the size limit",
	} {
		_, err := io.Copy(io.Discard, newTestReader(strings.NewReader(wire), 64).Data(10, 30))
		var reply Reply
		if !errors.As(err, &reply) || reply.Error() != want || reply.Check() != nil {
			t.Errorf("%q: got %v, want %s", wire, err, want)
		}
	}
}

// When the end of the content was not found, what follows is not taken for commands.
func TestFatalFaultOfDataEndsTheReader(t *testing.T) {
	r := newTestReader(strings.NewReader(strings.Repeat("x", 100)+"\r\nQUIT\r\n"), 16)
	_, want := r.Data(10, 30).WriteTo(io.Discard)
	var fault *Fault
	if !errors.As(want, &fault) || !fault.Fatal {
		t.Fatalf("got %v, want a fatal fault", want)
	}
	for range 10 {
		if line, err := r.ReadLine(); err != want {
			t.Fatalf("got %q, %v, want %v", line, err, want)
		}
	}
}

// A long line, and content much larger than the buffer, by Read.
func TestDataRead(t *testing.T) {
	content := strings.Repeat("x", 100_000) + "\r\n.\r\n" + strings.Repeat("..\r\ny\r\n", 1000)
	var wire bytes.Buffer
	send(t, &wire, []byte(content), 1000)
	r := newTestReader(&wire, 512)
	got, err := io.ReadAll(r.Data(unlimited, 0))
	if err != nil || string(got) != content {
		t.Fatalf("%d octets, %v, want %d", len(got), err, len(content))
	}
}

// The store fails, the connection does not: the rest can be read and the session goes on.
func TestDataAfterWriteError(t *testing.T) {
	r := newTestReader(strings.NewReader("a\r\nb\r\n..c\r\n.\r\nQUIT\r\n"), 8)
	d := r.Data(unlimited, unlimited)
	full := errors.New("store: full")
	if _, err := d.WriteTo(failing{full}); err != full {
		t.Fatalf("got %v, want the error of the writer", err)
	}
	if _, err := d.WriteTo(io.Discard); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadLine(); err != nil || string(line) != "QUIT" {
		t.Fatalf("got %q, %v", line, err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func FuzzDataReader(f *testing.F) {
	for _, c := range endings {
		f.Add([]byte("a\r\n.."+c.x+"b\r\n.\r\nQUIT\r\n"), uint64(1), uint8(3))
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64, segment uint8) {
		for _, max := range []int64{unlimited, 10} {
			want := modelData(string(wire), max, 40)
			for _, src := range []io.Reader{bytes.NewReader(wire), randomSplit(wire, seed, 1+int(segment))} {
				if got := readData(src, minBuffer+int(seed%60), max, 40); got != want {
					t.Fatalf("%q: got %+v, want %+v", wire, got, want)
				}
			}
		}
	})
}

// send writes content in chunks and returns how many strays were replaced.
func send(t *testing.T, w io.Writer, content []byte, chunk int) int64 {
	d := NewDataWriter(w)
	for len(content) > 0 {
		n := min(chunk, len(content))
		if m, err := d.Write(content[:n]); m != n || err != nil {
			t.Fatalf("Write returned %d, %v", m, err)
		}
		content = content[n:]
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return d.Strays()
}

// modelSent says what the receiver must get for content.
func modelSent(content []byte) []byte {
	want := bytes.Clone(content)
	for i, c := range content {
		if c == 0 || c == '\n' && (i == 0 || content[i-1] != '\r') ||
			c == '\r' && (i+1 == len(content) || content[i+1] != '\n') {
			want[i] = ' '
		}
	}
	if len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
		want = append(want, "\r\n"...)
	}
	return want
}

func checkSent(t *testing.T, content []byte, chunk int) {
	var wire bytes.Buffer
	strays := send(t, &wire, content, chunk)
	if n := bytes.Count(wire.Bytes(), []byte("\r\n")); n != bytes.Count(wire.Bytes(), []byte("\r")) ||
		n != bytes.Count(wire.Bytes(), []byte("\n")) || bytes.IndexByte(wire.Bytes(), 0) >= 0 {
		t.Fatalf("%q in chunks of %d: stray octets on the wire: %q", content, chunk, wire.Bytes())
	}
	framed := append([]byte("\r\n"), wire.Bytes()...)
	if i := bytes.Index(framed, []byte("\r\n.\r\n")); i != len(framed)-5 {
		t.Fatalf("%q in chunks of %d: the wire does not end at its first end: %q", content, chunk, wire.Bytes())
	}
	want := modelSent(content)
	if got := readData(&wire, 64, unlimited, 0); got != (result{content: string(want)}) {
		t.Fatalf("%q in chunks of %d: got %+v, want %q", content, chunk, got, want)
	}
	changed := int64(0)
	for i := range content {
		if content[i] != want[i] {
			changed++
		}
	}
	if strays != changed {
		t.Fatalf("%q: %d strays counted, want %d", content, strays, changed)
	}
}

func TestDataWriter(t *testing.T) {
	cases := []string{"", "\r", "\n", ".", "..", ".\r\n", "a", "a\r\n", "a\r\n.", "a\r\n.\r\n", "\r\n.\r\n.\r\n..", "\r\r\n", "\n\r\n.", "a\r\n\r"}
	for _, c := range endings {
		cases = append(cases, "Subject: x\r\n\r\ntext"+c.x+smuggled, c.x)
	}
	for _, content := range cases {
		for chunk := 1; chunk <= len(content)+1; chunk++ {
			checkSent(t, []byte(content), chunk)
		}
	}
}

func TestDataWriterWire(t *testing.T) {
	for content, want := range map[string]string{
		"":                       ".\r\n",
		"a":                      "a\r\n.\r\n",
		".a\r\n..\r\n":           "..a\r\n...\r\n.\r\n",
		"a\n.\nb":                "a . b\r\n.\r\n",
		"X: a\r\nY: b\nBcc: c\r": "X: a\r\nY: b Bcc: c \r\n.\r\n",
	} {
		var wire bytes.Buffer
		send(t, &wire, []byte(content), 100)
		if wire.String() != want {
			t.Errorf("%q: got %q, want %q", content, wire.String(), want)
		}
	}
}

func TestDataWriterError(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, content := range []string{"a", ".", "\r\n", "\r\r"} {
		d := NewDataWriter(failing{broken})
		_, err := d.Write([]byte(content))
		if err == nil {
			_, err = d.Write([]byte("\n"))
		}
		if err != broken || d.Close() != broken {
			t.Errorf("%q: got %v, want the error of the connection", content, err)
		}
	}
}

func FuzzDataWriter(f *testing.F) {
	for _, c := range endings {
		f.Add([]byte("a"+c.x+"b"), uint8(2))
	}
	f.Fuzz(func(t *testing.T, content []byte, chunk uint8) { checkSent(t, content, 1+int(chunk)) })
}

// mailOf returns a message of about n octets with lines of 76.
func mailOf(n int) []byte {
	var b bytes.Buffer
	b.WriteString("From: a@example.org\r\nTo: b@example.net\r\nSubject: a test\r\n\r\n")
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%06d %s\r\n", i, strings.Repeat("abcdefghi ", 7)[:69])
	}
	return b.Bytes()
}

func BenchmarkDataReader(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			wire := append(mailOf(size), ".\r\n"...)
			src := bytes.NewReader(wire)
			r := newTestReader(src, 16<<10)
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(wire)
				if _, err := r.Data(unlimited, 0).WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDataScan(b *testing.B) {
	mail := mailOf(4 << 10)
	b.SetBytes(int64(len(mail)))
	for b.Loop() {
		if n, _, dirty := scan(mail); n != len(mail) || dirty {
			b.Fatal(n, dirty)
		}
	}
}

func BenchmarkDataWriter(b *testing.B) {
	mail := mailOf(4 << 10)
	b.SetBytes(int64(len(mail)))
	b.ReportAllocs()
	for b.Loop() {
		d := NewDataWriter(io.Discard)
		if _, err := d.Write(mail); err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
