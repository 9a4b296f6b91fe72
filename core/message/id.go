package message

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// ID names a message for ever: 48 bits of milliseconds, 16 of shard, 16 of count. It sorts by arrival, in both its
// binary and its text form.
type ID [10]byte

// alphabet is Crockford's base32 in lower case: it keeps the order of the bytes and leaves out i, l, o and u.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

var errID = errors.New("a message id has 16 characters of 0-9 and a-z without i, l, o, u")

// String returns the 16 characters that people and logs see.
func (id ID) String() string {
	var b [16]byte
	for half := range 2 {
		v := uint64(id[half*5])<<32 | uint64(binary.BigEndian.Uint32(id[half*5+1:]))
		for i := 7; i >= 0; i-- {
			b[half*8+i] = alphabet[v&31]
			v >>= 5
		}
	}
	return string(b[:])
}

// ParseID reads the text form.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 16 {
		return id, errID
	}
	for half := range 2 {
		var v uint64
		for i := range 8 {
			d := digit(s[half*8+i])
			if d < 0 {
				return ID{}, errID
			}
			v = v<<5 | uint64(d)
		}
		id[half*5] = byte(v >> 32)
		binary.BigEndian.PutUint32(id[half*5+1:], uint32(v))
	}
	return id, nil
}

func digit(c byte) int {
	for i := range len(alphabet) {
		if alphabet[i] == c {
			return i
		}
	}
	return -1
}

// Time is when the id was made, to the millisecond.
func (id ID) Time() time.Time {
	ms := uint64(binary.BigEndian.Uint16(id[:2]))<<32 | uint64(binary.BigEndian.Uint32(id[2:6]))
	return time.UnixMilli(int64(ms))
}

// Shard is the shard that the accepting node put the message in.
func (id ID) Shard() uint16 { return binary.BigEndian.Uint16(id[6:8]) }

// IDs makes ids that never repeat and never go back while the process lives, whatever the clock does. Safe for
// concurrent use.
type IDs struct {
	now   func() time.Time
	shard uint16
	mu    sync.Mutex
	ms    uint64
	count uint16
}

// NewIDs makes ids of one shard, all later than after.
func NewIDs(now func() time.Time, shard uint16, after ID) *IDs {
	return &IDs{now: now, shard: shard, ms: uint64(max(after.Time().UnixMilli(), 0)), count: 0xffff}
}

// LastAt is the last id of that millisecond: what NewIDs makes after it is later.
func LastAt(t time.Time) (id ID) {
	ms := uint64(max(t.UnixMilli(), 0))
	binary.BigEndian.PutUint16(id[:2], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:6], uint32(ms))
	binary.BigEndian.PutUint32(id[6:], 1<<32-1)
	return id
}

// Next returns a new id.
func (s *IDs) Next() ID {
	now := uint64(max(s.now().UnixMilli(), 0))
	s.mu.Lock()
	switch {
	case now > s.ms:
		s.ms, s.count = now, 0
	case s.count == 0xffff: // 65,536 in one millisecond, or the clock went back
		s.ms, s.count = s.ms+1, 0
	default:
		s.count++
	}
	ms, count := s.ms, s.count
	s.mu.Unlock()
	var id ID
	binary.BigEndian.PutUint16(id[:2], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:6], uint32(ms))
	binary.BigEndian.PutUint16(id[6:8], s.shard)
	binary.BigEndian.PutUint16(id[8:], count)
	return id
}
