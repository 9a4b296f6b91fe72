package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

// Values start with a version byte, followed by fields in the wire form of protocol buffers; a reader skips those it does
// not know.
const recordVersion = 1

var errRecord = errors.New("damaged record")

// place says where a message's content lies and how to know it: in a slot, in a file, or else in Pebble.
type place struct {
	slot   slotID
	inFile bool
	size   int64
	crc    uint32
	rcpts  int      // recipients of the message; 0 = not known
	file   store.ID // what the file is called where it is not called by the message's id, being a content that took another's place

	damaged bool // the record cannot be read
}

// inline tells whether the content lies in Pebble.
func (p *place) inline() bool { return !p.inFile && p.slot.class == 0 }

// name is what holds the content of a message, if it is not inline.
func (p *place) name(id store.ID) bodyName {
	switch {
	case p.slot.class > 0:
		return bodyName{slot: p.slot}
	case p.file != (store.ID{}):
		return bodyName{file: p.file}
	}
	return bodyName{file: id}
}

// lies notes what holds the content of a message.
func (p *place) lies(in bodyName, id store.ID) {
	p.slot, p.inFile = in.slot, in.slot.class == 0
	if p.inFile && in.file != id {
		p.file = in.file
	}
}

const (
	placeInFile protowire.Number = iota + 1
	placeSize
	placeCRC
	placeRcpts
	placeEnvelope
	placeFile
	placeClass
	placeSlot
)

// recordLen and putRecord write the value of an m key straight into a batch.
func recordLen(p place, env []byte) int {
	n := 0
	if p.file != (store.ID{}) {
		n = protowire.SizeTag(placeFile) + protowire.SizeBytes(idLen)
	}
	if p.slot.class > 0 {
		n += protowire.SizeTag(placeClass) + 1 + protowire.SizeTag(placeSlot) + protowire.SizeVarint(p.slot.n)
	}
	return n + 1 + protowire.SizeTag(placeInFile) + 1 + protowire.SizeTag(placeSize) + protowire.SizeVarint(uint64(p.size)) +
		protowire.SizeTag(placeCRC) + 4 + protowire.SizeTag(placeRcpts) + protowire.SizeVarint(uint64(p.rcpts)) + protowire.SizeTag(placeEnvelope) + protowire.SizeBytes(len(env))
}

func putRecord(b []byte, p place, env []byte) []byte {
	b = append(b, recordVersion)
	b = protowire.AppendVarint(protowire.AppendTag(b, placeInFile, protowire.VarintType), protowire.EncodeBool(p.inFile))
	b = protowire.AppendVarint(protowire.AppendTag(b, placeSize, protowire.VarintType), uint64(p.size))
	b = protowire.AppendFixed32(protowire.AppendTag(b, placeCRC, protowire.Fixed32Type), p.crc)
	b = protowire.AppendVarint(protowire.AppendTag(b, placeRcpts, protowire.VarintType), uint64(p.rcpts))
	if p.file != (store.ID{}) {
		b = protowire.AppendBytes(protowire.AppendTag(b, placeFile, protowire.BytesType), p.file[:])
	}
	if p.slot.class > 0 {
		b = protowire.AppendVarint(protowire.AppendTag(b, placeClass, protowire.VarintType), uint64(p.slot.class))
		b = protowire.AppendVarint(protowire.AppendTag(b, placeSlot, protowire.VarintType), p.slot.n)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, placeEnvelope, protowire.BytesType), env)
}

// readRecord reads the value of an m key; env refers to b.
func readRecord(b []byte) (p place, env []byte, err error) {
	class := uint64(0)
	err = eachField(b, func(num protowire.Number, v uint64, raw []byte) {
		switch num {
		case placeInFile:
			p.inFile = v != 0
		case placeSize:
			p.size = int64(v)
		case placeCRC:
			p.crc = uint32(v)
		case placeRcpts:
			p.rcpts = int(v)
		case placeFile:
			copy(p.file[:], raw)
		case placeClass:
			class = v
		case placeSlot:
			p.slot.n = v
		case placeEnvelope:
			env = raw
		}
	})
	if err == nil && (env == nil || p.size < 0 || class > classes || p.slot.n>>slotBits > 0) {
		err = errRecord
	}
	p.slot.class = uint8(class)
	return p, env, err
}

// change is the value of an s key.
type change struct {
	rev  store.Rev
	held *string // nil: as the envelope says
}

const (
	changeRev protowire.Number = iota + 1
	changeHeld
)

func (c change) append(b []byte) []byte {
	b = append(b, recordVersion)
	b = appendUint(b, changeRev, uint64(c.rev))
	if c.held != nil {
		b = protowire.AppendString(protowire.AppendTag(b, changeHeld, protowire.BytesType), *c.held)
	}
	return b
}

