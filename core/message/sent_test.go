package message

import (
	"bytes"
	"io"
	"testing"
)

type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory) Size() int64                             { return int64(len(m)) }
func (m memory) Bytes() []byte                           { return m }

func TestSent(t *testing.T) {
	content := memory("Old: 1\r\n\r\nbody\r\n")
	for _, e := range []Envelope{
		{},
		{Prefix: []byte("Received: x\r\n")},
		{Prefix: []byte("Received: x\r\nNew: 2\r\n"), Skip: 8},
		{Skip: 8},
	} {
		want := string(e.Prefix) + string(content[e.Skip:])
		s := e.Sent(content)
		if s.Size() != int64(len(want)) {
			t.Errorf("prefix %q skip %d: size %d, want %d", e.Prefix, e.Skip, s.Size(), len(want))
		}
		for off := range len(want) + 1 {
			for n := range len(want) + 2 - off {
				p := make([]byte, n)
				got, err := s.ReadAt(p, int64(off))
				if off+n <= len(want) && (got != n || (err != nil && err != io.EOF)) || off+n > len(want) && err != io.EOF || string(p[:got]) != want[off:min(off+n, len(want))] {
					t.Fatalf("ReadAt(%d bytes, %d) of %q = %d, %v, %q", n, off, want, got, err, p[:got])
				}
			}
		}
	}
}

func TestCheckField(t *testing.T) {
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"Subject", "hello", true},
		{"Sub ject", "hello", false},
		{"Subject", "a\r\nBcc: b", false},
		{"Subject", "a\x00b", false},
		{"", "x", false},
	} {
		if err := CheckField(c.name, c.value); (err == nil) != c.ok {
			t.Errorf("CheckField(%q, %q) = %v", c.name, c.value, err)
		}
	}
}
