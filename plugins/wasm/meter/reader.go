package meter

import (
	"fmt"
	"unicode/utf8"
)

// reader goes over the binary format. The first thing that is wrong is kept, with its place; from then on it reads nothing.
type reader struct {
	data []byte
	at   int
	base int    // place of data in the module
	what string // what is read, for messages
	err  error
}

func (r *reader) fail(format string, args ...any) {
	r.failAt(r.at, format, args...)
}

func (r *reader) failAt(at int, format string, args ...any) {
	if r.err == nil {
		where := fmt.Sprintf("byte %d", r.base+at)
		if r.what != "" {
			where += ", " + r.what
		}
		r.err = fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
	}
	r.at = len(r.data)
}

func (r *reader) left() int { return len(r.data) - r.at }

func (r *reader) byte() byte {
	if r.at >= len(r.data) {
		r.fail("the module ends in the middle")
		return 0
	}
	r.at++
	return r.data[r.at-1]
}

// take returns the next n bytes, which are not to be changed.
func (r *reader) take(n int) []byte {
	if n < 0 || n > r.left() {
		r.fail("the module ends in the middle: %d bytes are missing", n-r.left())
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.fail("a number is longer than 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// signed passes over a signed LEB128 of at most so many bits, 32, 33 or 64, and returns it.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		left := bits - shift // bits of the number that b may hold
		if left < 7 {
			top := int8(b<<1) >> left // these bits repeat the sign
			if b >= 0x80 || top != 0 && top != -1 {
				r.fail("a number is longer than %d bits", bits)
				return 0
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if shift += 7; shift < 64 && b&0x40 != 0 {
				v |= -1 << shift
			}
			return v
		}
	}
}

// count reads the length of a vector whose elements take at least one byte each.
func (r *reader) count(what string, most int) int {
	at := r.at
	n := r.u32()
	switch {
	case r.err != nil:
		return 0
	case int64(n) > int64(most):
		r.failAt(at, "%d %s are too many; the most is %d", n, what, most)
		return 0
	case int64(n) > int64(r.left()):
		r.failAt(at, "the module ends before its %d %s do", n, what)
		return 0
	}
	return int(n)
}

// index reads an index below n.
func (r *reader) index(what string, n int) uint32 {
	at := r.at
	i := r.u32()
	if r.err == nil && int64(i) >= int64(n) {
		r.failAt(at, "there is no %s %d; there are %d", what, i, n)
		return 0
	}
	return i
}

func (r *reader) name() string {
	b := r.take(r.count("bytes of a name", r.left()))
	if !utf8.Valid(b) {
		r.fail("a name is not UTF-8")
		return ""
	}
	return string(b)
}

func (r *reader) valueType() ValueType {
	switch t := ValueType(r.byte()); t {
	case I32, I64, F32, F64, V128, FuncRef, ExternRef:
		return t
	default:
		r.failAt(r.at-1, "%s is not known", t)
		return I32
	}
}

func (r *reader) refType() ValueType {
	t := r.valueType()
	if r.err == nil && t != FuncRef && t != ExternRef {
		r.failAt(r.at-1, "%s stands where a reference type is wanted", t)
	}
	return t
}

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v) & 0x7f
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}

// padded is how many bytes a number takes that is set later.
const padded = 5

// setPadded writes v, at least 0 and less than 2^34, in the padded bytes at b.
func setPadded(b []byte, v int64) {
	for i := range padded - 1 {
		b[i] = byte(v)&0x7f | 0x80
		v >>= 7
	}
	b[padded-1] = byte(v) & 0x7f
}
