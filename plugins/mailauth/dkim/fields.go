package dkim

import (
	"hash"
	"strings"

	"github.com/stagepost/stagepost/core/message"
)

// Select gives the fields that the names of h= stand for, as their places in fields, which are in the order of the message. Each name
// takes the lowest field of that name that no name before it took; where none is left the place is -1 (RFC 6376 section 5.4.2).
func Select(fields []message.Field, names []string) []int {
	left := make(map[string][]int, len(names)) // by name, lowest last taken from
	for _, name := range names {
		left[strings.ToLower(name)] = nil
	}
	for i := range fields {
		name := strings.ToLower(fields[i].Name)
		if places, wanted := left[name]; wanted {
			left[name] = append(places, i)
		}
	}
	out := make([]int, len(names))
	for i, name := range names {
		name = strings.ToLower(name)
		out[i] = -1
		if places := left[name]; len(places) > 0 {
			out[i] = places[len(places)-1]
			left[name] = places[:len(places)-1]
		}
	}
	return out
}

// HashHeader writes to h what a signature with the canonical form c signs (RFC 6376 section 3.7): the fields that the names stand
// for, and then the signature's own field, given with an empty b=, without the line end. It tells how many bytes these were, and
// writes nothing where they would be more than most.
func HashHeader(h hash.Hash, c Canon, fields []message.Field, names []string, own []byte, most int) (n int, ok bool) {
	places := Select(fields, names)
	n = len(own)
	for _, i := range places {
		if i >= 0 {
			n += len(fields[i].Raw)
		}
	}
	if n > most {
		return n, false
	}
	var buf []byte
	for _, i := range places {
		if i >= 0 {
			buf = c.Header(buf[:0], fields[i].Raw)
			h.Write(buf)
		}
	}
	buf = c.Header(buf[:0], own)
	h.Write(buf[:len(buf)-len("\r\n")])
	return n, true
}
