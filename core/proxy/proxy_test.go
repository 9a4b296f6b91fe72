package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// v2 makes a header of version 2 with its true length.
func v2(command, family byte, body string) string {
	return signature + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

const (
	four = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19" // 192.0.2.1:12345 to 198.51.100.2:25
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x30\x39\x00\x19"
)

// summed appends a checksum to a header whose body is so.
func summed(family byte, body string) string {
	h := []byte(v2(0x21, family, body+"\x03\x00\x04\x00\x00\x00\x00"))
	binary.BigEndian.PutUint32(h[len(h)-4:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	return string(h)
}

func TestRead(t *testing.T) {
	four4, six6 := "192.0.2.1:12345 198.51.100.2:25", "[2001:db8::1]:12345 [2001:db8::2]:25"
	none := "invalid AddrPort invalid AddrPort"
	for _, c := range []struct{ name, in, want string }{
		{"v1, IPv4", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", four4},
		{"v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", six6},
		{"v1, the shortest", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "1.1.1.1:1 2.2.2.2:2"},
		{"v1, a mapped address", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 12345 25\r\n", four4},
		{"v1, unknown", "PROXY UNKNOWN\r\n", none},
		{"v1, unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", none},
		{"v2, IPv4", v2(0x21, 0x11, four), four4},
		{"v2, IPv6", v2(0x21, 0x21, six), six6},
		{"v2, with more", v2(0x21, 0x11, four+"\x02\x00\x03abc\x04\x00\x00"), four4},
		{"v2, with a checksum", summed(0x21, six+"\x02\x00\x01a"), six6},
		{"v2, local", v2(0x20, 0x00, ""), none},
		{"v2, local with addresses", v2(0x20, 0x11, four), none},
		{"v2, local with anything", v2(0x20, 0x11, "x"), none},
		{"v2, unknown family", v2(0x21, 0x00, "whatever"), none},
		{"v2, a Unix socket", v2(0x21, 0x31, strings.Repeat("\x00", 216)), none},
		{"v2, UDP", v2(0x21, 0x12, four), none},
		{"v2, the longest", v2(0x21, 0x11, four+"\x04\x0f\xf1"+strings.Repeat("x", 4096-12-3)), four4},

		{"no header", "EHLO client.example\r\n", "no PROXY header"},
		{"another case", "proxy TCP4 192.0.2.1 198.51.100.2 12345 25\r\n", "no PROXY header"},
		{"v1, cut off", "PROXY TCP4 192.0.2.1 198", "unexpected EOF"},
		{"v1, nothing", "", "EOF"},
		{"v1, no end", "PROXY UNKNOWN" + strings.Repeat(" x", 100), "not valid"},
		{"v1, as long as may be", "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", none},
		{"v1, longer", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", "not valid"},
		{"v1, LF alone", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\nEHLO x\r\n", "not valid"},
		{"v1, LF first", "PROXY TCP4\n192.0.2.1 198.51.100.2 12345 25\r\n", "not valid"},
		{"v1, CR inside", "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r25\r\n", "not valid"},
		{"v1, two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 12345 25\r\n", "not valid"},
		{"v1, too few", "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n", "not valid"},
		{"v1, too many", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25 26\r\n", "not valid"},
		{"v1, another family", "PROXY TCP6 192.0.2.1 198.51.100.2 12345 25\r\n", "not valid"},
		{"v1, leading zero", "PROXY TCP4 192.0.2.01 198.51.100.2 12345 25\r\n", "not valid"},
		{"v1, zone", "PROXY TCP6 fe80::1%eth0 fe80::2 12345 25\r\n", "not valid"},
		{"v1, port too large", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", "not valid"},
		{"v1, port with zero", "PROXY TCP4 192.0.2.1 198.51.100.2 012345 25\r\n", "not valid"},
		{"v1, port with sign", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 25\r\n", "not valid"},
		{"v1, UDP", "PROXY UDP4 192.0.2.1 198.51.100.2 12345 25\r\n", "not valid"},
		{"v2, cut off", v2(0x21, 0x11, four)[:20], "unexpected EOF"},
		{"v2, another version", v2(0x11, 0x11, four), "not valid"},
		{"v2, another command", v2(0x22, 0x11, four), "not valid"},
		{"v2, too short for its family", v2(0x21, 0x21, four), "not valid"},
		{"v2, too long", v2(0x21, 0x11, strings.Repeat("x", 4097)), "not valid"},
		{"v2, half a value", v2(0x21, 0x11, four+"\x02\x00\x09abc"), "not valid"},
		{"v2, half a length", v2(0x21, 0x11, four+"\x02\x00"), "not valid"},
		{"v2, a wrong checksum", v2(0x21, 0x11, four+"\x03\x00\x04\x00\x00\x00\x01"), "not valid"},
		{"v2, a short checksum", v2(0x21, 0x11, four+"\x03\x00\x01\x00"), "not valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				rest := strings.NewReader(c.in + "EHLO next\r\n")
				if strings.HasSuffix(c.want, "EOF") {
					rest = strings.NewReader(c.in)
				}
				var r io.Reader = rest
				if slow {
					r = iotest.OneByteReader(rest)
				}
				h, err := Read(r)
				got := h.From.String() + " " + h.To.String()
				if err != nil {
					got = err.Error()
				}
				if !strings.HasSuffix(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
				if left, _ := io.ReadAll(rest); err == nil && string(left) != "EHLO next\r\n" {
					t.Errorf("after the header there is %q", left)
				}
			}
		})
	}
}

// FuzzRead: a header is read to its end and no further, within its bounds; what is made of it is an address or nothing; and in
// version 1 it is written in one way only.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\nEHLO x\r\n", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n", "PROXY UNKNOWN\r\n",
		v2(0x21, 0x11, four) + "EHLO x\r\n", v2(0x21, 0x21, six+"\x02\x00\x03abc"), v2(0x20, 0, ""), summed(0x11, four), v2(0x21, 0x31, ""),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, err := Read(r)
		took := in[:len(in)-r.Len()]
		if len(took) > mostV2 || bytes.HasPrefix(took, []byte("PROXY ")) && len(took) > mostV1 {
			t.Fatalf("%d octets were read", len(took))
		}
		if errors.Is(err, ErrNone) && len(took) > len(signature) {
			t.Fatalf("%d octets were read to see no header", len(took))
		}
		if err != nil {
			if h != (Header{}) {
				t.Fatalf("%v with %v", h, err)
			}
			return
		}
		if h.From.IsValid() != h.To.IsValid() || h.From.Addr().Is4In6() || h.From.Addr().Zone() != "" {
			t.Fatalf("%v", h)
		}
		again, err := Read(bytes.NewReader(took)) // needs nothing of what followed
		if err != nil || again != h {
			t.Fatalf("%v, %v; then %v", h, err, again)
		}
		if took[0] != 'P' {
			if size := 16 + int(binary.BigEndian.Uint16(took[14:])); len(took) != size {
				t.Fatalf("%d octets of %d", len(took), size)
			}
		} else if i := bytes.IndexByte(took, '\n'); i != len(took)-1 {
			t.Fatalf("%q is more than a line", took)
		}
	})
}
