package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxHidden is how much behind a malformed header is looked at, in bytes.
const maxHidden = 64 << 10

// Hidden gives the values of the fields of that name which stand behind the line that ended a malformed header, up to an empty line:
// here they are body, and to a reader who passes over such a line they are header. The content is the one that h was read from.
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
	inside := false // a field of that name
	for line := range bytes.Lines(buf) {
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimFunc(text, isBlank) == "" {
			break
		}
		if inside && isSpace(text[0]) {
			values[len(values)-1] += text
			continue
		}
		own, value, found := strings.Cut(text, ":")
		if inside = found && strings.EqualFold(strings.TrimFunc(own, isBlank), name); inside {
			values = append(values, value)
		}
	}
	return values, nil
}

func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }
