package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// readAllLines returns each line and fault up to the end: "=text", or the kind of the fault and "!" when it is fatal.
func readAllLines(r *Reader) []string {
	var got []string
	for {
		line, err := r.ReadLine()
		var fault *Fault
		switch {
		case err == nil:
			got = append(got, "="+string(line))
		case !errors.As(err, &fault):
			return append(got, err.Error())
		case fault.Fatal:
			return append(got, fault.Kind.String()+"!")
		default:
			got = append(got, fault.Kind.String())
		}
	}
}

// modelLines says what ReadLine must return, from the whole input.
func modelLines(wire string, maxLine, maxDiscard int) []string {
	var want []string
	tainted := false
	for {
		line, rest, ok := strings.Cut(wire, "\n")
		size := len(line) + 1
		switch {
		case size > maxDiscard:
			return append(want, "line too long!")
		case !ok && line == "":
			return append(want, io.EOF.Error())
		case !ok:
			return append(want, io.ErrUnexpectedEOF.Error())
		case !strings.HasSuffix(line, "\r"):
			want = append(want, "bare LF")
			tainted = true
		case tainted:
			want = append(want, "bare LF")
			tainted = false
		case size > maxLine:
			want = append(want, "line too long")
		case strings.Contains(line[:len(line)-1], "\r"):
			want = append(want, "bare CR")
		case strings.Contains(line, "\x00"):
			want = append(want, "NUL")
		default:
			want = append(want, "="+line[:len(line)-1])
		}
		wire = rest
	}
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", 30)
	for _, c := range []struct {
		name, wire string
		want       []string
	}{
		{"two lines", "EHLO a\r\nNOOP\r\n", []string{"=EHLO a", "=NOOP", "EOF"}},
		{"empty line", "\r\n", []string{"=", "EOF"}},
		{"no end", "NOOP", []string{"unexpected EOF"}},
		{"CR at the end", "NOOP\r", []string{"unexpected EOF"}},
		{"LF only client", "EHLO x\nNOOP\nQUIT\n", []string{"bare LF", "bare LF", "bare LF", "EOF"}},
		{"bare LF taints to CRLF", "NOOP\nQUIT\r\nRSET\r\n", []string{"bare LF", "bare LF", "=RSET", "EOF"}},
		{"bare LF at the start", "\nQUIT\r\nRSET\r\n", []string{"bare LF", "bare LF", "=RSET", "EOF"}},
		{"bare CR splits nothing", "MAIL X\rRCPT Y\r\nNOOP\r\n", []string{"bare CR", "=NOOP", "EOF"}},
		{"CR CRLF", "NOOP\r\r\nNOOP\r\n", []string{"bare CR", "=NOOP", "EOF"}},
		{"CR and bare LF", "a\rb\nc\r\nNOOP\r\n", []string{"bare LF", "bare LF", "=NOOP", "EOF"}},
		{"NUL", "MAIL FROM:<a\x00@b>\r\nNOOP\r\n", []string{"NUL", "=NOOP", "EOF"}},
		{"longest", strings.Repeat("x", 18) + "\r\nNOOP\r\n", []string{"=" + strings.Repeat("x", 18), "=NOOP", "EOF"}},
		{"one more", strings.Repeat("x", 19) + "\r\nNOOP\r\n", []string{"line too long", "=NOOP", "EOF"}},
		{"much more", long + "\r\nNOOP\r\n", []string{"line too long", "=NOOP", "EOF"}},
		{"long with bare LF", long + "\nNOOP\r\nRSET\r\n", []string{"bare LF", "bare LF", "=RSET", "EOF"}},
		{"most that is dropped", strings.Repeat("x", 48) + "\r\nNOOP\r\n", []string{"line too long", "=NOOP", "EOF"}},
		{"flood", strings.Repeat("x", 49) + "\r\nNOOP\r\n", []string{"line too long!"}},
		{"flood without end", strings.Repeat("x", 1000), []string{"line too long!"}},
	} {
		if model := modelLines(c.wire, 20, 50); !slices.Equal(model, c.want) {
			t.Errorf("%s: the model says %q, the table %q", c.name, model, c.want)
		}
		everySplit([]byte(c.wire), func(split string, src io.Reader) {
			r := newTestReader(src, 21)
			r.MaxLine, r.MaxDiscard = 20, 50
			if got := readAllLines(r); !slices.Equal(got, c.want) {
				t.Errorf("%s, %s: got %q, want %q", c.name, split, got, c.want)
			}
		})
	}
}

// A fatal fault stays, and what is read before it is bounded.
func TestFloodIsFinal(t *testing.T) {
	src := &countingReader{src: endless('x')}
	r := newTestReader(src, 4096)
	for range 3 {
		_, err := r.ReadLine()
		if fault := (*Fault)(nil); !errors.As(err, &fault) || !fault.Fatal || fault.Reply.Code != 500 {
			t.Fatalf("got %v, want a fatal fault", err)
		}
	}
	if src.n > DefaultMaxDiscard+4096 {
		t.Fatalf("%d octets were read", src.n)
	}
}

// LF-only clients are answered without waiting for more input.
func TestBareLFIsReportedAtOnce(t *testing.T) {
	read, write := io.Pipe()
	defer read.Close()
	r := newTestReader(read, 64)
	for range 2 {
		go fmt.Fprint(write, "NOOP\n")
		_, err := r.ReadLine()
		var reply Reply
		if !errors.As(err, &reply) || reply.Code != 500 || reply.Enhanced != "5.5.2" {
			t.Fatalf("got %v, want 500 5.5.2", err)
		}
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

type countingReader struct {
	src io.Reader
	n   int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.n += n
	return n, err
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte("EHLO a\r\nMAIL FROM:<a@b>\nRCPT\r\n\x00\r\n"), uint64(1), uint8(9))
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64, max uint8) {
		want := modelLines(string(wire), 20, 50)
		for _, src := range []io.Reader{bytes.NewReader(wire), randomSplit(wire, seed, 1+int(max))} {
			r := newTestReader(src, 20+int(seed%30))
			r.MaxLine, r.MaxDiscard = 20, 50
			if got := readAllLines(r); !slices.Equal(got, want) {
				t.Fatalf("%q: got %q, want %q", wire, got, want)
			}
		}
	})
}
