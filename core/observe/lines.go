package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// lines is the slog.Handler for people: time of day, level, message, key=value.
type lines struct {
	w      io.Writer // takes one event a call
	level  slog.Leveler
	prefix string // of keys: the open groups
	given  []byte // attributes of With, written already
}

func (h *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h *lines) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	g := *h
	g.prefix += name + "."
	return &g
}

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	g := *h
	g.given = append([]byte(nil), h.given...)
	for _, a := range attrs {
		g.given = appendAttr(g.given, h.prefix, a)
	}
	return &g
}

func (h *lines) Handle(_ context.Context, r slog.Record) error {
	line := make([]byte, 0, 256)
	if !r.Time.IsZero() {
		line = r.Time.AppendFormat(line, "15:04:05.000 ")
	}
	line = fmt.Appendf(line, "%-5s ", r.Level)
	line = appendPlain(line, cut(r.Message, maxValue))
	line = append(line, h.given...)
	r.Attrs(func(a slog.Attr) bool {
		line = appendAttr(line, h.prefix, a)
		return len(line) <= maxLine
	})
	_, err := h.w.Write(append(line, '\n'))
	return err
}

func appendAttr(dst []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			dst = appendAttr(dst, prefix, inner)
		}
		return dst
	}
	if a.Key == "" && v.Any() == nil {
		return dst
	}
	dst = append(dst, ' ')
	dst = appendWord(dst, prefix+a.Key)
	dst = append(dst, '=')
	return appendWord(dst, cut(v.String(), maxValue))
}

// appendWord quotes what would not be told from its surroundings.
func appendWord(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, `""`...)
	}
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || r == '\\' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.AppendQuote(dst, s) // escapes all that is not printable
		}
	}
	return append(dst, s...)
}

// appendPlain is text without quotes, with what is not printable escaped as in a quoted string.
func appendPlain(dst []byte, s string) []byte {
	for i, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			quoted := strconv.AppendQuote(append(dst, s[:i]...), s[i:])
			start := len(dst) + i
			return append(quoted[:start], quoted[start+1:len(quoted)-1]...)
		}
	}
	return append(dst, s...)
}
