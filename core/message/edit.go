package message

import "slices"

// Add puts a new field on top of all that came in, below those added before. The value is plain text of one line, folded
// where it is long, or text folded by the caller, which is kept byte for byte. It refuses what is not a field: a name with
// other than printable ASCII, control characters, a line of more than 998 bytes, invalid UTF-8.
func (h *Header) Add(name, value string) error {
	f, err := h.compose(name, value)
	if err != nil {
		return err
	}
	if err := h.fits(1, len(f.raw)); err != nil {
		return err
	}
	h.added = append(h.added, f)
	h.bytes += len(f.raw)
	return nil
}

// Set gives the first field of that name a new value in its place and removes the others; without one it is Add.
func (h *Header) Set(name, value string) error {
	named := func(f rawField) bool { return f.is(name) }
	list, cameIn := h.added, false
	i := slices.IndexFunc(list, named)
	if i < 0 {
		list, cameIn = h.fields, true
		i = slices.IndexFunc(list, named)
	}
	if i < 0 {
		return h.Add(name, value)
	}
	first := &list[i]
	f, err := h.compose(name, value)
	if err != nil {
		return err
	}
	if err := h.fits(0, len(f.raw)-len(first.raw)); err != nil {
		return err
	}
	h.bytes += len(f.raw) - len(first.raw)
	*first = f
	h.changed = h.changed || cameIn
	h.remove(name, 1, -1)
	return nil
}

// Remove takes away the nth field of that name, counted from 0 at the top, or all of them for n < 0. It returns how many
// went.
func (h *Header) Remove(name string, n int) int {
	if n < 0 {
		return h.remove(name, 0, -1)
	}
	return h.remove(name, n, 1)
}

// remove takes away at most limit fields of that name (-1: no limit) after the first skip.
func (h *Header) remove(name string, skip, limit int) int {
	gone, seen := 0, 0
	match := func(f rawField) bool {
		if gone == limit || !f.is(name) {
			return false
		}
		if seen++; seen <= skip {
			return false
		}
		gone++
		h.bytes -= len(f.raw)
		return true
	}
	h.added = slices.DeleteFunc(h.added, match)
	before := len(h.fields)
	h.fields = slices.DeleteFunc(h.fields, match)
	h.changed = h.changed || len(h.fields) != before
	return gone
}

// Clone returns a copy for edits that may have to be taken back.
func (h *Header) Clone() *Header {
	c := *h
	c.added, c.fields = slices.Clone(h.added), slices.Clone(h.fields)
	return &c
}

// Result returns what Envelope.Prefix and Envelope.Skip become when the fields in top, such as Received, stand above all
// others. Without edits it is top itself and 0. What ended the header, an empty line or not, stays in the content. One thing
// is put right: a content that begins with white space would continue the field above it, an Authentication-Results of ours
// for instance; it gets the empty line that its sender left out.
func (h *Header) Result(top []byte) (prefix []byte, skip int64) {
	if len(h.added) == 0 && !h.changed && !h.dangling {
		return top, 0
	}
	prefix = make([]byte, 0, len(top)+h.bytes+2)
	prefix = append(prefix, top...)
	for i := range h.added {
		prefix = append(prefix, h.added[i].raw...)
	}
	if h.changed {
		skip = h.end
		for i := range h.fields {
			prefix = append(prefix, h.fields[i].raw...)
		}
	}
	if h.dangling && len(prefix) > 0 {
		prefix = append(prefix, "\r\n"...)
	}
	return prefix, skip
}

func (h *Header) fits(fields, size int) error {
	if h.Len()+fields > h.limits.Fields {
		return &HeaderLimitError{h.limits.Fields, "fields"}
	}
	if h.bytes+size > h.limits.Bytes {
		return &HeaderLimitError{h.limits.Bytes, "bytes"}
	}
	return nil
}
