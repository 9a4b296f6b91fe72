package message

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"
)

// Composed is a body made of text, with the header fields that say how it is to be read (RFC 2045, 2046). All of it is ASCII with
// short lines, so it arrives as it is whatever the way.
type Composed struct {
	fields [][2]string
	body   []byte
}

// maxComposed bounds text and HTML together, since all of it is held in memory.
const maxComposed = 1 << 20

// Compose makes a body of plain text, of HTML, or of both, of which readers show one; what is nil is left out. Both are in UTF-8, and
// their lines may end with LF.
func Compose(text, html *string) (*Composed, error) {
	size := 0
	var parts []*Composed
	for _, p := range []struct {
		text *string
		typ  string
	}{{text, "text/plain"}, {html, "text/html"}} {
		if p.text == nil {
			continue
		}
		if size += len(*p.text); size > maxComposed {
			return nil, fmt.Errorf("text and HTML have more than %d bytes, which is a case for rewrite", maxComposed)
		}
		if !utf8.ValidString(*p.text) {
			return nil, errors.New(p.typ + ": it is not valid UTF-8")
		}
		encoding, body := encodeText(strings.ReplaceAll(strings.ReplaceAll(*p.text, "\r\n", "\n"), "\n", "\r\n"))
		parts = append(parts, &Composed{[][2]string{{"Content-Type", p.typ + "; charset=utf-8"}, {"Content-Transfer-Encoding", encoding}}, body})
	}
	switch len(parts) {
	case 0:
		return nil, errors.New("there is neither a text nor HTML")
	case 1:
		c := parts[0]
		c.fields = append([][2]string{{"MIME-Version", "1.0"}}, c.fields...)
		return c, nil
	}
	// The boundary holds "=_", which neither of the encodings can make; for text that is not encoded it is looked at.
	sum := sha256.Sum256(bytes.Join([][]byte{parts[0].body, parts[1].body}, []byte{0}))
	boundary := "=_" + hex.EncodeToString(sum[:12])
	for bytes.Contains(parts[0].body, []byte(boundary)) || bytes.Contains(parts[1].body, []byte(boundary)) {
		boundary += "_"
	}
	c := &Composed{fields: [][2]string{{"MIME-Version", "1.0"}, {"Content-Type", `multipart/alternative; boundary="` + boundary + `"`}, {"Content-Transfer-Encoding", "7bit"}}}
	for _, p := range parts {
		c.body = append(c.body, "--"+boundary+"\r\n"...)
		for _, f := range p.fields {
			c.body = append(c.body, f[0]+": "+f[1]+"\r\n"...)
		}
		c.body = append(append(append(c.body, "\r\n"...), p.body...), "\r\n"...)
	}
	c.body = append(c.body, "--"+boundary+"--\r\n"...)
	return c, nil
}

// setComposed makes the header that of a composed body: all that it said of the content before is gone. A nil subject stays as it was.
func (h *Header) setComposed(c *Composed, subject *string) error {
	gone := func(f rawField) bool {
		name := strings.ToLower(string(f.name()))
		about := strings.HasPrefix(name, "content-") || name == "mime-version"
		if about {
			h.bytes -= len(f.raw)
		}
		return about
	}
	added, before := deleteFields(h.added, gone), len(h.fields)
	h.added, h.fields = added, deleteFields(h.fields, gone)
	h.changed = h.changed || len(h.fields) != before
	fields := c.fields
	if subject != nil {
		if err := h.Set("Subject", *subject); err != nil {
			return err
		}
	}
	for _, f := range fields {
		if err := h.Add(f[0], f[1]); err != nil {
			return err
		}
	}
	return nil
}

func deleteFields(list []rawField, gone func(rawField) bool) (kept []rawField) {
	for _, f := range list {
		if !gone(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// encodeText chooses the encoding: none for plain ASCII in lines that everybody takes, else the one in which it stays readable, or, where
// little of it would, the shorter one.
func encodeText(text string) (encoding string, body []byte) {
	if isPlain(text) {
		return "7bit", []byte(text)
	}
	if high := highBytes(text); high*3 <= len(text) {
		var quoted bytes.Buffer
		w := quotedprintable.NewWriter(&quoted)
		io.WriteString(w, text) // to memory, so it does not fail
		w.Close()
		return "quoted-printable", quoted.Bytes()
	}
	raw := base64.StdEncoding.EncodeToString([]byte(text))
	for len(raw) > 76 {
		body, raw = append(append(body, raw[:76]...), "\r\n"...), raw[76:]
	}
	return "base64", append(append(body, raw...), "\r\n"...)
}

// isPlain tells whether text with CRLF line ends can be sent as it is.
func isPlain(text string) bool {
	for line := range strings.SplitSeq(text, "\r\n") {
		if len(line) > softLine {
			return false
		}
		for i := range len(line) {
			if c := line[i]; c < ' ' && c != '\t' || c >= 0x7f {
				return false
			}
		}
	}
	return true
}
