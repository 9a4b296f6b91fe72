package message

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"slices"
	"strings"
)

// Bounds of looking into a message.
const (
	maxPartDepth  = 10
	maxParts      = 1000
	maxPartHeader = 64 << 10 // bytes of the header of one part; what is beyond counts as its body
	maxBoundary   = 200      // RFC 2046 allows 70
)

// Part is a part of a message that is no multipart itself (RFC 2046): a text, an attachment. A message without parts is one.
type Part struct {
	Type     string // media type in lower case: "text/plain"
	Charset  string // of a text, in lower case; "" when none is given
	Filename string
	Encoding string // base64, quoted-printable, or "" for what stands as it is

	content    Content
	start, end int64
	decoded    *decoded
	text       *string
}

// Size is the number of bytes of the part as it stands in the message, encoded.
func (p *Part) Size() int64 { return p.end - p.start }

// Parts finds the parts of a content with header h in order, without copying them. cut tells that there are more than are listed, or that
// they are nested more deeply than is looked: then what is there is one part of type multipart.
//
// MIME that is malformed never is an error: what cannot be divided is seen as the text that it would be to a reader without MIME. A
// message within a message (message/rfc822) is one part.
func Parts(c Content, h *Header) (parts []*Part, cut bool, err error) {
	start, err := h.BodyStart(c)
	if err != nil {
		return nil, false, err
	}
	w := &mimeWalker{content: c, at: start}
	w.entity(h)
	r := bufio.NewReaderSize(io.NewSectionReader(c, start, c.Size()-start), 32<<10)
	whole := true // the last line had an end
	for len(w.boundaries) > 0 || w.header != nil {
		line, err := r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, false, err
		}
		if len(line) > 0 {
			w.line(line, whole)
			whole = err == nil
		}
		if err == io.EOF || w.full {
			break
		}
	}
	if w.header != nil {
		w.begin()
	}
	w.close(c.Size())
	return w.parts, w.cut, nil
}

// mimeWalker goes through the lines of a body.
type mimeWalker struct {
	content    Content
	parts      []*Part
	cut, full  bool
	boundaries []string // of the multiparts around, outermost first
	digest     []bool   // whether their parts are messages unless they say otherwise
	at         int64    // offset of the line
	breakLen   int64    // length of the line end before it
	open       *Part
	header     []byte // of a part that begins; nil: none does
}

// line takes a line, or a piece of one; first tells that it begins one.
func (w *mimeWalker) line(line []byte, first bool) {
	defer func() {
		w.at += int64(len(line))
		if w.breakLen = 0; bytes.HasSuffix(line, []byte("\r\n")) {
			w.breakLen = 2
		} else if bytes.HasSuffix(line, []byte("\n")) {
			w.breakLen = 1
		}
	}()
	if i, last := w.boundary(line, first); i >= 0 {
		if w.header != nil { // a part of which there is only a header
			w.begin()
		}
		w.close(w.at - w.breakLen)
		w.header = nil
		if last {
			w.boundaries, w.digest = w.boundaries[:i], w.digest[:i]
		} else {
			w.boundaries, w.digest, w.header = w.boundaries[:i+1], w.digest[:i+1], make([]byte, 0, 512)
		}
		return
	}
	if w.header == nil {
		return
	}
	if first && isEmptyLine(line) {
		w.at += int64(len(line))
		w.begin()
		w.at -= int64(len(line))
		return
	}
	if len(w.header)+len(line) > maxPartHeader || first && !isSpace(line[0]) && fieldColon(line) <= 0 { // not a header any more
		w.begin()
		return
	}
	w.header = append(w.header, line...)
}

// boundary finds the multipart whose delimiter the line is, innermost first (RFC 2046 section 5.1.1).
func (w *mimeWalker) boundary(line []byte, first bool) (i int, last bool) {
	if !first || !bytes.HasPrefix(line, []byte("--")) {
		return -1, false
	}
	rest := bytes.TrimRight(line[2:], " \t\r\n")
	for i := len(w.boundaries) - 1; i >= 0; i-- {
		after, ok := bytes.CutPrefix(rest, []byte(w.boundaries[i]))
		if ok && (len(after) == 0 || string(after) == "--") {
			return i, len(after) > 0
		}
	}
	return -1, false
}

// begin ends the header of a part; its body stands at w.at.
func (w *mimeWalker) begin() {
	h, err := ParseHeader(w.header, HeaderLimits{Bytes: maxPartHeader + maxLine, Fields: 1000})
	if err != nil { // too many fields
		h = &Header{}
	}
	w.header = nil
	w.entity(h)
}

