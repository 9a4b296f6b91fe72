package dsn

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/message"
)

// MaxReturned bounds how much of the original goes back, in bytes: a forged sender must not be sent much for little.
const MaxReturned = 64 << 10

// maxLine is the length of a line without its CRLF (RFC 5322 section 2.1.1).
const maxLine = 998

// original returns the third part; without a body if the message begins with no header field.
func (r *Report) original() (part, error) {
	start := r.Original.Bytes()
	size := r.Original.Size()
	whole := size <= MaxReturned
	if start == nil {
		start = make([]byte, min(size, MaxReturned))
		if _, err := io.ReadFull(io.NewSectionReader(r.Original, 0, size), start); err != nil {
			return part{}, err
		}
	}
	start = start[:min(len(start), MaxReturned)]
	header, err := headerOf(start, whole)
	if err != nil {
		return part{}, err
	}
	global := r.Global && !isASCII(header) && utf8.Valid(header)
	if r.ReturnFull && whole {
		if encoding := lineEncoding(start); encoding != "" {
			if global {
				return r.beyond("message/global", start), nil
			}
			return part{"message/rfc822", encoding, start}, nil
		}
	}
	if global && lineEncoding(header) != "" {
		return r.beyond("message/global-headers", header), nil
	}
	encoding, body := encodeHeader(header)
	return part{"text/rfc822-headers", encoding, body}, nil
}

// lineEncoding returns 7bit or 8bit for content that may be called so, made of lines of at most maxLine without NUL and stray
// CR or LF (RFC 2045 sections 2.7 and 2.8), and "" for other content. No other encoding is allowed for message/rfc822; for what RFC 6533 has in its place, it is.
func lineEncoding(content []byte) string {
	encoding := sevenBit
	for line := range bytes.Lines(content) {
		line, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if len(line) > maxLine || !ended && bytes.IndexByte(line, '\n') >= 0 {
			return ""
		}
		for _, c := range line {
			switch {
			case c == 0 || c == '\r':
				return ""
			case c >= 0x80:
				encoding = eightBit
			}
		}
	}
	return encoding
}

// headerOf returns the fields at the start of a content that was perhaps cut off: a field that may not be whole is left out.
func headerOf(start []byte, whole bool) ([]byte, error) {
	h, err := message.ParseHeader(start, message.HeaderLimits{Bytes: MaxReturned, Fields: MaxReturned})
	if err != nil {
		return nil, err
	}
	end, last := 0, 0
	for _, f := range h.Fields("") {
		last = end
		end += len(f.Raw)
	}
	if !whole && end == len(start) {
		end = last
	}
	return start[:end], nil
}

// encodeHeader returns the fields ready for text/rfc822-headers: plain where they are lines of printable ASCII, with white
// space, else as quoted-printable, which RFC 6522 section 4 allows for just this. Line ends become CRLF.
func encodeHeader(header []byte) (encoding string, body []byte) {
	var out bytes.Buffer
	for line := range lines(header) {
		if !isPlain(line) {
			return quotedPrintable, encodeLines(header)
		}
		out.Write(line)
		out.WriteString("\r\n")
	}
	return sevenBit, out.Bytes()
}

func isPlain(line []byte) bool {
	for _, c := range line {
		if (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return len(line) <= maxLine
}

// encodeLines encodes each line by itself: the encoder would take a stray CR within one for a line end, and so make a field
// out of the rest.
func encodeLines(text []byte) []byte {
	var out bytes.Buffer
	for line := range lines(text) {
		w := quotedprintable.NewWriter(&out)
		w.Binary = true
		w.Write(line) // a Buffer does not fail
		w.Close()
		out.WriteString("\r\n")
	}
	return out.Bytes()
}

// lines yields the lines of a header without their ends, LF or CRLF, as message.Header reads them.
func lines(text []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for line := range bytes.Lines(text) {
			line, ended := bytes.CutSuffix(line, []byte("\n"))
			if ended {
				line = bytes.TrimSuffix(line, []byte("\r"))
			}
			if !yield(line) {
				return
			}
		}
	}
}
