package smtp

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// newTestReader returns a Reader with a buffer of its own.
func newTestReader(src io.Reader, buffer int) *Reader {
	r := NewReader(src)
	r.Attach(make([]byte, buffer), 0)
	return r
}

// everySplit calls f with wire in one segment, octet by octet, and cut in two at each offset.
func everySplit(wire []byte, f func(name string, src io.Reader)) {
	f("whole", bytes.NewReader(wire))
	f("octets", iotest.OneByteReader(bytes.NewReader(wire)))
	for i := 1; i < len(wire); i++ {
		f("cut", io.MultiReader(bytes.NewReader(wire[:i]), bytes.NewReader(wire[i:])))
	}
}

// randomSplit cuts wire into segments of 1 to max octets.
func randomSplit(wire []byte, seed uint64, max int) io.Reader {
	rnd := rand.New(rand.NewPCG(seed, 0))
	var parts []io.Reader
	for len(wire) > 0 {
		n := min(1+rnd.IntN(max), len(wire))
		parts = append(parts, bytes.NewReader(wire[:n]))
		wire = wire[n:]
	}
	return io.MultiReader(parts...)
}

func TestAttachAndDetach(t *testing.T) {
	r := NewReader(bytes.NewReader([]byte("OP\r\nQUIT\r\n")))
	buf := make([]byte, 64)
	r.Attach(buf, copy(buf, "NO"))
	if r.Detach() != nil {
		t.Fatal("Detach gave the buffer away with input in it")
	}
	for _, want := range []string{"NOOP", "QUIT"} {
		line, err := r.ReadLine()
		if err != nil || string(line) != want {
			t.Fatalf("got %q, %v, want %q", line, err, want)
		}
	}
	if got := r.Detach(); len(got) != 64 || r.Buffered() != 0 {
		t.Fatalf("Detach of a drained Reader returned %d octets, %d buffered", len(got), r.Buffered())
	}
}

// What a bare LF tainted must not be forgotten while no buffer is attached.
func TestTaintOutlivesBuffer(t *testing.T) {
	r := NewReader(io.MultiReader(bytes.NewReader([]byte("NOOP\n")), bytes.NewReader([]byte("QUIT\r\nRSET\r\n"))))
	for _, want := range []string{"500 5.5.2 line ends with a bare LF, want CRLF", "500 5.5.2 line follows one that ended with a bare LF"} {
		r.Attach(make([]byte, 64), 0)
		if _, err := r.ReadLine(); err == nil || err.Error() != want {
			t.Fatalf("got %v, want %s", err, want)
		}
		if r.Buffered() == 0 && r.Detach() == nil {
			t.Fatal("no buffer came back")
		}
	}
	if line, err := r.ReadLine(); err != nil || string(line) != "RSET" {
		t.Fatalf("got %q, %v", line, err)
	}
}

type timeout struct{}

func (timeout) Error() string { return "deadline passed" }

// A deadline that passes within a line or within content loses nothing.
func TestErrorOfTheConnectionIsNotFinal(t *testing.T) {
	src := &resuming{parts: []string{"NO", "OP\r\n"}}
	r := newTestReader(src, 64)
	if _, err := r.ReadLine(); err != (timeout{}) {
		t.Fatalf("got %v, want the error of the connection", err)
	}
	if line, err := r.ReadLine(); err != nil || string(line) != "NOOP" {
		t.Fatalf("got %q, %v", line, err)
	}

	d := newTestReader(&resuming{parts: []string{"a\r\n.", "\r\n"}}, 64).Data(100, 100)
	var got bytes.Buffer
	if _, err := d.WriteTo(&got); err != (timeout{}) {
		t.Fatalf("got %v, want the error of the connection", err)
	}
	if _, err := d.WriteTo(&got); err != nil || got.String() != "a\r\n" {
		t.Fatalf("got %q, %v", got.String(), err)
	}
}

// resuming fails with timeout between its parts.
type resuming struct {
	parts  []string
	failed bool
}

func (s *resuming) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	if s.failed = !s.failed; !s.failed {
		return 0, timeout{}
	}
	n := copy(p, s.parts[0])
	s.parts = s.parts[1:]
	return n, nil
}