func readChange(b []byte) (c change, err error) {
	err = eachField(b, func(num protowire.Number, v uint64, raw []byte) {
		switch num {
		case changeRev:
			c.rev = store.Rev(v)
		case changeHeld:
			held := string(raw)
			c.held = &held
		}
	})
	return c, err
}

const (
	rcptResult protowire.Number = iota + 1
	rcptAttempts
	rcptFirst
	rcptNext
	rcptLane
	rcptCode
	rcptEnhanced
	rcptHost
	rcptText
	rcptOwed
	rcptWarned
	rcptTried
	rcptRoute
)

func appendRcpt(b []byte, r *store.RcptState) []byte {
	b = append(b, recordVersion)
	b = appendUint(b, rcptResult, uint64(r.Result))
	b = appendUint(b, rcptAttempts, uint64(r.Attempts))
	b = appendTime(b, rcptFirst, r.First)
	b = appendTime(b, rcptNext, r.Next)
	b = appendString(b, rcptLane, r.Lane)
	b = appendUint(b, rcptCode, uint64(r.Last.Code))
	b = appendString(b, rcptEnhanced, r.Last.Enhanced)
	b = appendString(b, rcptHost, r.Last.Host)
	b = appendString(b, rcptText, r.Last.Text)
	b = appendUint(b, rcptOwed, protowire.EncodeBool(r.Owed))
	b = appendUint(b, rcptWarned, protowire.EncodeBool(r.Warned))
	b = appendTime(b, rcptTried, r.Tried)
	return appendString(b, rcptRoute, r.Route)
}

func readRcpt(b []byte) (r store.RcptState, err error) {
	err = eachField(b, func(num protowire.Number, v uint64, raw []byte) {
		switch num {
		case rcptResult:
			r.Result = message.Result(v)
		case rcptAttempts:
			r.Attempts = uint16(v)
		case rcptFirst:
			r.First = readTime(v)
		case rcptNext:
			r.Next = readTime(v)
		case rcptLane:
			r.Lane = string(raw)
		case rcptCode:
			r.Last.Code = int(v)
		case rcptEnhanced:
			r.Last.Enhanced = string(raw)
		case rcptHost:
			r.Last.Host = string(raw)
		case rcptText:
			r.Last.Text = string(raw)
		case rcptOwed:
			r.Owed = v != 0
		case rcptWarned:
			r.Warned = v != 0
		case rcptTried:
			r.Tried = readTime(v)
		case rcptRoute:
			r.Route = string(raw)
		}
	})
	return r, err
}

// version is the value of the V key.
type version struct {
	format  uint64
	created time.Time
}

const (
	versionFormat protowire.Number = iota + 1
	versionCreated
)

func (v version) append(b []byte) []byte {
	b = append(b, recordVersion)
	return appendTime(appendUint(b, versionFormat, v.format), versionCreated, v.created)
}

func readVersion(b []byte) (v version, err error) {
	err = eachField(b, func(num protowire.Number, n uint64, _ []byte) {
		switch num {
		case versionFormat:
			v.format = n
		case versionCreated:
			v.created = readTime(n)
		}
	})
	return v, err
}

// appendNumbers writes the recipients of a due entry; none means all.
func appendNumbers(b []byte, rcpts []uint16) []byte {
	for _, n := range rcpts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func readNumbers(b []byte) (rcpts []uint16, err error) {
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > 1<<16-1 {
			return nil, errRecord
		}
		rcpts = append(rcpts, uint16(n))
		b = b[used:]
	}
	return rcpts, nil
}

// union adds the recipients of two entries; an empty list is all of them.
func union(a, b []uint16) []uint16 {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	both := slices.Concat(a, b)
	slices.Sort(both)
	return slices.Compact(both)
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

// appendTime keeps microseconds; the zero time is left out.
func appendTime(b []byte, num protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), protowire.EncodeZigZag(t.UnixMicro()))
}

func readTime(v uint64) time.Time { return time.UnixMicro(protowire.DecodeZigZag(v)).UTC() }

// eachField calls fn for each field of a value, with the number or the bytes that it holds.
func eachField(b []byte, fn func(num protowire.Number, v uint64, raw []byte)) error {
	if len(b) == 0 || b[0] != recordVersion {
		return fmt.Errorf("%w: it does not start with version %d", errRecord, recordVersion)
	}
	for b = b[1:]; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errRecord
		}
		b = b[n:]
		var v uint64
		var raw []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var fixed uint32
			fixed, n = protowire.ConsumeFixed32(b)
			v = uint64(fixed)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errRecord
		}
		b = b[n:]
		fn(num, v, raw)
	}
	return nil
}
