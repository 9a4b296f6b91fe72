// Package cbor encodes and decodes the values that cross between a plugin and the server: CBOR (RFC 8949) with definite lengths and
// without tags. Values are nil, bool, int64, float64, string, []byte, []any and map[string]any.
package cbor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Major types of RFC 8949 section 3.1.
const (
	unsigned = iota
	negative
	bytes
	text
	array
	object
	tag
	simple
)

// maxDepth bounds values that hold others.
const maxDepth = 32

// Head appends the beginning of an item.
func head(b []byte, major byte, n uint64) []byte {
	switch major <<= 5; {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

// AppendArray begins a list of n items.
func AppendArray(b []byte, n int) []byte { return head(b, array, uint64(n)) }

// AppendMap begins a map of n pairs.
func AppendMap(b []byte, n int) []byte { return head(b, object, uint64(n)) }

// AppendText appends a string.
func AppendText(b []byte, s string) []byte { return append(head(b, text, uint64(len(s))), s...) }

// AppendInt appends an integer.
func AppendInt(b []byte, n int64) []byte {
	if n < 0 {
		return head(b, negative, uint64(^n))
	}
	return head(b, unsigned, uint64(n))
}

// AppendFloat appends a number.
func AppendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, simple<<5|27), math.Float64bits(f))
}

// AppendBool appends a boolean.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, simple<<5|21)
	}
	return append(b, simple<<5|20)
}

// AppendTexts appends a list of strings.
func AppendTexts(b []byte, list []string) []byte {
	b = AppendArray(b, len(list))
	for _, s := range list {
		b = AppendText(b, s)
	}
	return b
}

// AppendTextMap appends a map of texts by name, in order of names.
func AppendTextMap(b []byte, m map[string]string) []byte {
	b = AppendMap(b, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b = AppendText(AppendText(b, name), m[name])
	}
	return b
}

// AppendNil appends nil.
func AppendNil(b []byte) []byte { return append(b, simple<<5|22) }

// Append appends any value; integers and floats may be of any size, lists and maps of any of the usual types.
func Append(b []byte, v any) ([]byte, error) { return appendValue(b, v, 0) }

