package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxHidden is how much behind a malformed header is looked at, in bytes: no header is longer here.
const maxHidden = 256 << 10

// Hidden gives the values of the fields of that name which stand behind the line that ended a malformed header, up to an empty line:
// here they are body, and to a reader who passes over such a line they are header. Where that has no end in sight the last value is
// empty, since what is not looked at may be such a field. The content is the one that h was read from.
func (h *Header) Hidden(content Content, name string) (values []string, err error) {
	if !h.malformed {
		return nil, nil
	}
	buf := make([]byte, min(content.Size()-h.end, maxHidden))
	if n, err := content.ReadAt(buf, h.end); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else {
		buf = buf[:n]
	}
	var value *strings.Builder // of a field of that name
	end := func() {
		if value != nil {
			values = append(values, value.String())
		}
		value = nil
	}
	for line := range bytes.Lines(buf) {
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimFunc(text, isBlank) == "" {
			end()
			return values, nil
		}
		if value != nil && isSpace(text[0]) {
			value.WriteString(text)
			continue
		}
		end()
		if own, first, found := strings.Cut(text, ":"); found && strings.EqualFold(strings.TrimFunc(own, isBlank), name) {
			value = &strings.Builder{}
			value.WriteString(first)
		}
	}
	end()
	if content.Size()-h.end > maxHidden {
		values = append(values, "")
	}
	return values, nil
}

func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }
