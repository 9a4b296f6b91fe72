package disk

import (
	"bytes"
	"encoding/binary"

	"github.com/stagepost/stagepost/core/store"
)

// The keys. Numbers are big-endian, so that keys sort by them.
//
//	V                            format of the store
//	m id                         place of the content, envelope; never changed (record.go)
//	b id                         content of up to 32 KiB
//	s id                         revision and hold of a message that was changed
//	r id n(u16)                  state of recipient n, once it is not fresh
//	q lane 00 second(u32) id     due entry: recipient numbers as varints, nothing = all
//	t bucket(u32) lane           nothing: the lane has, or had, something due in these 16 seconds
//	w                            bucket(u32) below which t was swept
//	n name                       a note, as it was given (notes.go)
const (
	keyVersion = 'V'
	keyMessage = 'm'
	keyContent = 'b'
	keyState   = 's'
	keyRcpt    = 'r'
	keyDue     = 'q'
	keyWake    = 't'
	keySwept   = 'w'
	keyNote    = 'n'
)

const (
	idLen     = len(store.ID{})
	dueTail   = 1 + 4 + idLen // what follows the lane in a due key
	bucketLen = 16            // seconds
)

func idKey(kind byte, id store.ID) []byte {
	return append(append(make([]byte, 0, 1+idLen+2), kind), id[:]...)
}

func rcptKey(id store.ID, n uint16) []byte {
	return binary.BigEndian.AppendUint16(idKey(keyRcpt, id), n)
}

// idOf reads the id of a key that starts with kind and id.
func idOf(key []byte) (id store.ID, ok bool) {
	if len(key) < 1+idLen {
		return id, false
	}
	return store.ID(key[1:]), true
}

// lanePrefix is what the due keys of a lane start with, and no other lane's do: names have no NUL.
func lanePrefix(lane store.Lane) []byte {
	b := make([]byte, 0, 1+len(lane)+dueTail)
	return append(append(append(b, keyDue), lane...), 0)
}

func dueKey(lane store.Lane, second uint32, id store.ID) []byte {
	return append(binary.BigEndian.AppendUint32(lanePrefix(lane), second), id[:]...)
}

// dueFrom is where the entries of a lane due at second or later begin; second may be one more than there is.
func dueFrom(lane store.Lane, second int64) []byte {
	if second > maxSecond {
		return laneEnd(lane)
	}
	return binary.BigEndian.AppendUint32(lanePrefix(lane), uint32(max(second, 0)))
}

const maxSecond = 1<<32 - 1

// laneEnd is the first key behind all of a lane.
func laneEnd(lane store.Lane) []byte {
	b := lanePrefix(lane)
	b[len(b)-1] = 1
	return b
}

func splitDue(key []byte) (lane []byte, second uint32, id store.ID, ok bool) {
	i := len(key) - dueTail
	if i < 1 || key[i] != 0 {
		return nil, 0, id, false
	}
	return key[1:i], binary.BigEndian.Uint32(key[i+1:]), store.ID(key[i+5:]), true
}

func wakeKey(bucket uint32, lane store.Lane) []byte {
	b := make([]byte, 0, 5+len(lane))
	return append(binary.BigEndian.AppendUint32(append(b, keyWake), bucket), lane...)
}

func splitWake(key []byte) (bucket uint32, lane []byte, ok bool) {
	if len(key) < 5 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(key[1:]), key[5:], true
}

// behind is the first key after all that start with prefix.
func behind(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}