func appendValue(b []byte, v any, depth int) (_ []byte, err error) {
	if depth > maxDepth {
		return nil, errors.New("the value is nested too deep, or holds itself")
	}
	switch v := v.(type) {
	case nil:
		return AppendNil(b), nil
	case bool:
		return AppendBool(b, v), nil
	case int:
		return AppendInt(b, int64(v)), nil
	case int32:
		return AppendInt(b, int64(v)), nil
	case int64:
		return AppendInt(b, v), nil
	case float64:
		return AppendFloat(b, v), nil
	case string:
		return AppendText(b, v), nil
	case []byte:
		return append(head(b, bytes, uint64(len(v))), v...), nil
	case []string:
		return AppendTexts(b, v), nil
	case []any:
		b = AppendArray(b, len(v))
		for _, e := range v {
			if b, err = appendValue(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case map[string]string:
		b = AppendMap(b, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = AppendText(AppendText(b, k), v[k])
		}
		return b, nil
	case map[string]any:
		b = AppendMap(b, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if b, err = appendValue(AppendText(b, k), v[k], depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	return nil, fmt.Errorf("a %T cannot be given to the server: a value is nil, a bool, an int, a float64, a string, []byte, or a list or map of these", v)
}

// A Reader decodes what the server wrote. After a fault it gives zero values, and Err tells why.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, whose bytes are copied where they are kept.
func NewReader(b []byte) Reader { return Reader{b: b} }

var errShort = errors.New("the value ends too early")

// Err is the first fault.
func (r *Reader) Err() error { return r.err }

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// head reads the beginning of an item; n is its number or length.
func (r *Reader) head() (major byte, n uint64) {
	if len(r.b) == 0 {
		r.fail(errShort)
		return simple, 22
	}
	major, info := r.b[0]>>5, r.b[0]&31
	r.b = r.b[1:]
	size := 0
	switch {
	case info < 24:
		return major, uint64(info)
	case info <= 27:
		size = 1 << (info - 24)
	default:
		r.fail(errors.New("a length is not definite"))
		return simple, 22
	}
	if len(r.b) < size {
		r.fail(errShort)
		return simple, 22
	}
	for _, c := range r.b[:size] {
		n = n<<8 | uint64(c)
	}
	r.b = r.b[size:]
	return major, n
}

// take gives the next n bytes, which are not copied.
func (r *Reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

// expect reads the head of an item of a major type; false for nil, and for what is something else, which is passed over.
func (r *Reader) expect(want byte) (n uint64, ok bool) {
	before := r.b
	major, n := r.head()
	if major == want {
		return n, true
	}
	if r.err == nil {
		r.b = before
		r.Value()
	}
	return 0, false
}

// Text reads a string, which may be bytes.
func (r *Reader) Text() string {
	before := r.b
	major, n := r.head()
	if major == text || major == bytes {
		return string(r.take(n))
	}
	if r.err == nil {
		r.b = before
		r.Value()
	}
	return ""
}

// Key is Text that is not copied, to be compared at once.
func (r *Reader) Key() []byte {
	n, _ := r.expect(text)
	return r.take(n)
}

// Array reads the head of a list; 0 if it is something else.
func (r *Reader) Array() int {
	n, _ := r.expect(array)
	return r.count(n)
}

// Map reads the head of a map; 0 if it is something else.
func (r *Reader) Map() int {
	n, _ := r.expect(object)
	return r.count(n)
}

// count is a number of items, of which each has a byte at least.
func (r *Reader) count(n uint64) int {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// Int reads an integer.
func (r *Reader) Int() int64 {
	switch v := r.Value().(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	}
	return 0
}

// Float reads a number.
func (r *Reader) Float() float64 {
	switch v := r.Value().(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	v, _ := r.Value().(bool)
	return v
}

// Null passes over a nil, if that is next.
func (r *Reader) Null() bool {
	if len(r.b) > 0 && r.b[0] == simple<<5|22 {
		r.b = r.b[1:]
		return true
	}
	return false
}

// Value reads any value.
func (r *Reader) Value() any { return r.value(0) }

func (r *Reader) value(depth int) any {
	if depth > maxDepth {
		r.fail(errors.New("the value is nested too deep"))
		return nil
	}
	var first byte
	if len(r.b) > 0 {
		first = r.b[0]
	}
	major, n := r.head()
	if r.err != nil {
		return nil
	}
	switch major {
	case unsigned:
		return int64(n)
	case negative:
		return ^int64(n)
	case bytes:
		return append([]byte(nil), r.take(n)...)
	case text:
		return string(r.take(n))
	case array:
		list := make([]any, r.count(n))
		for i := range list {
			list[i] = r.value(depth + 1)
		}
		return list
	case object:
		pairs := r.count(n)
		m := make(map[string]any, pairs)
		for range pairs {
			k := string(r.Key())
			m[k] = r.value(depth + 1)
		}
		return m
	}
	switch first & 31 { // the server writes a float in as few bytes as hold it
	case 25:
		return half(uint16(n))
	case 26:
		return float64(math.Float32frombits(uint32(n)))
	case 27:
		return math.Float64frombits(n)
	}
	switch n {
	case 20, 21:
		return n == 21
	case 22:
	default:
		r.fail(fmt.Errorf("there is no simple value %d", n))
	}
	return nil
}

// half is a float of two bytes (RFC 8949 appendix D).
func half(h uint16) float64 {
	exponent, mantissa := int(h>>10&31), float64(h&1023)
	var f float64
	switch exponent {
	case 0:
		f = math.Ldexp(mantissa, -24)
	case 31:
		f = math.Inf(1)
		if mantissa != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mantissa+1024, exponent-25)
	}
	if h&0x8000 != 0 {
		return -f
	}
	return f
}