// entity begins what a header is of: a multipart, or a part.
func (w *mimeWalker) entity(h *Header) {
	p := &Part{Type: "text/plain", content: w.content, start: w.at, end: w.at}
	if n := len(w.digest); n > 0 && w.digest[n-1] {
		p.Type = "message/rfc822"
	}
	value, given := h.Get("Content-Type", 0)
	typ, params := ParseMedia(value)
	if given && typ != "" && strings.Contains(typ, "/") {
		p.Type = typ
	}
	if strings.HasPrefix(p.Type, "multipart/") {
		b := strings.TrimRight(params["boundary"], " \t")
		switch {
		case b == "" || len(b) > maxBoundary:
			p.Type = "text/plain"
		case len(w.boundaries) == maxPartDepth:
			w.cut = true
		default:
			w.boundaries, w.digest = append(w.boundaries, b), append(w.digest, typ == "multipart/digest")
			return
		}
	}
	if len(w.parts) == maxParts {
		w.cut, w.full = true, true
		return
	}
	disposition, _ := h.Get("Content-Disposition", 0)
	_, more := ParseMedia(disposition)
	p.Charset = strings.ToLower(params["charset"])
	p.Filename = decodeWords(more["filename"])
	if p.Filename == "" {
		p.Filename = decodeWords(params["name"])
	}
	if encoding, _ := h.Get("Content-Transfer-Encoding", 0); true {
		switch encoding = strings.ToLower(strings.TrimSpace(encoding)); encoding {
		case "base64", "quoted-printable":
			p.Encoding = encoding
		}
	}
	w.parts, w.open = append(w.parts, p), p
}

func (w *mimeWalker) close(end int64) {
	if w.open != nil {
		w.open.end = max(w.open.start, end)
		w.open = nil
	}
}

// maxMedia bounds a value that is looked through for parameters.
const maxMedia = 8 << 10

// ParseMedia reads a media type, or a disposition, with its parameters (RFC 2045 section 5.1, RFC 2231). What is wrong in it is passed
// over; of a parameter that is there twice the first counts.
func ParseMedia(value string) (media string, params map[string]string) {
	value = value[:min(len(value), maxMedia)]
	media, rest, _ := strings.Cut(value, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	raw := map[string]string{}
	for rest != "" && len(raw) < 100 {
		var name, v string
		name, v, rest = nextParam(rest)
		if _, twice := raw[name]; name != "" && !twice {
			raw[name] = v
		}
	}
	params = map[string]string{}
	for name, v := range raw {
		if base, _, extended := strings.Cut(name, "*"); !extended {
			params[name] = v
		} else if _, done := params[base+"*"]; !done {
			params[base+"*"] = joinParam(raw, base)
		}
	}
	for name, v := range params { // what RFC 2231 says counts more
		if base, ok := strings.CutSuffix(name, "*"); ok && v != "" {
			params[base] = v
		}
	}
	return media, params
}

// nextParam reads name=value up to the next semicolon outside of quotes.
func nextParam(s string) (name, value, rest string) {
	s = strings.TrimLeft(s, " \t\r\n;")
	i := strings.IndexAny(s, "=;")
	if i < 0 || s[i] == ';' {
		if i < 0 {
			return "", "", ""
		}
		return "", "", s[i+1:]
	}
	name = strings.ToLower(strings.TrimSpace(s[:i]))
	s = strings.TrimLeft(s[i+1:], " \t\r\n")
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		return name, strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			_, rest, _ = strings.Cut(s[i+1:], ";")
			return name, b.String(), rest
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return name, b.String(), ""
}

// joinParam puts together name*, or name*0, name*1* and so on (RFC 2231 sections 3 and 4).
func joinParam(raw map[string]string, base string) string {
	if v, ok := raw[base+"*"]; ok {
		charset, rest := cutCharset(v)
		return toUTF8([]byte(unescape(rest)), charset)
	}
	var b []byte
	charset := ""
	for i := range 100 {
		name := base + "*" + itoa(i)
		if v, ok := raw[name]; ok {
			b = append(b, v...)
			continue
		}
		v, ok := raw[name+"*"]
		if !ok {
			break
		}
		if i == 0 {
			charset, v = cutCharset(v)
		}
		b = append(b, unescape(v)...)
	}
	return toUTF8(b, charset)
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

// cutCharset takes charset'language' off.
func cutCharset(v string) (charset, rest string) {
	parts := strings.SplitN(v, "'", 3)
	if len(parts) < 3 {
		return "", v
	}
	return strings.ToLower(parts[0]), parts[2]
}

// unescape reads %XX; what is no such stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// decodeWords reads encoded words (RFC 2047), which many programs put where RFC 2231 belongs.
func decodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return toUTF8([]byte(s), "")
	}
	d := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		b, err := io.ReadAll(io.LimitReader(r, maxMedia))
		return strings.NewReader(toUTF8(b, charset)), err
	}}
	if out, err := d.DecodeHeader(s); err == nil {
		return toUTF8([]byte(out), "")
	}
	return toUTF8([]byte(s), "")
}

// MayBeText tells whether a part is text for people.
func (p *Part) MayBeText() bool {
	return strings.HasPrefix(p.Type, "text/") || slices.Contains([]string{"message/rfc822", "message/delivery-status"}, p.Type)
}
