// Package observe keeps what happened: the record of each message, and the log.
//
// Both are written behind: a caller encodes an entry into memory under a short lock and goes on; one goroutine writes what has
// gathered (type behind). So neither a full disk nor a blocked terminal holds up a message. The price is stated: memory is
// bounded, entries beyond it are dropped and counted, and the last moments before a crash of the process may be missing.
// Nothing here is on the way of accepting mail.
//
// # Message records
//
// Records is the one history of messages: hook calls, attempts and outcomes are Steps, appended under the message's id. They
// lie in segments, files NNNNNNNNNNNNNNNN.rec in a folder of their own, which only grow and are never synced. The oldest go
// first when all together are too big, or old. An entry is found by walking the segments, from header to header; a small filter
// of the ids in each, kept in memory, skips most of them.
//
//	segment = "STAGEREC" version(1 byte, 1) entry*
//	entry   = length(4) crc32c(4) payload            length is that of the payload, at most 1 MiB; the CRC covers the payload
//	payload = string(id) count(1) step*              one Append; more than 64 steps make several entries
//	step    = nanoseconds(8) uvarint(generation) uvarint(micros) string(stage) string(plugin) string(verdict) string(detail)
//	          count(1) string(edit)*
//	string  = uvarint(length) bytes
//
// Numbers of fixed size are little-endian. Strings are data with their length before them, so nothing that a client or a remote
// server says can look like another entry. Reading stops at an entry whose length cannot be, as a crash leaves at the end of
// a segment, and passes over one whose CRC is wrong. A segment that ends badly is never written to again: a new one is begun.
//
// # Log
//
// NewLog makes a slog.Logger of it: JSON objects, or lines for people on a terminal; always one line an event.
package observe

import (
	"time"
	"unicode/utf8"
)

// Step is one thing that happened to a message.
type Step struct {
	Time       time.Time `json:"time"`       // when it began; zero: when it was appended
	Stage      string    `json:"stage"`      // of hooks: connect ... disconnect; and those of the core
	Plugin     string    `json:"plugin"`     // empty for the core
	Generation uint64    `json:"generation"` // of the plugins that were asked
	Verdict    string    `json:"verdict"`    // or the outcome
	Micros     uint32    `json:"micros"`     // how long it took
	Edits      []string  `json:"edits"`      // what was changed; at most 32, of 128 bytes
	Detail     string    `json:"detail"`     // for people; at most 1 KiB
}

// Bounds of what is kept of a Step; the rest is cut off.
const (
	maxID     = 64
	maxWord   = 128 // stage, plugin, verdict, an edit
	maxEdits  = 32
	maxDetail = 1 << 10
)

// cut shortens a string to at most n bytes, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}
