package observe

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// The format of segments; observe.go describes it.
const (
	segmentHeader = "STAGEREC\x01"
	entryHeader   = 8
	maxPayload    = 1 << 20
	maxSteps      = 64 // of one entry
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntries encodes one Append, and returns how many entries it made. Steps without a time get now.
func appendEntries(dst []byte, id string, steps []Step, now time.Time) ([]byte, int) {
	id = cut(id, maxID)
	n := 0
	for len(steps) > 0 {
		some := steps[:min(len(steps), maxSteps)]
		steps = steps[len(some):]
		n++

		start := len(dst)
		dst = append(dst, make([]byte, entryHeader)...)
		dst = appendString(dst, id, maxID)
		dst = append(dst, byte(len(some)))
		for i := range some {
			dst = appendStep(dst, &some[i], now)
		}
		payload := dst[start+entryHeader:]
		binary.LittleEndian.PutUint32(dst[start:], uint32(len(payload)))
		binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(payload, castagnoli))
	}
	return dst, n
}

func appendStep(dst []byte, s *Step, now time.Time) []byte {
	when := s.Time
	if when.IsZero() {
		when = now
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(when.UnixNano()))
	dst = binary.AppendUvarint(dst, s.Generation)
	dst = binary.AppendUvarint(dst, uint64(s.Micros))
	dst = appendString(dst, s.Stage, maxWord)
	dst = appendString(dst, s.Plugin, maxWord)
	dst = appendString(dst, s.Verdict, maxWord)
	dst = appendString(dst, s.Detail, maxDetail)
	edits := s.Edits[:min(len(s.Edits), maxEdits)]
	dst = append(dst, byte(len(edits)))
	for _, e := range edits {
		dst = appendString(dst, e, maxWord)
	}
	return dst
}

func appendString(dst []byte, s string, n int) []byte {
	s = cut(s, n)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// entry is one entry as it lies in a segment.
type entry struct {
	crc     uint32
	payload []byte
}

// next returns the entry at the start of b and what is after it; false where there is none that can be.
func next(b []byte) (e entry, rest []byte, ok bool) {
	if len(b) < entryHeader {
		return entry{}, b, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxPayload || int(n) > len(b)-entryHeader {
		return entry{}, b, false
	}
	end := entryHeader + int(n)
	return entry{binary.LittleEndian.Uint32(b[4:]), b[entryHeader:end]}, b[end:], true
}

// body returns the entries of a whole segment; false when it is none of this version. One whose header was not written out
// is empty.
func body(segment []byte) ([]byte, bool) {
	if len(segment) < len(segmentHeader) {
		return nil, string(segment) == segmentHeader[:len(segment)]
	}
	return segment[len(segmentHeader):], string(segment[:len(segmentHeader)]) == segmentHeader
}

// sound says whether an entry is as it was written.
func (e entry) sound() bool { return crc32.Checksum(e.payload, castagnoli) == e.crc }

// id returns the id alone; the entry need not be sound.
func (e entry) id() []byte {
	d := decoder{b: e.payload}
	return d.bytes(maxID)
}

var errDecode = errors.New("the entry cannot be decoded")

// appendSteps decodes the steps of an entry.
func (e entry) appendSteps(dst []Step) ([]Step, error) {
	d := decoder{b: e.payload}
	d.bytes(maxID)
	n := int(d.byte())
	if n > maxSteps {
		return dst, errDecode
	}
	before := len(dst)
	for range n {
		dst = append(dst, d.step())
		if d.bad {
			return dst[:before], errDecode
		}
	}
	if len(d.b) > 0 || d.bad {
		return dst[:before], errDecode
	}
	return dst, nil
}

// decoder reads values off the front of b; once something was not there, it is bad and reads zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) step() Step {
	s := Step{
		Time:       time.Unix(0, int64(d.uint64())).UTC(),
		Generation: d.uvarint(),
		Micros:     uint32(d.uvarint()),
		Stage:      string(d.bytes(maxWord)),
		Plugin:     string(d.bytes(maxWord)),
		Verdict:    string(d.bytes(maxWord)),
		Detail:     string(d.bytes(maxDetail)),
	}
	n := int(d.byte())
	if n > maxEdits {
		d.fail()
		n = 0
	}
	s.Edits = make([]string, n)
	for i := range s.Edits {
		s.Edits[i] = string(d.bytes(maxWord))
	}
	return s
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(most int) []byte {
	n := d.uvarint()
	if n > uint64(most) {
		d.fail()
		return nil
	}
	return d.take(int(n))
}
